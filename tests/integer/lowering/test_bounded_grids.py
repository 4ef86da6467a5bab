"""Files of QCDQ, as Brevitas exports them: QuantizeLinear, Clip to fewer bits, DequantizeLinear."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.integer.lowering.lowering import lower
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights
from tests.onnx_oracle import unoptimized
from tests.qcdq import network


@pytest.fixture(params=[8, 4, 2])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    network(tmp_path / "qcdq.onnx", request.param)
    return tmp_path / "qcdq.onnx"


def test_integers_compute_what_onnx_runtime_computes(model: Path):
    graph = onnx_io.load(model)
    x = np.random.default_rng(1).normal(size=(1, 4, 8, 8)).astype(np.float32)
    (exact,) = unoptimized(onnx.load(model), {"x": x})
    (found,) = reference.run(lower(graph, load_weights(graph)), {"x": x}).values()
    step = float(np.unique(exact)[1])
    steps = np.abs(found - exact) / step
    assert len(np.unique(exact)) > 2
    assert steps.max() < 1.01  # where a sum is half-way between two integers
    assert np.mean(steps > 0.5) < 0.01


def test_the_bound_is_a_part_of_the_convolution(tmp_path: Path):
    network(tmp_path / "qcdq.onnx", 4)
    graph = onnx_io.load(tmp_path / "qcdq.onnx")
    (operation,) = lower(graph, load_weights(graph)).operations
    assert (operation.rescale.low, operation.rescale.high) == (0, 15)
    assert {"conv", "relu", "out_c", "out_q"} <= set(operation.members)
