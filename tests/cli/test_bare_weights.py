"""A model whose file holds shapes of weights and no values: every command that reports figures of it says so, once."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from hwprof.__main__ import run

RANDOM = "its weights are random"
EDGE = ("--device", "roofline-edge-gpu", "--fast")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A product with a weight without values, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    stored = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(64, 64))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (8, 64)) for name in "xy")
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [stored])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "bare.onnx")
    return "bare.onnx"


@pytest.mark.parametrize(
    "command",
    [
        ("profile", "bare.onnx", *EDGE),
        ("profile", "bare.onnx", "--variant", "int8", *EDGE),
        ("operators", "bare.onnx", *EDGE),
        ("compare", "bare.onnx", "bare.onnx", *EDGE),
        ("sweep", "bare.onnx", "--devices", "roofline-edge-gpu"),
        ("lut", "build", "bare.onnx", "-o", "table.json", *EDGE),
    ],
)
def test_the_table_of_each_command_says_it_once(bare: str, capsys: pytest.CaptureFixture[str], command):
    assert run(list(command)) in (0, 4)
    told = capsys.readouterr()
    assert told.err.count(RANDOM) == 1
    assert "bare" in next(line for line in told.err.splitlines() if RANDOM in line)


def test_the_records_say_it(bare: str, capsys: pytest.CaptureFixture[str]):
    run(["profile", bare, *EDGE, "--format", "json"])
    (record,) = json.loads(capsys.readouterr().out)
    assert sum(RANDOM in warning for warning in record["warnings"]) == 1
    run(["compare", bare, bare, *EDGE, "--format", "json"])
    compared = json.loads(capsys.readouterr().out)
    assert json.dumps(compared["a"]["warnings"]).count(RANDOM) == 1
    run(["sweep", bare, "--devices", "roofline-edge-gpu", "--format", "json"])
    swept = json.loads(capsys.readouterr().out)
    assert json.dumps(swept["rows"][0]["warnings"]).count(RANDOM) == 1


def test_the_page_and_a_stored_measurement_say_it(bare: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    run(["profile", bare, *EDGE])
    capsys.readouterr()
    run(["profile", bare, *EDGE, "--html", "page.html"])
    assert "from the store" in (told := capsys.readouterr().err)
    assert told.count(RANDOM) == 1
    assert RANDOM in (tmp_path / "page.html").read_text()
