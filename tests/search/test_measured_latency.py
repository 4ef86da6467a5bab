import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.search.measured_latency import FEWEST, MeasuredLatency
from hwprof.spaces import sampling
from tests.tiny_space import SPACE

ARCHS = np.array(sampling.random_archs(SPACE, 60, np.random.default_rng(0)))


class Exact:
    """Knows the number of nodes, +- 10 %."""

    takes = "graph"

    def fit(self, X, y):
        self.n = len(X)
        return self

    def predict_interval(self, X, coverage):
        nodes = np.array([len(graph.nodes) for graph in X])
        return 0.9 * nodes, 1.1 * nodes


class Unsure(Exact):
    def predict_interval(self, X, coverage):
        raise InputError("too few")


def measuring(make, limit_ms=6.0):
    calls = []

    def measure(graphs):
        calls.extend(graphs)
        return np.array([float(len(graph.nodes)) for graph in graphs])

    return MeasuredLatency(measure, SPACE, limit_ms, 0.95, make), calls


def test_everything_is_measured_without_a_predictor():
    latency_ms, calls = measuring(None)
    assert latency_ms(ARCHS).tolist() == [2 * arch[0] + 3 for arch in ARCHS]
    assert len(calls) == latency_ms.n_measured == 60


def test_nothing_is_measured_twice():
    latency_ms, calls = measuring(None)
    latency_ms(ARCHS[:8])
    latency_ms(ARCHS[:10])
    assert len(calls) == 10


def test_after_the_first_only_networks_near_the_limit_are_measured():
    """With 3, 5, 7 or 9 nodes and a limit of 7.0 ms, the interval of 7 alone holds the limit."""
    latency_ms, calls = measuring(Exact, limit_ms=7.0)
    latency_ms(ARCHS[:FEWEST])
    later = latency_ms(ARCHS[FEWEST:])
    assert {len(graph.nodes) for graph in calls[FEWEST:]} == {7}
    assert latency_ms.n_predicted == sum(arch[0] != 2 for arch in ARCHS[FEWEST:])
    assert set(np.round(later, 6)) == {3.3, 5.5, 7.0, 8.1}


def test_a_prediction_that_is_not_possible_at_this_confidence_is_measured():
    latency_ms, calls = measuring(Unsure)
    for start in range(0, 60, 20):
        latency_ms(ARCHS[start : start + 20])
    assert len(calls) == 60


def test_an_error_of_the_measurement_is_raised():
    def lost(_graphs):
        raise InputError("lost")

    with pytest.raises(InputError, match="lost"):
        MeasuredLatency(lost, SPACE, 1.0)(ARCHS[:1])
