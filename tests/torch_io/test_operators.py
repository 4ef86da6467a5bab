"""The table of operators against ONNX Runtime: every workload, every space, quantized networks, forms of operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from hwprof import onnx_io, plugins, workloads
from hwprof.backends.onnxruntime import BACKEND as ONNX_RUNTIME
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import UnknownOperatorError
from hwprof.spaces import sampling
from hwprof.torch_io import as_tensor, to_module
from hwprof.variants.quantize import quantize
from hwprof.variants.weights import load_weights

# The same operators as in smaller networks of the list; checked by hand, at up to 10 s each.
COVERED_BY_OTHERS = {
    "bert_base", "light_bvlc_alexnet", "light_densenet121", "light_resnet50", "light_vgg19", "light_zfnet512",
    "lstm_lm_1024x1", "resnet50",
}  # fmt: skip


def check_against_onnx_runtime(graph, tolerance=1e-4, optimization="all"):
    """Largest difference relative to the largest value."""
    device = Device("d", "onnxruntime").with_options(graph_optimization_level=optimization)
    with ONNX_RUNTIME.open(graph, device) as timer:
        wanted = timer.outputs()
    inputs = onnx_io.random_inputs(graph)
    with torch.inference_mode():
        module = to_module(graph, load_weights(graph))
        got = module(*(as_tensor(inputs[t.name], t.dtype) for t in graph.inputs))
    for name, value in zip(graph.outputs, got, strict=True):
        assert tuple(value.shape) == wanted[name].shape
        worst = np.abs(value.numpy().astype(float) - wanted[name]).max() / np.abs(wanted[name]).max().clip(1e-9)
        assert worst < tolerance, f"{name} is off by {worst:.1e}"


@pytest.mark.parametrize("name", sorted(set(workloads.names()) - COVERED_BY_OTHERS))
def test_a_workload(name):
    check_against_onnx_runtime(workloads.build(name))


def test_what_is_left_out_has_no_operator_of_its_own():
    checked = {n.op for name in set(workloads.names()) - COVERED_BY_OTHERS for n in workloads.build(name).nodes}
    left_out = {n.op for name in COVERED_BY_OTHERS for n in workloads.build(name).nodes}
    assert left_out <= checked


@pytest.mark.parametrize("name", plugins.names("space"))
def test_an_architecture_of_a_space(name):
    space = plugins.load("space", name)
    (arch,) = sampling.stratified(space, 1, np.random.default_rng(3))
    check_against_onnx_runtime(space.graph(arch))


@pytest.mark.processor(runtime="onnxruntime")
def test_a_quantized_network_rounds_as_onnx_runtime_does():
    b = GraphBuilder("small")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 3, 16, 16)), 8, 3)))
    graph = quantize(b.build(b.gemm(b.flatten(b.add(x, b.relu(b.conv(x, 8, 3)))), 5)))
    # Unoptimized: without VNNI, the integer kernels saturate. A tie may be rounded the other way: steps of 8 bits.
    check_against_onnx_runtime(graph, tolerance=0.03, optimization="disabled")


def test_the_dequantization_of_weights_is_computed_once():
    b = GraphBuilder("small")
    graph = quantize(b.build(b.conv(b.input((1, 4, 8, 8)), 8, 3, bias=True)))
    code = to_module(graph, load_weights(graph)).code
    assert code.count("dequantize(") == 2  # the input's and the output's; not those of weight and bias


def single(tmp_path, node, shapes, opset=17, **constants):
    """The graph of one operator on float inputs of these shapes."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    stored = [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    outputs = [onnx.ValueInfoProto(name=n) for n in node.output if n]
    for output in outputs:
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
    graph = helper.make_graph([node], "single", inputs, outputs, stored)
    path = tmp_path / "single.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return onnx_io.load(path)


IMAGE = {"x": (1, 2, 7, 7)}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("op", "attributes", "shapes", "constants"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}, IMAGE, {}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, IMAGE, {}),
        ("MaxPool", {"kernel_shape": [3], "auto_pad": "SAME_UPPER", "strides": [2]}, {"x": (1, 2, 8)}, {}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}, IMAGE, {}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}, IMAGE, {}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, IMAGE, {}),
        ("Conv", {"pads": [0, 1, 2, 0]}, IMAGE, {"w": RNG.random((4, 2, 3, 3), np.float32)}),
        ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, IMAGE, {"w": RNG.random((4, 2, 3, 3), np.float32)}),
        ("Conv", {"dilations": [2]}, {"x": (1, 2, 9)}, {"w": RNG.random((4, 2, 3), np.float32)}),
        (
            "ConvTranspose",
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
            IMAGE,
            {"w": RNG.random((2, 3, 3, 3), np.float32), "b": RNG.random(3, np.float32)},
        ),
        ("Gemm", {"alpha": 0.5, "beta": 2.0, "transA": 1}, {"a": (4, 3), "b": (4, 5), "c": (5,)}, {}),
        ("Gemm", {"alpha": 0.5}, {"a": (3, 4), "b": (4, 5)}, {}),
        ("Slice", {}, {"x": (4, 9)}, {"s": [8, 3], "e": [-(2**62), 0], "a": [1, 0], "k": [-2, -1]}),
        ("Slice", {}, {"x": (4, 9)}, {"s": [1], "e": [2**62], "a": [-1], "k": [3]}),
        ("Gather", {"axis": 1}, {"x": (2, 5, 3)}, {"i": np.array([[0, -1], [2, 4]])}),
        ("GatherElements", {"axis": 1}, {"x": (2, 3)}, {"i": np.array([[0, -1, 1], [2, 0, 0]])}),
        ("LeakyRelu", {"alpha": 0.3}, IMAGE, {}),
        ("Selu", {"alpha": 2.0, "gamma": 3.0}, IMAGE, {}),
        ("PRelu", {}, IMAGE, {"s": RNG.random((2, 1, 1), np.float32)}),
        ("Pad", {}, IMAGE, {"p": [0, 0, 1, 2, 0, 0, 3, 0], "v": np.float32(1.5)}),
        ("Resize", {"mode": "linear"}, IMAGE, {"r": np.zeros(0, np.float32), "f": np.float32([1, 1, 2, 3])}),
        (
            "Resize",
            {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
            IMAGE,
            {"r": np.zeros(0, np.float32), "f": np.float32([1, 1, 2, 2])},
        ),
        ("DepthToSpace", {"blocksize": 2, "mode": "DCR"}, {"x": (1, 8, 2, 3)}, {}),
        ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, {"x": (1, 8, 2, 3)}, {}),
        ("InstanceNormalization", {}, IMAGE, {"s": RNG.random(2, np.float32), "b": RNG.random(2, np.float32)}),
        ("LayerNormalization", {"axis": 2}, IMAGE, {"s": RNG.random((7, 7), np.float32)}),
        ("ReduceMean", {"axes": [1, -1], "keepdims": 0}, IMAGE, {}),
        ("ReduceL2", {}, IMAGE, {}),
        ("ReduceMax", {"axes": [2]}, IMAGE, {}),
        ("Expand", {}, {"x": (3, 1)}, {"s": [2, 3, 4]}),
        ("Tile", {}, {"x": (2, 3)}, {"r": [2, 2]}),
        ("Transpose", {}, {"x": (2, 3, 4)}, {}),
        ("Max", {}, {"a": (2, 3), "b": (3,), "c": (2, 1)}, {}),
        ("Mean", {}, {"a": (2, 3), "b": (2, 3)}, {}),
        ("Pow", {}, {"x": (2, 3)}, {"e": np.float32(2)}),
        ("Unsqueeze", {}, {"x": (2, 3)}, {"a": [0, 3]}),
        ("GlobalMaxPool", {}, IMAGE, {}),
        ("Gelu", {"approximate": "tanh"}, IMAGE, {}),
    ],
)
def test_a_form_of_an_operator(tmp_path, op, attributes, shapes, constants):
    node = helper.make_node(op, [*shapes, *constants], ["y"], **attributes)
    stored = {k: np.asarray(v, np.int64) if isinstance(v, list) else v for k, v in constants.items()}
    check_against_onnx_runtime(single(tmp_path, node, shapes, 20 if op == "Gelu" else 17, **stored))


@pytest.mark.parametrize(("op", "attributes"), [("Softmax", {"axis": 1}), ("LogSoftmax", {})])
def test_softmax_of_an_old_operator_set_runs_over_all_later_axes(tmp_path, op, attributes):
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    check_against_onnx_runtime(single(tmp_path, node, {"x": (2, 3, 4)}, opset=11))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_an_lstm_with_initial_states_and_all_its_outputs(tmp_path, direction):
    ways = 2 if direction == "bidirectional" else 1
    node = helper.make_node(
        "LSTM", ["x", "w", "r", "b", "", "h", "c"], ["y", "yh", "yc"], hidden_size=4, direction=direction
    )
    shapes = {"x": (5, 2, 3), "h": (ways, 2, 4), "c": (ways, 2, 4)}
    weights = {"w": (ways, 16, 3), "r": (ways, 16, 4), "b": (ways, 32)}
    stored = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    check_against_onnx_runtime(single(tmp_path, node, shapes, **stored))


@pytest.mark.parametrize(
    ("op", "attributes", "fault"),
    [
        ("GRU", {"hidden_size": 4}, "operator GRU 'y' has no counterpart"),
        ("LSTM", {"hidden_size": 4, "direction": "reverse"}, "operator LSTM 'y' backwards only"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, op, attributes, fault):
    gates = 4 * (3 if op == "GRU" else 4)
    stored = {"w": np.zeros((1, gates, 3), np.float32), "r": np.zeros((1, gates, 4), np.float32)}
    graph = single(tmp_path, helper.make_node(op, ["x", "w", "r"], ["y"], **attributes), {"x": (5, 2, 3)}, **stored)
    with pytest.raises(UnknownOperatorError, match=fault):
        to_module(graph, load_weights(graph))


def test_computed_indices_of_an_embedding_count_from_the_end_where_they_are_negative(tmp_path):
    """An embedding of PyTorch's own refuses them."""
    b = GraphBuilder("shifted")
    ids = b.binary("Sub", b.input((4,), "int64"), b.constant([3]))
    graph = replace(b.build(b.embedding(ids, 5, 8)), given=(("input0", "0,1,2,3"),))
    check_against_onnx_runtime(graph)
