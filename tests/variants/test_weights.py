"""Weights of a Graph as arrays, and back."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.torch_io import trainable, weights_of
from hwprof.variants.weights import load_weights, model_with, save_trained


def save(path, nodes, initializers, inputs=((1, 80),)):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, s) for i, s in enumerate(inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return onnx_io.load(path)


def test_a_file_gives_its_own_weights(tmp_path):
    w = np.arange(80 * 3, dtype=np.float32).reshape(80, 3)
    graph = save(tmp_path / "net.onnx", [helper.make_node("MatMul", ["x0", "w"], ["y"])], {"w": w})
    assert np.array_equal(load_weights(graph)["w"], w)


def test_a_weight_that_the_file_computes_is_computed(tmp_path):
    w = np.arange(80 * 3, dtype=np.float32).reshape(3, 80)
    nodes = [helper.make_node("Transpose", ["w"], ["wt"]), helper.make_node("MatMul", ["x0", "wt"], ["y"])]
    graph = save(tmp_path / "net.onnx", nodes, {"w": w})
    assert graph.weight_names == {"wt"}
    assert np.array_equal(load_weights(graph)["wt"], w.T)


def test_a_weight_that_hangs_on_the_shape_of_an_input_is_computed(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x0"], ["size"]),
        helper.make_node("Expand", ["w", "size"], ["wide"]),
        helper.make_node("Add", ["x0", "wide"], ["y"]),
    ]
    graph = save(tmp_path / "net.onnx", nodes, {"w": np.array([1.5], np.float32)})
    assert graph.weight_names == {"wide"}
    assert np.array_equal(load_weights(graph)["wide"], np.full((1, 80), 1.5, np.float32))


def test_without_a_file_they_are_those_of_the_seed():
    b = GraphBuilder("net")
    graph = b.build(b.linear(b.input((1, 80)), 3))
    first, again, other = (load_weights(graph, seed) for seed in (1, 1, 2))
    name = graph.weights[0].name
    assert np.array_equal(first[name], again[name])
    assert not np.array_equal(first[name], other[name])


def test_arrays_that_lack_a_weight_are_refused_by_its_name():
    b = GraphBuilder("net")
    graph = b.build(b.linear(b.input((1, 80)), 3))
    name = graph.weights[0].name
    rest = {other: array for other, array in load_weights(graph).items() if other != name}
    with pytest.raises(InputError, match=rf"the weights of 'net' do not hold its tensor '{name}'"):
        model_with(graph, rest)


def test_a_model_made_of_a_graph_and_its_weights_computes_what_the_file_does(tmp_path, run, mobile_block):
    onnx_io.save(mobile_block, tmp_path / "net.onnx", seed=3)
    graph = onnx_io.load(tmp_path / "net.onnx")
    (made,) = run(model_with(graph, load_weights(graph)), graph)
    (original,) = run(onnx_io.materialize(graph), graph)
    assert np.array_equal(made, original)


def test_a_vanished_file_is_an_error(tmp_path, mobile_block):
    with pytest.raises(InputError, match=r"gone\.onnx"):
        load_weights(mobile_block.renamed("net", source=str(tmp_path / "gone.onnx")))


def test_weights_that_a_file_holds_no_values_of_are_drawn_and_cut_ones_are_refused(tmp_path, tiny_graph):
    model = onnx_io.to_model(tiny_graph)
    name = tiny_graph.weights[0].name
    weight = next(t for t in model.graph.initializer if t.name == name)
    bare = tiny_graph.renamed("bare", source=str(tmp_path / "bare.onnx"))
    content = weight.raw_data
    weight.ClearField("raw_data")
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    assert load_weights(bare)[name].shape == tiny_graph.weights[0].shape
    assert np.abs(load_weights(bare)[name]).max() > 0
    weight.raw_data = content[:-4]
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=f"the values of tensor '{name}' do not fill its shape"):
        load_weights(bare)


def test_the_file_of_a_trained_network_is_its_graph_with_its_weights(tmp_path):
    b = GraphBuilder("trained")
    network = trainable(b.build(b.gemm(b.input((1, 3)), 2)), seed=1)
    graph = save_trained(network, tmp_path / "trained.onnx")
    assert graph == network.graph == onnx_io.load(graph.source)
    stored = load_weights(graph)
    assert all(np.array_equal(array, stored[name]) for name, array in weights_of(network).items())
