"""An emulated core on the command line: instructions are shown, and every wish for a latency is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from hwprof.__main__ import run
from hwprof.backends.emulator import location
from hwprof.errors import EnvironmentUnfitError

CORE = ("--device", "emulated-cortex-a72")


@pytest.fixture
def built() -> None:
    try:
        location.versions()
    except EnvironmentUnfitError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("command", ["profile", "explain"])
def test_without_the_emulator_one_line_says_how_to_make_it(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))
    rest = ["--variant", "fp16"] if command == "explain" else ["--store", str(tmp_path / "s.db")]
    assert run([command, "bert_tiny", *CORE, *rest]) == 3
    (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("hwprof: warning")]
    assert line.startswith(f"hwprof: the emulator is not in {tmp_path}")
    assert "run `hwprof emulator build`" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "bert_tiny", "bert_tiny"),
        ("operators", "bert_tiny"),
        ("lut", "build", "bert_tiny", "-o", "table.json"),
        ("collect", "--space", "nasbench201", "--until", "mape=5%"),
    ],
    ids=lambda a: a[0],
)
def test_what_wants_a_latency_is_refused_before_anything_runs(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))  # an emulator that ran would be missed first
    assert run([*arguments, *CORE]) == 2
    assert "device 'emulated-cortex-a72' is emulated" in capsys.readouterr().err


def test_a_build_without_tools_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["emulator", "build"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "'gcc' is missing" in line


@pytest.mark.usefixtures("built")
def test_a_profile_is_in_instructions(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = str(tmp_path / "s.db")
    assert run(["profile", "bert_tiny", *CORE, "--store", store, "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["device"] == "emulated-cortex-a72 (emulated)"
    assert float(row["M instructions"]) > float(row["M fma"]) > 1
    assert not [name for name in row if name.endswith("ms")]
    assert run(["profile", "bert_tiny", *CORE, "--store", store, "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["from_store"]
    assert (record["latency_ms"], record["status"]) == (None, "converged")


@pytest.mark.usefixtures("built")
def test_explain_says_whether_dot_products_ran(capsys: pytest.CaptureFixture[str]):
    arguments = ["explain", "bert_tiny", "--variant", "int8", "--device", "emulated-cortex-a76", "--format", "json"]
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["evidence"], found["unit"]) == ("emulated", "instructions")
    assert found["before"]["kernels"] == "floating-point kernels; no int8 dot product"
    assert found["after"]["kernels"].startswith("kernels with int8 dot products")
    assert found["after"]["total"] < found["before"]["total"]
