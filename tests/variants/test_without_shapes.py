"""Variants of networks of which some shapes, or the inputs, are missing."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from hwprof import onnx_io
from hwprof.backends.onnxruntime import BACKEND
from hwprof.device import Device
from hwprof.jobs import variant


def loaded(folder, nodes, inputs, stored):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    return onnx_io.load(folder / "net.onnx")


def ran(graph):
    with BACKEND.open(graph, Device("d", "onnxruntime")) as timer:
        return timer.outputs()["y"]


W = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)


@pytest.mark.parametrize("spec", ["int8", "fp16"])
def test_a_network_without_inputs_has_variants(tmp_path, spec):
    nodes = [
        helper.make_node("RandomNormal", [], ["r"], shape=[3, 4]),
        helper.make_node("MatMul", ["r", "W"], ["y"]),
    ]
    changed, _ = variant(loaded(tmp_path, nodes, [], {"W": W}), spec, tmp_path)
    assert ran(changed).shape == (3, 8)


@pytest.mark.parametrize("spec", ["int8", "fp16"])
def test_a_tensor_of_unknown_shape_does_not_end_a_variant(tmp_path, spec):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"]),
        helper.make_node("Compress", ["h", "mask"], ["rows"], axis=0),
        helper.make_node("Add", ["rows", "b"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["y"]),
    ]
    inputs = [("x", TensorProto.FLOAT, (3, 4)), ("mask", TensorProto.BOOL, (3,))]
    graph = loaded(tmp_path, nodes, inputs, {"W": W, "b": np.ones(8, np.float32)})
    changed, _ = variant(graph, spec, tmp_path)
    assert ran(changed) == pytest.approx(ran(graph), abs=0.02)


def test_an_input_of_length_0_is_calibrated(tmp_path):
    nodes = [helper.make_node("Concat", ["past", "x"], ["c"], axis=0), helper.make_node("MatMul", ["c", "W"], ["y"])]
    inputs = [("past", TensorProto.FLOAT, (0, 4)), ("x", TensorProto.FLOAT, (3, 4))]
    changed, _ = variant(loaded(tmp_path, nodes, inputs, {"W": W}), "int8", tmp_path)
    assert ran(changed).shape == (3, 8)
