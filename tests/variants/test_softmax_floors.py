"""What a Softmax leaves of the ranges in front of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph, Node
from hwprof.integer.lowering import attention_rule
from hwprof.variants import grids, softmax_floors

ROW = 8
SOFTMAX = Node("Softmax", ("s",), ("y",))
REACH = math.log(2 * ROW * 255)  # of a result that reaches 1


SUM, SHARES = "Add_0", "Softmax_1"  # as the builder names the results


def masked(*more: str) -> Graph:
    b = GraphBuilder("masked")
    hidden = b.add(b.input((2, 4, ROW), name="x"), b.input((4, ROW), name="mask"))
    return b.build(b.softmax(hidden), *more)


def cut(graph: Graph, top: float = 2.0, mask: float = -1e9) -> dict[str, tuple[float, float]]:
    """Of scores in -5 to 4."""
    ranges = {"x": (-5.0, 4.0), "mask": (mask, 0.0), SUM: (mask - 5, 3.0), SHARES: (0.0, 1.0)}
    return softmax_floors.cut(graph, ranges, {SUM: top})


@pytest.mark.parametrize("mask", [-1e9, -np.inf, float(np.finfo(np.float32).min), -1e4])
def test_a_mask_takes_no_part_of_the_range_of_what_a_softmax_reads(mask):
    found = cut(masked(), mask=mask)
    assert found[SUM] == pytest.approx((2 - REACH, 4))
    assert found["mask"] == pytest.approx((2 - REACH - 4, 0))  # with the largest score, it still reaches the floor


def test_scores_have_one_range_before_and_behind_a_mask():
    found = cut(masked())
    assert found["x"] == found[SUM]


def test_scores_above_the_floor_keep_their_range():
    found = cut(masked(), mask=-1.0)
    assert (found["x"], found[SUM], found["mask"]) == ((-5.0, 4.0), (-6.0, 3.0), (-1.0, 0.0))


def test_what_something_else_reads_too_keeps_its_range():
    assert cut(masked(SUM))["mask"] == (-1e9, 0.0)


def test_rows_that_are_hidden_whole_do_not_count():
    rows = np.array([[-1e9, 3.0], [1.0, -1e9], [-1e9, -1e9 + 7]])
    assert softmax_floors.lowest_maximum(SOFTMAX, rows) == 1.0


def test_a_softmax_of_many_small_shares_has_steps_that_it_can_make():
    b = GraphBuilder("flat")
    graph = b.build(b.softmax(b.input((1, 20_000), name="x")))
    found = softmax_floors.cut(graph, {"x": (0.0, 0.1), "Softmax_0": (4e-5, 6e-5)}, {"x": 0.1})
    assert grids.of_range(*found["Softmax_0"]).scale > attention_rule.FINEST


@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.floats(0.1, 30))
def test_no_row_shows_on_its_result_what_lies_below_the_floor(seed, elements, width):
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, width, (5, elements)) + rng.normal(0, width, (5, 1))
    b = GraphBuilder("rows")
    y = b.softmax(b.input((5, elements), name="x"))
    graph = b.build(y)
    exact = softmax(rows)
    ranges = {"x": (rows.min(), rows.max()), y: (0.0, exact.max())}
    low, _ = softmax_floors.cut(graph, ranges, {"x": softmax_floors.lowest_maximum(graph.nodes[0], rows)})["x"]
    step = exact.max() / 255
    assert np.abs(softmax(np.maximum(rows, low)) - exact).max() <= 0.5001 * step


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
