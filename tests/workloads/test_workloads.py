"""All reference networks: their shapes against ONNX's inference, their work against onnx-tool, and that they run."""

import functools

import numpy as np
import onnx
import onnx_tool
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from hwprof import cost, onnx_io, workloads
from hwprof.errors import InputError

BUILT = [name for name in workloads.names() if not name.startswith("light_")]
LIGHT = [name for name in workloads.names() if name.startswith("light_")]
PRODUCTS = ("Conv", "Gemm", "MatMul", "LSTM")

build = functools.cache(workloads.build)


def skeleton(graph) -> onnx.ModelProto:
    """The model of the graph with its weights as inputs, so that none need be made, and no type but theirs."""
    tensors = [
        helper.make_tensor_value_info(t.name, helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape)
        for t in (*graph.inputs, *graph.weights)
    ]
    constants = [numpy_helper.from_array(np.array(c.values, c.dtype).reshape(c.shape), c.name) for c in graph.constants]
    nodes = [helper.make_node(n.op, n.inputs, n.outputs, n.name, **dict(n.attributes)) for n in graph.nodes]
    outputs = [onnx.ValueInfoProto(name=name) for name in graph.outputs]
    proto = helper.make_graph(nodes, graph.name, tensors, outputs, constants)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid(*pair) for pair in graph.opsets])


def surcharge(graph, node) -> int:
    """What onnx-tool adds to the multiply-adds: biases, and for an LSTM its weighted element-wise operations."""
    outputs = graph.type_of(node.outputs[0]).numel
    if node.op == "LSTM":
        # Both bias vectors of four gates each; four additions, three sigmoids (32 each), two tanh (38), the rest.
        return outputs * (8 + 4 + 3 * 32 + 2 * 38 + 4)
    return outputs if len(node.inputs) == 3 else 0


def test_the_networks_of_the_onnx_package_are_offered_under_their_own_names():
    assert len(LIGHT) == 9
    assert "light_resnet50" in LIGHT


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"no workload is named 'nope'; known: .*mobilenet_v2"):
        workloads.build("nope")


@pytest.mark.parametrize("name", workloads.names())
def test_a_network_is_named_as_it_was_asked_for_and_its_cost_is_known(name):
    graph = build(name)
    assert graph.name == name
    assert cost.unknown_operators(graph) == ()
    assert cost.of(graph).macs > 0


@pytest.mark.parametrize("name", BUILT)
def test_the_builders_types_are_those_of_onnxs_inference(name):
    graph = build(name)
    inferred = onnx.shape_inference.infer_shapes(skeleton(graph), strict_mode=True, data_prop=True).graph
    types = {
        v.name: (helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name,
                 tuple(d.dim_value for d in v.type.tensor_type.shape.dim))
        for v in (*inferred.value_info, *inferred.output)
    }  # fmt: skip
    assert types == {t.name: (t.dtype, t.shape) for t in graph.values}


@pytest.mark.parametrize("name", workloads.names())
def test_multiply_adds_of_every_product_agree_with_onnx_tool(name):
    graph = build(name)
    counter = onnx_tool.Model(skeleton(graph) if name in BUILT else graph.source, {"verbose": False}).graph
    counter.shape_infer()
    counter.profile()
    theirs = {tuple(n.output): n.macs[0] for n in counter.nodemap.values() if n.op_type in PRODUCTS}
    ours = {
        node.outputs: cost.of_node(graph, node).macs + surcharge(graph, node)
        for node in graph.nodes
        if node.op in PRODUCTS
    }
    assert ours == theirs


@pytest.mark.parametrize("name", BUILT)
def test_a_network_runs_and_computes_what_it_declares(name):
    graph = build(name)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx_io.to_model(graph).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for declared, computed in zip(graph.outputs, session.run(None, onnx_io.random_inputs(graph)), strict=True):
        assert computed.shape == graph.shape(declared)
        assert np.isfinite(computed).all()
        assert computed.std() > 0
