"""Pools that round up have the shapes that the reference computes, and so has what follows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from hwprof import onnx_io
from hwprof.backends.onnxruntime import BACKEND
from hwprof.device import Device


def pooled(folder: Path, op: str, size: tuple[int, int], opset: int, **attributes: object) -> Path:
    """A pool of [1, 2, size], and a sum of its last axis that wants to know its shape."""
    nodes = [
        helper.make_node(op, ["x"], ["pooled"], ceil_mode=1, **attributes),
        helper.make_node("Softmax", ["pooled"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, *size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(made, folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.parametrize("opset", [17, 21, 22])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("size", "attributes", "expected"),
    [
        ((4, 4), {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1]}, (2, 2)),
        ((2, 3), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}, (2, 2)),
        ((5, 5), {"kernel_shape": [3, 3], "strides": [2, 2]}, (2, 2)),
        ((6, 6), {"kernel_shape": [3, 3], "strides": [2, 2]}, (3, 3)),
        ((4, 6), {"kernel_shape": [1, 3], "strides": [4, 2]}, (1, 3)),
    ],
)
def test_a_window_that_starts_in_the_padding_is_none(tmp_path, op, size, attributes, expected, opset):
    path = pooled(tmp_path, op, size, opset, **attributes)
    graph = onnx_io.load(path)
    assert graph.shape("y") == (1, 2, *expected)
    (y,) = ReferenceEvaluator(str(path)).run(None, {"x": np.zeros((1, 2, *size), np.float32)})
    assert graph.shape("y") == y.shape
    with BACKEND.open(graph, Device("d", "onnxruntime")) as timer:
        timer(3)
        assert timer.outputs()["y"].shape == graph.shape("y")


def test_the_attributes_of_the_pool_stay_as_they_are(tmp_path):
    path = pooled(tmp_path, "MaxPool", (4, 4), 17, kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1])
    pool, _ = onnx_io.load(path).nodes
    assert (pool.attribute("ceil_mode"), pool.attribute("pads")) == (1, (1, 1, 1, 1))
