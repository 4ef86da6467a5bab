"""Inputs that decide what is computed: the guesses are inside of tables and fit the shapes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hwprof.graph import Constant, Graph, Node, Tensor
from hwprof.onnx_io import random_inputs
from hwprof.onnx_io.guessed_inputs import IndexRange, index_range

IDS = Tensor("ids", "int64", (64,))


def table(rows: int) -> Tensor:
    return Tensor("table", "float32", (rows, 4))


def number(name: str, value: int) -> Constant:
    return Constant(name, "int64", (), (value,))


def gathered(*nodes: Node, rows: int, constants: tuple[Constant, ...] = ()) -> Graph:
    """The nodes make "i" of "ids"; "i" picks rows."""
    return Graph((IDS,), ("y",), (*nodes, Node("Gather", ("table", "i"), ("y",))), (table(rows),), constants)


@pytest.mark.parametrize(
    ("nodes", "constants", "rows", "expected"),
    [
        ((Node("Identity", ("ids",), ("i",)),), (), 7, IndexRange(0, 6)),
        ((Node("Add", ("ids", "one"), ("i",)),), (number("one", 1),), 2, IndexRange(0, 0)),
        ((Node("Sub", ("ids", "two"), ("i",)),), (number("two", 2),), 5, IndexRange(2, 6)),
        (
            (Node("Sub", ("ids", "one"), ("a",)), Node("Mul", ("three", "a"), ("i",))),
            (number("one", 1), number("three", 3)),
            50,
            IndexRange(1, 17),
        ),
        ((Node("Sub", ("top", "ids"), ("i",)),), (number("top", 9),), 4, IndexRange(6, 9)),
        (
            (Node("Cast", ("ids",), ("a",), (("to", 7),)), Node("Where", ("mask", "a", "one"), ("i",))),
            (number("one", 1), number("mask", 1)),
            3,
            IndexRange(0, 2),
        ),
    ],
)
def test_indices_stay_inside_of_the_table_after_arithmetic(
    nodes: tuple[Node, ...], constants: tuple[Constant, ...], rows: int, expected: IndexRange
) -> None:
    assert index_range(gathered(*nodes, rows=rows, constants=constants), "ids") == expected


def test_a_mask_whose_running_sum_is_the_position_is_as_full_as_the_table_allows() -> None:
    nodes = (Node("CumSum", ("ids", "axis"), ("s",)), Node("Add", ("s", "two"), ("i",)))
    constants = (number("axis", 0), number("two", 2))
    for rows, expected in ((67, 1), (66, 0)):
        graph = gathered(*nodes, rows=rows, constants=constants)
        assert set(random_inputs(graph)["ids"].tolist()) == {expected}


def test_indices_stay_inside_of_a_table_that_a_loop_reads() -> None:
    body = Graph(
        (Tensor("n", "int64", ()), Tensor("go", "bool", ())),
        ("go", "row"),
        (Node("Gather", ("ids", "n"), ("id",)), Node("Gather", ("table", "id"), ("row",))),
    )
    loop = Node("Loop", ("count", "true"), ("y",), (("body", body),))
    constants = (number("count", 64), Constant("true", "bool", (), (True,)))
    graph = Graph((IDS,), ("y",), (loop,), (table(1),), constants)
    assert index_range(graph, "ids") == IndexRange(0, 0)


def test_a_tensor_that_indexes_nothing_has_no_range() -> None:
    assert index_range(Graph((IDS,), ("y",), (Node("Neg", ("ids",), ("y",)),)), "ids") is None


@pytest.mark.parametrize(
    ("op", "inputs", "read", "expected"),
    [
        ("Reshape", ("x", "s"), Tensor("s", "int64", (2,)), [1, 128]),
        ("Reshape", ("x", "s"), Tensor("s", "int64", (4,)), [1, 2, 8, 8]),
        ("Resize", ("x", "", "", "s"), Tensor("s", "int64", (4,)), [1, 2, 16, 16]),
        ("Resize", ("x", "", "s"), Tensor("s", "float32", (4,)), [1, 1, 2, 2]),
        ("Slice", ("x", "s", "ends"), Tensor("s", "int64", (2,)), [0, 0]),
        ("Expand", ("x", "s"), Tensor("s", "int64", (5,)), [1, 1, 2, 8, 8]),
    ],
)
def test_shapes_and_scales_fit_the_data(
    op: str, inputs: tuple[str, ...], read: Tensor, expected: list[float]
) -> None:  # fmt: skip
    x = Tensor("x", "float32", (1, 2, 8, 8))
    node = Node(op, inputs, ("y",))
    found = random_inputs(Graph((x, read), ("y",), (node,), constants=(Constant("ends", "int64", (2,), (1, 2)),)))
    assert found["s"].tolist() == expected


def test_a_mask_of_what_to_hide_hides_nothing() -> None:
    mask = Tensor("m", "bool", (2, 3))
    where = Node("Where", ("m", "low", "x"), ("y",))
    graph = Graph((mask, Tensor("x", "float32", (2, 3))), ("y",), (where,), constants=(
        Constant("low", "float32", (), (float("-inf"),)),))  # fmt: skip
    assert not random_inputs(graph)["m"].any()


def test_a_guessed_shape_runs() -> None:
    proto = helper.make_graph(
        [helper.make_node("Reshape", ["x", "s"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 5)),
         helper.make_tensor_value_info("s", TensorProto.INT64, (3,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(1, np.float32), "unused")],
    )  # fmt: skip
    graph = Graph(
        (Tensor("x", "float32", (3, 5)), Tensor("s", "int64", (3,))), ("y",), (Node("Reshape", ("x", "s"), ("y",)),)
    )
    (y,) = ReferenceEvaluator(proto, opsets={"": 17}).run(None, random_inputs(graph))
    assert y.shape == (3, 5, 1)
