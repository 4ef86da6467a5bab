"""The integer-only backend from the command line: from a float network in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.__main__ import run
from hwprof.builder import GraphBuilder


@pytest.fixture
def device(tmp_path: Path) -> str:
    """The fastest instruction set of this machine."""
    (tmp_path / "here.toml").write_text('schema = "hwprof.device/1"\nbackend = "integer"\n')
    return str(tmp_path / "here.toml")


@pytest.fixture
def network(tmp_path: Path) -> str:
    b = GraphBuilder("small")
    x = b.relu(b.conv(b.input((1, 3, 8, 8), name="x"), 8, 3))
    onnx_io.save(b.build(b.gemm(b.flatten(b.global_average_pool(x)), 5)), tmp_path / "small.onnx")
    return str(tmp_path / "small.onnx")


def told(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> tuple[int, str, list[str]]:
    status = run([*arguments, "--store", str(tmp_path / "s.db"), "--fast", "--budget", "3"])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


def test_a_float_network_is_profiled_as_its_variant(network, device, tmp_path, capsys):
    arguments = ("profile", network, "--variant", "integer", "--device", device, "--format", "json")
    status, out, lines = told(capsys, tmp_path, *arguments)
    assert status in (0, 4)
    (record,) = json.loads(out)
    assert record["model"].startswith("small-integer")  # reduced without VNNI
    assert record["latency_ms"]["median"] > 0
    assert any("calibrated with 8 random inputs" in line for line in lines)


def test_the_variant_is_calibrated_on_the_user_s_data(network, device, tmp_path, capsys):
    np.save(tmp_path / "data.npy", np.ones((4, 3, 8, 8), np.float32))
    arguments = ("profile", network, "--variant", "integer", "--device", device, "--format", "json")
    _, out, lines = told(capsys, tmp_path, *arguments, "--calibration", str(tmp_path / "data.npy"))
    assert json.loads(out)[0]["model"].startswith("small-integer")
    assert not any("random inputs" in line for line in lines)


def test_the_variant_is_compared_to_its_model(network, tmp_path, capsys):
    arguments = ("compare", network, "--variant", "integer", "--device", "roofline-edge-gpu", "--format", "json")
    status, out, _ = told(capsys, tmp_path, *arguments)
    assert status in (0, 4)
    assert json.loads(out)["b"]["model"] == "small-integer"


@pytest.mark.parametrize("command", ["profile", "operators"])
def test_a_float_network_on_an_integer_device_says_what_to_type(command, network, device, tmp_path, capsys):
    status, out, lines = told(capsys, tmp_path, command, network, "--device", device)
    assert (status, out, len(lines)) == (2, "", 1)
    assert "it is a float network; profile it with --variant integer; operator" in lines[0]


def test_a_quantized_network_that_does_not_run_is_not_told_to_be_quantized(network, device, tmp_path, capsys):
    b = GraphBuilder("dynamic")
    parts = b.nodes(
        "DynamicQuantizeLinear", [b.input((2, 3))], [("uint8", (2, 3)), ("float32", ()), ("uint8", ())]
    )  # fmt: skip
    (y,) = b.nodes("DequantizeLinear", parts, [("float32", (2, 3))])
    onnx_io.save(b.build(y), tmp_path / "dynamic.onnx")
    status, _, lines = told(capsys, tmp_path, "profile", str(tmp_path / "dynamic.onnx"), "--device", device)
    assert status == 2
    assert "works out its scale from each input in float (dynamic quantization)" in lines[-1]
    assert "profile it with --variant" not in lines[-1]
