"""Searches on the tiny space and an analytic device, whose latencies are its launches of 1 ms."""

import numpy as np
import pytest

from hwprof.data.result import Met
from hwprof.data.store import Store
from hwprof.errors import InputError
from hwprof.jobs.searching import search
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from tests.samples import noisy_device

pytestmark = pytest.mark.usefixtures("tiny_spaces")
DEVICE = noisy_device(0.001, 0.001)


class Launches:
    """A predictor that counts the launches; its upper bounds are 10 % higher."""

    takes = "graph"

    def predict(self, X):
        return np.array([float(len(graph.nodes)) for graph in X])

    def predict_interval(self, X, coverage):
        return 0.9 * self.predict(X), 1.1 * self.predict(X)


def deepest(arch) -> float:
    return float(arch[0]) + arch[1] / 10


def find(store=None, score=deepest, **changes):
    asked = {
        "device": DEVICE, "target_ms": 6.0, "evaluations": 12, "finalists": 1, "latency": Launches(),
        "options": Options(FAST), **changes,
    }  # fmt: skip
    return search("space", score, store=store, **asked)


def test_the_winner_is_the_best_that_the_device_confirms_and_is_kept():
    """A network of n convolutions has 2 n + 1 launches."""
    with Store() as store:
        found = find(store, evaluations=32, strategy="random")
        assert store.results() == [found.winner]
    assert found.winner.choices["arch"][:2] == [1, 3]
    assert found.winner.met is Met.YES
    assert found.winner.latency("noisy").median == pytest.approx(5, rel=0.05)
    assert max(trial.latency_ms for trial in found.searched.trials) == pytest.approx(5.5)
    assert found.searched.refused == 32


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target_ms": 0.5}, r"within 0.5 ms; the least latency found is 3.3 ms"),
        ({"target_ms": 0.0}, "positive number of ms"),
        ({"score": None}, "give --score or --task, and not both"),
        ({"task": "digits"}, "give --score or --task, and not both"),
        ({"epochs": 3}, "--epochs is for a score by training"),
        ({"workers": 0}, "at least one worker, not 0"),
        ({"strategy": "guess"}, "no search is named 'guess'"),
        ({"score": "table:none.csv"}, "none.csv"),
        ({"score": "nowhere.py:score"}, "nowhere.py:score"),
    ],
)
def test_bad_input_is_told_in_one_line(changes, reason):
    with pytest.raises(InputError, match=reason) as error:
        find(**changes)
    assert "\n" not in str(error.value)
