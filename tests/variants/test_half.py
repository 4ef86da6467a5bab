"""float16 variants of a Graph."""

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.backends.onnxruntime import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor, captured
from hwprof.variants.half import half
from hwprof.variants.quantize import quantize


def runs(graph: Graph) -> bool:
    """Whether ONNX Runtime takes the graph and computes finite numbers."""
    with BACKEND.open(graph, Device("d", "onnxruntime")) as timer:
        return all(np.isfinite(np.asarray(y, np.float32)).all() for y in timer.outputs().values())


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


def test_an_operator_with_a_body_keeps_float32_and_reads_casts():
    """if c: relu(h) else: -h, where h = x @ w is in float16."""

    def branch(op):
        return Graph((), (op,), (Node(op, ("h",), (op,)),), values=(Tensor(op, "float32", (2, 3)),))

    nodes = (
        Node("MatMul", ("x", "w"), ("h",)),
        Node("If", ("c",), ("z",), (("then_branch", branch("Relu")), ("else_branch", branch("Neg")))),
        Node("Add", ("z", "h"), ("y",)),
    )
    types = tuple(Tensor(name, "float32", (2, 3)) for name in ("h", "z", "y"))
    graph = Graph(
        (Tensor("x", "float32", (2, 4)), Tensor("c", "bool", ())), ("y",), nodes,
        (Tensor("w", "float32", (4, 3)),), values=types,
    )  # fmt: skip
    changed = half(graph)
    choice = next(n for n in changed.nodes if n.op == "If")
    (read,) = captured(choice)
    assert changed.type_of(read).dtype == "float32"
    assert changed.type_of("h").dtype == "float16"
    assert runs(changed)


@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniform"])
def test_an_operator_that_makes_float32_by_default_is_cast(op):
    nodes = (Node(op, (), ("noise",), (("shape", (2, 3)),)), Node("Add", ("x", "noise"), ("y",)))
    x = Tensor("x", "float32", (2, 3))
    types = tuple(Tensor(name, "float32", (2, 3)) for name in ("noise", "y"))
    assert runs(half(Graph((x,), ("y",), nodes, values=types)))


@pytest.mark.parametrize(("op", "opset"), [("CumSum", 13), ("IsInf", 17)])
def test_an_operator_that_an_older_opset_has_without_float16_reads_float32(op, opset, run):
    b = GraphBuilder("old", opset=opset)
    x = b.relu(b.input((2, 3)))
    if op == "CumSum":
        y = b.node(op, [x, b.constant([1], scalar=True)], (2, 3))
    else:
        y = b.node(op, [x], (2, 3), "bool")
    graph = half(b.build(y))
    assert graph.type_of(graph.nodes[0].outputs[0]).dtype == "float16"
    (result,) = run(graph)  # raises where the runtime refuses a type
    assert result.shape == (2, 3)


def test_a_layer_normalization_is_float16_unless_its_float32_statistics_are_read():
    b = GraphBuilder("norm")
    graph = half(b.build(b.relu(b.layer_norm(b.relu(b.input((2, 8)))))))
    assert graph.type_of("LayerNormalization_1").dtype == "float16"


def test_tensors_of_unknown_shape_are_cast_by_their_element_type():
    """The number of rows depends on the mask, and with it the shape of all that follows."""
    nodes = (
        Node("Compress", ("x", "mask"), ("rows",), (("axis", 0),)),
        Node("Range", ("zero", "four", "one"), ("r",)),
        Node("Mul", ("rows", "r"), ("m",)),
        Node("MatMul", ("m", "w"), ("y",)),
    )
    numbers = tuple(Constant(n, "float32", (), (float(v),)) for n, v in (("zero", 0), ("four", 4), ("one", 1)))
    graph = Graph(
        (Tensor("x", "float32", (3, 4)), Tensor("mask", "bool", (3,))), ("y",), nodes,
        (Tensor("w", "float32", (4, 2)),), numbers,
    )  # fmt: skip
    changed = half(graph)
    assert next(n for n in changed.nodes if n.op == "MatMul").inputs == ("m", "w")
    assert changed.type_of("w").dtype == "float16"
    assert runs(changed)


def test_what_a_loop_makes_is_float32_although_its_body_hands_an_input_of_unknown_shape_on():
    carried, kept = (Tensor(name, "undefined", ()) for name in ("a", "k"))
    body = Graph(
        (Tensor("i", "int64", ()), Tensor("go", "bool", ()), carried, kept),
        ("more", "sum", "k"),
        (Node("Identity", ("go",), ("more",)), Node("Add", ("a", "k"), ("sum",))),
    )
    times = Constant("times", "int64", (), (3,))
    nodes = (
        Node("Loop", ("times", "", "x", "x"), ("looped", "same"), (("body", body),)),
        Node("MatMul", ("looped", "w"), ("y",)),
    )
    graph = Graph((Tensor("x", "float32", (3, 4)),), ("y",), nodes, (Tensor("w", "float32", (4, 2)),), (times,))
    changed = half(onnx_io.infer_types(graph))
    assert next(n for n in changed.nodes if n.op == "MatMul").inputs[0] != "looped"  # cast
    assert runs(changed)
