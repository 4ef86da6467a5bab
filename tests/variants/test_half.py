"""float16 variants of a Graph."""

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node
from hwprof.variants.half import half
from hwprof.variants.quantize import quantize


def linear() -> Graph:
    b = GraphBuilder("net")
    return b.build(b.clip(b.linear(b.input((2, 4), name="x"), 3), 0.0, 1e6))


def test_everything_between_input_and_output_is_float16():
    graph = half(linear())
    assert [n.op for n in graph.nodes] == ["Cast", "MatMul", "Add", "Clip", "Cast"]
    assert {t.dtype for t in (*graph.weights, *graph.constants)} == {"float16"}
    assert [graph.type_of(n).dtype for n in (graph.inputs[0].name, *graph.outputs)] == ["float32", "float32"]


def test_without_casts_inputs_and_outputs_are_float16_too():
    graph = half(linear(), keep_io=False)
    assert [n.op for n in graph.nodes] == ["MatMul", "Add", "Clip"]
    assert graph.inputs[0].dtype == graph.type_of(graph.outputs[0]).dtype == "float16"


def test_constants_beyond_float16_become_its_largest_number():
    assert (65504.0,) in half(linear()).constant_values.values()


def test_integers_stay():
    b = GraphBuilder("net")
    graph = half(b.build(b.embedding(b.input((1, 4), "int64"), 10, 8)))
    assert graph.inputs[0].dtype == "int64"
    assert [n.op for n in graph.nodes] == ["Gather", "Cast"]


def test_an_output_that_is_also_read_inside_is_cast_once():
    b = GraphBuilder("net")
    x = b.relu(b.input((1, 4)))
    graph = half(b.build(x, b.relu(x)))
    assert [n.op for n in graph.nodes] == ["Cast", "Relu", "Cast", "Relu", "Cast"]
    assert graph.nodes[3].inputs == graph.nodes[1].outputs


def test_the_scales_of_a_resize_stay_float32(shapes_hold):
    b = GraphBuilder("net")
    x = b.input((1, 4, 4, 4))
    scales = b.constant([1.0, 1.0, 2.0, 2.0], "float32")
    graph = half(b.build(b.node("Resize", [x, "", scales], (1, 4, 8, 8), mode="nearest")))
    assert graph.type_of(scales).dtype == "float32"
    shapes_hold(graph)


def test_a_cast_to_float32_becomes_one_to_float16(shapes_hold):
    b = GraphBuilder("net")
    y = b.node("Cast", [b.input((1, 4), "int64")], (1, 4), "float32", to=1)
    graph = half(b.build(b.relu(y)))
    assert [n.attribute("to") for n in graph.nodes if n.op == "Cast"] == [10, 1]
    shapes_hold(graph)


def test_an_operator_that_onnx_defines_in_float32_only_is_left_in_it(shapes_hold):
    b = GraphBuilder("net")
    steps = [b.constant([v], "float32", scalar=True) for v in (0.0, 4.0, 1.0)]
    row = b.node("Range", steps, (4,))
    graph = half(b.build(b.add(b.input((2, 4)), row)))
    assert graph.type_of(row).dtype == "float32"
    shapes_hold(graph)


def test_it_computes_what_float32_does_to_three_digits(mobile_block, run, shapes_hold):
    graph = half(mobile_block)
    shapes_hold(graph)
    assert run(graph)[0].dtype == np.float32
    assert np.allclose(run(graph)[0], run(mobile_block)[0], rtol=0.01, atol=0.01 * np.abs(run(mobile_block)[0]).max())


def test_a_quantized_graph_is_refused():
    with pytest.raises(InputError, match="is quantized"):
        half(quantize(linear()))


def test_an_operator_with_a_body_is_refused_by_name():
    node = Node("If", ("c",), ("y",), (("then_branch", linear()),), name="choice")
    with pytest.raises(UnknownOperatorError, match="'If' \\('choice'\\)"):
        half(Graph((), ("y",), (node,)))
