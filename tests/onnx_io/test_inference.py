from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor
from hwprof.onnx_io.inference import fold, infer_and_fold


def graph_of(*nodes: Node, weights=(), constants=(), shape=(2, 3), outputs=("y",)) -> Graph:
    return Graph((Tensor("x", "float32", shape),), outputs, nodes, tuple(weights), tuple(constants))


def test_every_type_of_a_built_network_is_inferred_as_it_was_built(tiny_graph):
    assert onnx_io.infer_types(replace(tiny_graph, values=())).values == tiny_graph.values


def test_types_follow_a_change_of_the_input(tiny_graph):
    wider = replace(tiny_graph, inputs=(replace(tiny_graph.inputs[0], shape=(2, 3, 16, 16)),))
    assert onnx_io.infer_types(wider).shape(wider.outputs[0]) == (2, 4, 16, 16)


def test_shapes_that_contradict_each_other_are_named_with_the_operator():
    graph = graph_of(Node("MatMul", ("x", "w"), ("y",), name="product"), weights=[Tensor("w", "float32", (4, 5))])
    with pytest.raises(InputError, match=r"op_type:MatMul, node name: product\): Incompatible dimensions") as caught:
        onnx_io.infer_types(graph)
    assert "\n" not in str(caught.value)


def test_a_size_that_depends_on_values_is_unknown():
    graph = graph_of(Node("NonZero", ("x",), ("n",)), Node("Cast", ("n",), ("y",), (("to", 1),)))
    inferred = onnx_io.infer_types(graph)
    assert not inferred.has_type("n")
    assert not inferred.has_type("y")


def loop(carried: Tensor) -> Graph:
    body = Graph(
        (Tensor("i", "int64", ()), Tensor("go", "bool", ()), carried),
        ("go_on", "b"),
        (Node("Identity", ("go",), ("go_on",)), Node("Relu", (carried.name,), ("b",))),
    )
    times = Constant("times", "int64", (), (3,))
    return graph_of(Node("Loop", ("times", "", "x"), ("y",), (("body", body),)), constants=[times])


def test_types_inside_a_loop_follow_from_what_its_body_declares():
    inferred = onnx_io.infer_types(loop(carried=Tensor("a", "float32", (2, 3))))
    assert inferred.nodes[0].attribute("body").shape("b") == (2, 3)


def test_what_a_loop_carries_on_without_a_declared_shape_is_unknown_since_it_may_grow():
    inferred = onnx_io.infer_types(loop(carried=Tensor("a", "undefined", ())))
    body = inferred.nodes[0].attribute("body")
    assert not body.has_type("b")
    with pytest.raises(InputError, match="whose size is unknown"):
        _ = body.inputs[2].size_bytes


def test_a_loop_may_hand_an_input_without_a_declared_shape_on_unchanged():
    inner = loop(carried=Tensor("a", "undefined", ())).nodes[0].attribute("body")
    body = replace(inner, inputs=(*inner.inputs, Tensor("kept", "undefined", ())), outputs=(*inner.outputs, "kept"))
    times = Constant("times", "int64", (), (3,))
    node = Node("Loop", ("times", "", "x", "x"), ("y", "same"), (("body", body),))
    inferred = onnx_io.infer_types(graph_of(node, constants=[times]))
    assert not inferred.has_type("same")  # its element type is known, which is all that inference asks for


def test_what_a_scan_steps_through_has_the_type_of_one_step():
    body = Graph((Tensor("row", "undefined", ()),), ("out",), (Node("Relu", ("row",), ("out",)),))
    graph = graph_of(Node("Scan", ("x",), ("y",), (("body", body), ("num_scan_inputs", 1))))
    inferred = onnx_io.infer_types(graph)
    assert inferred.nodes[0].attribute("body").inputs == (Tensor("row", "float32", (3,)),)
    assert inferred.shape("y") == (2, 3)


# -- folding -----------------------------------------------------------------------------------------


def test_a_small_result_keeps_its_values():
    graph = graph_of(
        Node("Add", ("two", "two"), ("four",)),
        Node("Concat", ("four", "two"), ("target",), (("axis", 0),)),
        Node("Reshape", ("x", "target"), ("y",)),
        constants=[Constant("two", "int64", (1,), (2,))],
        shape=(8,),
    )
    folded = infer_and_fold(graph)
    assert folded.constants == (Constant("target", "int64", (2,), (4, 2)),)
    assert [n.op for n in folded.nodes] == ["Reshape"]
    assert folded.shape("y") == (4, 2)


def test_a_large_result_becomes_a_weight():
    graph = graph_of(
        Node("Transpose", ("w",), ("wt",), (("perm", (1, 0)),)),
        Node("MatMul", ("x", "wt"), ("y",)),
        weights=[Tensor("w", "float32", (50, 3))],
    )
    folded = infer_and_fold(graph)
    assert folded.weights == (Tensor("wt", "float32", (3, 50)),)


@pytest.mark.parametrize(
    ("attributes", "values"), [({}, (2, 3, 5)), ({"start": 1}, (3, 5)), ({"start": -3, "end": -1}, (2, 3))]
)
def test_the_shape_of_a_tensor_is_a_constant(attributes, values):
    graph = graph_of(
        Node("Relu", ("x",), ("r",)),
        Node("Shape", ("r",), ("s",), tuple(attributes.items())),
        Node("Add", ("s", "s"), ("z",)),
        Node("Expand", ("r", "z"), ("y",)),
        shape=(2, 3, 5),
    )
    inferred = replace(graph, values=(Tensor("r", "float32", (2, 3, 5)),))
    assert fold(inferred).constant_values == {"z": tuple(2 * v for v in values)}


def test_size_counts_elements():
    graph = graph_of(
        Node("Size", ("x",), ("n",)), Node("ConstantOfShape", ("n",), ("c",)), Node("Add", ("x", "c"), ("y",))
    )
    assert fold(graph).constant_values == {"n": (6,)}


def test_a_dequantized_weight_stays_or_the_network_would_look_like_a_float_one():
    graph = graph_of(
        Node("DequantizeLinear", ("q", "s"), ("w",)),
        Node("MatMul", ("x", "w"), ("y",)),
        weights=[Tensor("q", "int8", (3, 50))],
        constants=[Constant("s", "float32", (), (0.1,))],
    )
    assert infer_and_fold(graph).nodes == graph.nodes


def test_random_numbers_are_not_folded():
    graph = graph_of(Node("RandomNormal", (), ("r",), (("shape", (2, 3)),)), Node("Add", ("x", "r"), ("y",)))
    assert infer_and_fold(graph).nodes == graph.nodes


def test_an_operator_that_makes_an_output_stays():
    graph = graph_of(
        Node("Relu", ("x",), ("y",)),
        Node("Exp", ("w",), ("z",)),
        weights=[Tensor("w", "float32", (4,))],
        outputs=("y", "z"),
    )
    assert infer_and_fold(graph).nodes == graph.nodes


def test_a_dead_branch_stays_and_an_unread_weight_goes():
    graph = graph_of(
        Node("Relu", ("x",), ("y",)), Node("Exp", ("x",), ("dead",)), weights=[Tensor("unread", "float32", (4,))]
    )
    folded = infer_and_fold(graph)
    assert [n.op for n in folded.nodes] == ["Relu", "Exp"]
    assert folded.weights == ()


def test_a_result_that_only_a_control_flow_body_reads_is_kept():
    branches = [Graph((), (o,), (Node("Relu", ("wt",), (o,)),)) for o in ("t", "e")]
    condition = Tensor("c", "bool", ())
    graph = Graph(
        (condition,), ("y",),
        (
            Node("Transpose", ("w",), ("wt",)),
            Node("If", ("c",), ("y",), (("then_branch", branches[0]), ("else_branch", branches[1]))),
        ),
        weights=(Tensor("w", "float32", (50, 3)),),
    )  # fmt: skip
    folded = infer_and_fold(graph)
    assert [n.op for n in folded.nodes] == ["If"]
    assert folded.weights == (Tensor("wt", "float32", (3, 50)),)


def test_an_operator_that_cannot_be_computed_here_stays():
    graph = graph_of(
        Node("Gather", ("c", "far"), ("g",)),
        Node("Reshape", ("x", "g"), ("y",)),
        constants=[Constant("c", "int64", (1,), (6,)), Constant("far", "int64", (1,), (9,))],
    )
    assert [n.op for n in fold(graph).nodes] == ["Gather", "Reshape"]


def test_an_operator_of_a_kept_tensor_stays():
    nodes = Node("Transpose", ("w",), ("t",)), Node("Exp", ("w",), ("e",)), Node("Sum", ("x", "t", "e"), ("y",))
    graph = graph_of(*nodes, weights=[Tensor("w", "float32", (3, 3))], shape=(3, 3))
    folded = infer_and_fold(graph, kept={"t"})
    assert [n.op for n in folded.nodes] == ["Transpose", "Sum"]
    assert folded.weight_names == {"w", "e"}


def test_folding_a_folded_graph_changes_nothing():
    b = GraphBuilder("g")
    graph = b.build(b.reshape(b.input((2, 3)), (3, 2)))
    assert fold(graph) is graph


def test_float_shapes_arithmetic_of_attention_is_folded():
    """sqrt of a width read from a shape, as exporters of transformers write it."""
    nodes = [
        Node("Shape", ("x",), ("s",)),
        Node("Gather", ("s", "last"), ("d",)),
        Node("Cast", ("d",), ("f",), (("to", helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))),)),
        Node("Sqrt", ("f",), ("root",)),
        Node("Div", ("x", "root"), ("y",)),
    ]
    graph = graph_of(*nodes, constants=[Constant("last", "int64", (), (-1,))], shape=(2, 16))
    assert infer_and_fold(graph).constant_values == {"root": (4.0,)}


def test_a_result_of_ten_billion_elements_is_not_computed():
    bounds = tuple(Constant(name, "int64", (), (value,)) for name, value in (("a", 0), ("b", 10**10), ("c", 1)))
    range_, last = Node("Range", ("a", "b", "c"), ("r",)), Node("Relu", ("r",), ("y",))
    graph = Graph((), ("y",), (range_, last), constants=bounds)
    assert fold(graph) is graph
