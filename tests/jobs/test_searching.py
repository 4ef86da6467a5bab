"""Searches on the tiny space and an analytic device, whose latencies are its launches of 1 ms."""

import math

import numpy as np
import pytest

from hwprof.data.result import Met
from hwprof.data.store import Store
from hwprof.errors import InputError
from hwprof.jobs.searching import search
from hwprof.measure.exclusive import machine_to_ourselves
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
        ({"finalists": 0}, "at least one finalist, not 0"),
        ({"strategy": "guess"}, "no search is named 'guess'"),
        ({"score": lambda _arch: math.nan}, r"the score of architecture [\d-]+ is nan; a search needs numbers"),
        ({"score": "table:none.csv"}, "none.csv"),
        ({"score": "nowhere.py:score"}, "nowhere.py:score"),
    ],
)
def test_bad_input_is_told_in_one_line(changes, reason):
    with pytest.raises(InputError, match=reason) as error:
        find(**changes)
    assert "\n" not in str(error.value)


def test_a_space_that_a_strategy_cannot_search_is_told_before_the_device_is_opened():
    with pytest.raises(InputError, match=r"lists the space, which has .* it can list 100000: take the pool 'neigh"):
        search("darts", deepest, DEVICE, target_ms=1.0, strategy="predictor_full")


def test_a_space_of_one_architecture_has_a_winner(tmp_path):
    (tmp_path / "single.py").write_text(
        "from hwprof.builder import GraphBuilder\n\n\nclass Space:\n    choices = (1,)\n\n    def graph(self, arch):\n"
        "        b = GraphBuilder('one')\n        return b.build(b.relu(b.input((1, 4))))\n\n\nSPACE = Space()\n"
    )
    asked = {"device": DEVICE, "target_ms": 2.0, "evaluations": 5, "options": Options(FAST)}
    found = search(f"{tmp_path / 'single.py'}:SPACE", lambda _arch: 1.0, **asked)
    assert found.winner.choices == {"arch": [0]}
    assert len(found.searched.trials) == 1


def test_candidates_are_measured_and_later_ones_predicted_where_that_is_clear():
    notes = []
    found = find(latency=None, strategy="random", evaluations=40, options=Options(FAST, on_note=notes.append))
    assert found.winner.met is Met.YES
    (note,) = [note for note in notes if "latencies of candidates" in note]
    measured, predicted = (int(note.split(word)[0].split()[-1]) for word in (" measured", " predicted"))
    assert measured >= 24
    assert measured + predicted == len(found.searched.trials) + found.searched.refused
    assert predicted > 0


def test_others_can_measure_while_a_search_scores(monkeypatch):
    """The machine's lock is free during each score."""
    taken = []

    def tries_the_lock(arch) -> float:
        with machine_to_ourselves():
            taken.append(arch)
        return deepest(arch)

    found = find(score=tries_the_lock, evaluations=3)
    assert {trial.arch for trial in found.searched.trials} <= set(taken)
