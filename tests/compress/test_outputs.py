"""The outputs of changed networks against those of the float network."""

import math

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.outputs import Judge, outputs, relative_error, values
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.variants.spec import Weighted


def dense() -> Graph:
    b = GraphBuilder("dense")
    return b.build(b.gemm(b.input((1, 2), name="x"), 2, bias=False))


def weighted(factor: float = 1.0) -> Weighted:
    graph = dense()
    return Weighted(graph, {graph.weights[0].name: factor * np.eye(2, dtype=np.float32)})


SAMPLES = {"x": np.array([[[3.0, 0.0]], [[0.0, 4.0]]], np.float32)}


def test_outputs_are_stacked_by_sample():
    (found,) = outputs(weighted(2.0), SAMPLES).values()
    assert found.tolist() == [[[6.0, 0.0]], [[0.0, 8.0]]]


def test_tensors_inside_a_network_are_read_by_name():
    b = GraphBuilder("deep")
    inner = b.relu(b.input((1, 2), name="x"))
    network = Weighted(b.build(b.unary("Neg", inner)), {})
    assert [row[inner].tolist() for row in values(network, SAMPLES, [inner])] == SAMPLES["x"].tolist()


def test_the_error_is_the_norm_of_the_difference_over_all_samples():
    exact = {"y": np.array([[3.0, 0.0], [0.0, 4.0]])}
    assert relative_error({"y": np.array([[3.0, 0.0], [0.0, 3.0]])}, exact) == pytest.approx(1 / 5)


def test_several_outputs_count_alike_whatever_their_size():
    exact = {"scores": np.ones(4), "boxes": 1000 * np.ones(4)}
    found = {"scores": 0.9 * np.ones(4), "boxes": 1000 * np.ones(4)}
    assert relative_error(found, exact) == pytest.approx(0.1 / math.sqrt(2))


def test_integers_count_by_the_share_that_differs():
    assert relative_error({"y": np.array([1, 2, 3, 4])}, {"y": np.array([1, 2, 3, 5])}) == pytest.approx(0.25)


def test_an_output_that_is_not_finite_is_infinitely_wrong():
    assert relative_error({"y": np.array([np.nan])}, {"y": np.ones(1)}) == math.inf


def test_the_harm_by_a_metric_that_is_an_error_is_how_much_it_grows():
    def error(found, exact):
        return float(np.abs(next(iter(found.values())) - next(iter(exact.values()))).max())

    error.higher_is_better = False
    judge = Judge(weighted(), SAMPLES, error)
    assert (judge.best, judge.score(weighted(2.0)), judge.harm(weighted(2.0))) == (0.0, 4.0, 4.0)


def test_the_harm_without_a_metric_is_the_square_of_the_error():
    judge = Judge(weighted(), SAMPLES)
    assert (judge.best, judge.score(weighted()), judge.harm(weighted())) == (0.0, 0.0, 0.0)
    assert judge.score(weighted(0.8)) == pytest.approx(-0.2)
    assert judge.harm(weighted(0.8)) == pytest.approx(0.04)


def test_a_metric_gets_the_changed_and_the_float_outputs():
    def closeness(found, exact):
        return 10.0 - max(float(np.abs(found[name] - exact[name]).max()) for name in exact)

    judge = Judge(weighted(), SAMPLES, closeness)
    assert (judge.best, judge.harm(weighted(0.5))) == (10.0, 2.0)
    assert judge.score(weighted(2.0)) == 6.0


@pytest.mark.parametrize(
    ("metric", "reason"),
    [(lambda found, _: found["nope"], "the metric failed: KeyError"), (lambda *_: math.nan, "the metric is nan")],
)
def test_a_metric_that_fails_is_told(metric, reason):
    with pytest.raises(InputError, match=reason):
        Judge(weighted(), SAMPLES, metric)


def test_a_float_network_that_fails_on_the_samples_judges_nothing():
    with pytest.raises(InputError, match=r"output .* of 'dense' is not finite on the samples"):
        Judge(weighted(3e38), SAMPLES)
