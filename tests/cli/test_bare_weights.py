"""A model whose file holds shapes of weights and no values: every command that reports figures of it says so, once."""

from __future__ import annotations

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
        ("profile", "bare.onnx", "--variant", "int8", *EDGE),
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
