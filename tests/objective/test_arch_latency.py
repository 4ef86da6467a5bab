import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.objective.arch_latency import ArchLatency
from tests.latency_table.tables import Space, choices, staircase

ARCHS = np.array([[0, 1], [2, 1], [0, 1]])


class OfArchs:
    """A predictor of architectures."""

    takes = "arch"

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.array([1.0 + sum(arch) for arch in X])

    def predict_interval(self, X, coverage=0.9):
        return self.predict(X), self.predict(X)


class Wide:
    """One choice among 120, all of one network."""

    choices = (120,)

    def graph(self, arch):
        return Space().graph((0, 0))


def weights(graphs):
    return np.array([float(sum(w.numel for w in g.weights)) for g in graphs])


def test_a_function_is_asked_with_graphs():
    found = ArchLatency(weights, Space())
    assert found.source_takes == "graph"
    assert found(ARCHS).tolist() == weights([Space().graph(tuple(a)) for a in ARCHS]).tolist()


def test_a_predictor_says_what_it_takes_and_is_not_asked_to_find_out():
    asked = []

    class Watched(OfArchs):
        def predict(self, X):
            asked.extend(X)
            return super().predict(X)

    found = ArchLatency(Watched(), Space())
    assert (found.source_takes, asked) == ("arch", [])
    assert found(ARCHS).tolist() == [2.0, 4.0, 2.0]


def test_a_function_may_say_that_it_takes_architectures():
    def latency_ms(archs):
        return np.array([float(arch[0]) for arch in archs])

    latency_ms.takes = "arch"
    assert ArchLatency(latency_ms, Space())(ARCHS).tolist() == [0, 2, 0]


def test_a_table_says_what_it_takes():
    assert choices([[1.0]]).takes == "arch"
    assert staircase().takes == "graph"
    assert ArchLatency(choices([[1.0, 2.0, 4.0], [1.0, 3.0, 9.0]]), Space())(ARCHS).tolist() == [4.0, 7.0, 4.0]


def test_what_the_user_says_is_not_questioned():
    assert ArchLatency(lambda archs: np.array([float(a[0]) for a in archs]), Space(), "arch")(ARCHS).tolist() == [
        0,
        2,
        0,
    ]


def test_nothing_is_asked_twice():
    asked = []

    def latency_ms(archs):
        asked.extend(archs)
        return np.ones(len(archs))

    found = ArchLatency(latency_ms, Space(), "arch")
    found(ARCHS)
    found(ARCHS[1:])
    assert asked == [(0, 1), (2, 1)]


def test_an_architecture_out_of_the_table_is_refused():
    with pytest.raises(InputError, match="holds no choice"):
        ArchLatency(choices([[1.0], [1.0]]), Space())(ARCHS)


def test_long_work_says_how_far_it_is():
    heard = []
    many = np.array([(a, b) for a in range(3) for b in range(3)] * 20)
    ArchLatency(weights, Space(), on_progress=lambda *progress: heard.append(progress))(many)
    assert heard == [(9, 9)]
    heard.clear()
    ArchLatency(weights, Wide(), on_progress=lambda *progress: heard.append(progress))(np.arange(120)[:, None])
    assert heard == [(50, 120), (100, 120), (120, 120)]
