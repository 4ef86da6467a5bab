"""The smaller commands: operators, explain, doctor, devices."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hwprof import jobs
from hwprof.__main__ import run
from hwprof.cli.options import Format
from hwprof.cli.output import write_rows
from hwprof.jobs.explaining import CausesOfLoss
from hwprof.report.explanation import Finding, Kind


def test_operators_of_a_network_add_up_and_keep_their_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(["operators", "mobilenet_v3_small", "--fast", "--format", "json", "--store", str(tmp_path / "s.db")])
    found = json.loads(capsys.readouterr().out)
    total = sum(k["ms"] for k in found["kernels"])
    assert total + found["outside_ms"] == pytest.approx(found["latency_ms"], rel=0.02)
    assert any(len(k["members"]) > 1 for k in found["kernels"]), "nothing was fused"
    assert "Conv" in {k["op"] for k in found["kinds"]}


def test_explain_finds_what_a_quantized_network_loses(capsys: pytest.CaptureFixture[str]):
    status = run(["explain", "mobilenet_v3_small", "--variant", "int8:s8s8", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert {f["finding"] for f in found["findings"]} & {"slow types", "slower than float", "left in float"}
    assert sum(c["ms"] for c in found["causes"]) == pytest.approx(found["total"]["ms"])
    assert found["verdict"].startswith(f"{found['after']} is ")
    assert status == (0 if found["trusted"] else 4)  # this machine may be busy


def test_explain_leaves_small_change_out_of_its_table_and_says_so(capsys: pytest.CaptureFixture[str]):
    assert run(["explain", "bert_tiny", "--variant", "int8"]) in (0, 4)
    told = capsys.readouterr()
    assert re.match(r"bert_tiny-int8\w* is (faster|slower|neither faster nor slower) than bert_tiny: ", told.out)
    assert " in all " in told.out
    assert told.err.count("more of less than 1% each") == 1


@pytest.mark.parametrize(("doubts", "status"), [((), 0), (("cpu pressure: some task waited",), 4)])
@pytest.mark.parametrize("form", ["table", "json"])
def test_times_that_explain_does_not_trust_are_status_4(
    doubts: tuple[str, ...],
    status: int,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    finding = Finding(Kind.FLOAT, "conv", "Conv", "why", 1000.0, 0.5)
    found = CausesOfLoss("a", "b", (finding,), 2000.0, 2000.0, doubts=doubts)
    monkeypatch.setattr(jobs, "explain", lambda *_arguments, **_options: found)
    assert run(["explain", "a.onnx", "b.onnx", "--format", form]) == status
    told = capsys.readouterr()
    assert told.err.count("measure again when the machine is idle") == len(doubts)
    if form == "json":
        assert json.loads(told.out)["trusted"] is not bool(doubts)


def test_explain_wants_one_other_model(capsys: pytest.CaptureFixture[str]):
    assert run(["explain", "bert_tiny"]) == 2
    assert "give either a second model or --variant" in capsys.readouterr().err


def test_doctor_shows_every_check(capsys: pytest.CaptureFixture[str]):
    assert run(["doctor", "--format", "json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert {"cores", "governor", "cpu pressure", "steal", "timer", "memory"} <= {c["check"] for c in checks}


def test_doctor_refuses_a_device_that_the_machine_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "many.toml").write_text('schema = "hwprof.device/1"\nbackend = "onnxruntime"\nthreads = 512\n')
    assert run(["doctor", "--device", str(tmp_path / "many.toml")]) == 3
    assert "unfit" in capsys.readouterr().out


def test_devices_lists_what_is_shipped_and_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine.toml").write_text('schema = "hwprof.device/1"\nbackend = "onnxruntime"\n')
    monkeypatch.setenv("HWPROF_DEVICES", str(tmp_path))
    assert run(["devices", "--format", "csv"]) == 0
    names = {line.split(",")[0] for line in capsys.readouterr().out.splitlines()}
    assert {"mine", "cpu-1t", "cpu-all", "roofline-edge-gpu"} <= names


def test_a_sweep_is_one_table_with_its_answer_on_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "sweep.html"
    arguments = ["sweep", "resnet18", "--devices", "roofline-edge-gpu,integer-scalar", "--batch", "1,2", "--fast"]
    assert run([*arguments, "--store", str(tmp_path / "s.db"), "--format", "json", "--html", str(page)]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["batch"], row["device"], row["status"]) for row in rows] == [
        (1, "roofline-edge-gpu", "converged"), (1, "integer-scalar", None),
        (2, "roofline-edge-gpu", "converged"), (2, "integer-scalar", None),
    ]  # fmt: skip
    assert "integer-scalar cannot run resnet18" in page.read_text()


def test_one_reason_of_several_devices_is_told_once_below_the_table(capsys: pytest.CaptureFixture[str]):
    assert run(["devices", "resnet18", "--devices", "roofline-edge-gpu,integer-scalar,integer-numpy"]) == 0
    told = capsys.readouterr()
    assert max(map(len, told.out.splitlines())) < 80
    assert told.err.startswith("integer-scalar, integer-numpy cannot run it: backend 'integer' cannot run 'resnet18'")
    assert told.err.count("it is a float network") == 1


def test_a_device_in_the_place_of_a_model_is_not_asked_who_can_run_it(capsys: pytest.CaptureFixture[str]):
    assert run(["devices", "openvino-1t"]) == 2
    assert "'openvino-1t' is a device, not a model: give --device openvino-1t" in capsys.readouterr().err


def test_devices_says_who_can_run_a_model_and_why_not(capsys: pytest.CaptureFixture[str]):
    arguments = ["devices", "resnet18", "--devices", "roofline-edge-gpu,integer-scalar", "--format", "json"]
    assert run(arguments) == 0
    assert [row["runs"] for row in json.loads(capsys.readouterr().out)] == [True, False]


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        (Format.CSV, ["a,b", "1,", ",2"]),
        (Format.MD, ["| a | b |", "| --- | --- |", "| 1 |  |", "|  | 2 |"]),
        (Format.TABLE, ["", "  a   b", " ───────", "  1", "      2", ""]),
    ],
)
def test_rows_of_different_columns_are_one_table(form: Format, lines: list[str], capsys: pytest.CaptureFixture[str]):
    write_rows([{"a": 1}, {"a": None, "b": 2}], form)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines
