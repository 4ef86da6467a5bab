"""Masks become integer operations: what is chosen, what is stored, and what an input of integers says."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.integer.program.program import Program
from hwprof.integer.run import reference
from tests.integer.lowering.test_lowering import both, kinds, lowered, refusal, steps_apart
from tests.integer.programs import Quantized

CAUSAL = np.tril(np.ones((6, 6), bool)).ravel().tolist()


def computing(program: Program) -> list[str]:
    """The kinds of operations that do not merely give bytes another shape."""
    return [name for name in kinds(program) if name != "Reshape"]


def chosen(condition: str, number: float, first: bool = False, scale: float = 0.05, zero: int = 128) -> Graph:
    """A Where of scores [2, 3, 6, 6] and a number. condition: "stored", or the type of an input [2, 1, 1, 6]."""
    b = Quantized("chosen")
    scores = b.q(b.input((2, 3, 6, 6)))
    if condition == "stored":
        mask = b.constant(CAUSAL, "bool", shape=(6, 6))
    else:
        mask = b.node("Cast", [b.input((2, 1, 1, 6), condition)], (2, 1, 1, 6), "bool", to=9)
    operands = [b.constant([number], "float32", scalar=True), scores]
    y = b.node("Where", [mask, *(operands if first else reversed(operands))], (2, 3, 6, 6), "float32")
    return b.build(b.q(y, scale=scale, zero=zero))


@pytest.mark.parametrize("number", [-1e9, -np.inf, float(np.finfo(np.float32).min), 1e9])
@pytest.mark.parametrize("first", [False, True])
def test_a_number_that_is_chosen_by_a_stored_mask(number, first):
    graph = chosen("stored", number, first)
    assert computing(lowered(graph)) == ["Add"]
    assert steps_apart(graph) == 0


@pytest.mark.parametrize(("scale", "zero"), [(0.01, 0), (0.2, 255), (0.05, 7)])
def test_a_number_that_is_chosen_is_at_the_end_of_whatever_grid(scale, zero):
    assert steps_apart(chosen("stored", -1e9, scale=scale, zero=zero)) <= 1


@pytest.mark.parametrize("dtype", ["bool", "int64", "int32"])
def test_a_number_that_is_chosen_by_an_input(dtype):
    graph = chosen(dtype, -1e9, first=True)
    program = lowered(graph)
    assert computing(program)[0] == "Embedding"
    assert computing(program)[-1] == "Add"
    ours, theirs, _ = both(graph)  # its inputs hide all or nothing
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])
    scores = np.random.default_rng(0).normal(0, 2, (2, 3, 6, 6)).astype(np.float32)
    mask = np.array([0, 1, 1, 0, 1, 0] * 2).reshape(2, 1, 1, 6).astype(dtype)
    (held,) = reference.run(program, dict(zip((t.name for t in graph.inputs), (scores, mask), strict=True))).values()
    hidden = np.broadcast_to(mask.astype(bool), scores.shape)
    assert (held[hidden] == held.min()).all()
    np.testing.assert_allclose(held[~hidden], np.clip(scores[~hidden], -6.4, 6.35), atol=0.03)


def test_a_number_within_the_range_of_the_result_is_refused():
    assert "-3 is inside the range of its result" in refusal(chosen("stored", -3.0))


def test_a_condition_that_is_computed_of_floats_is_refused():
    b = Quantized("chosen")
    x = b.q(b.input((4, 6)))
    condition = b.node("Greater", [x, b.constant([0.0], "float32", scalar=True)], (4, 6), "bool")
    y = b.node("Where", [condition, x, b.constant([-1e9], "float32", scalar=True)], (4, 6), "float32")
    assert "is neither stored nor a function of an input of integers" in refusal(b.build(b.q(y)))


def test_a_choice_of_two_tensors_picks_from_both():
    b = Quantized("chosen")
    x, y = b.q(b.input((6, 6))), b.q(b.input((6, 6)), scale=0.03)
    chosen = b.node("Where", [b.constant(CAUSAL, "bool", shape=(6, 6)), x, y], (6, 6), "float32")
    assert steps_apart(b.build(b.q(chosen))) <= 1


def test_a_choice_of_two_tensors_by_an_input_is_refused():
    b = Quantized("chosen")
    x, condition = b.q(b.input((6, 6))), b.input((6, 6), "bool")
    y = b.node("Where", [condition, x, x], (6, 6), "float32")
    assert "between a computed tensor and one stored number" in refusal(b.build(b.q(y)))


def number(b: Quantized, value: float, dtype: str) -> str:
    return b.constant([value], dtype, scalar=True)


def test_what_is_made_of_an_input_of_integers_is_a_table_of_its_values():
    b = Quantized("padding")
    mask = b.node("Unsqueeze", [b.input((2, 6), "int64"), b.constant([1], shape=(1,))], (2, 1, 6))
    real = b.node("Cast", [mask], (2, 1, 6), "float32", to=1)
    added = b.mul(b.binary("Sub", number(b, 1.0, "float32"), real), number(b, -1e9, "float32"))
    graph = b.build(b.q(b.add(b.q(b.input((2, 4, 6))), b.q(added, scale=0.1, zero=255))))
    assert computing(lowered(graph)) == ["Embedding", "Add"]
    assert steps_apart(graph) <= 1


def test_words_that_are_padding_are_known_by_the_table_that_they_index():
    b = Quantized("words")
    words = b.input((5,), "int64")
    is_padding = b.node("Equal", [words, number(b, 0, "int64")], (5,), "bool")
    mask = b.node(
        "Where", [is_padding, number(b, -np.inf, "float32"), b.constant([0.0] * 5, "float32", shape=(5,))], (5,),
        "float32",
    )  # fmt: skip
    rows = b.node("Gather", [b.w((30, 8), dtype="uint8"), words], (5, 8), "float32")
    shown = b.q(mask, scale=0.1, zero=255)
    program = lowered(b.build(shown, b.q(rows, scale=0.01, zero=0)))
    assert [entry.rows for entry in program.entries] == [30]
    held, _ = reference.run(program, {"input0": np.array([0, 3, 29, 0, 1])}).values()
    np.testing.assert_allclose(held, [-25.5, 0, 0, -25.5, 0], atol=1e-5)


def test_a_function_that_grows_beyond_its_input_is_refused():
    b = Quantized("outer")
    x = b.input((5,), "int64")
    column = b.node("Unsqueeze", [x, b.constant([1], shape=(1,))], (5, 1))
    y = b.node("Cast", [b.node("Equal", [x, column], (5, 5), "bool")], (5, 5), "float32", to=1)
    assert "Cast" in refusal(b.build(b.q(y)))


def test_an_input_of_booleans_may_be_of_any_type_and_holds_0_and_1():
    program = lowered(chosen("int64", -1e9))
    scores, mask = np.zeros((2, 3, 6, 6), np.float32), np.full((2, 1, 1, 6), -1)
    with pytest.raises(InputError, match="holds -1; it takes integers from 0 to 1"):
        reference.run(program, {"input0": scores, "input1": mask})


@pytest.mark.parametrize(("place", "shape"), [(1, ()), (-1, ()), (2, (1,))])
def test_a_place_of_an_axis_is_picked(place, shape):
    b = Quantized("picked")
    index = b.constant([place], shape=shape)
    graph = b.build(b.node("Gather", [b.q(b.input((2, 3, 4))), index], (2, *shape, 4), "float32", axis=1))
    assert kinds(lowered(graph))[0] == "Slice"
    assert steps_apart(graph) == 0


def test_several_places_are_picked():
    b = Quantized("picked")
    y = b.node("Gather", [b.q(b.input((5, 4))), b.constant([0, 3, 1], shape=(3,))], (3, 4), "float32")
    assert steps_apart(b.build(y)) == 0


@pytest.mark.parametrize(("before", "after"), [((2, 1, 6), (2, 4, 6)), ((6,), (3, 2, 6)), ((1, 5, 1), (4, 5, 3))])
def test_a_tensor_is_repeated(before, after):
    b = Quantized("repeated")
    size = b.constant(after, shape=(len(after),))
    graph = b.build(b.node("Expand", [b.q(b.input(before)), size], after, "float32"))
    assert kinds(lowered(graph)) == ["Expand"]
    assert steps_apart(graph) == 0
