"""The run is tested with a search that asks for what a test says, on scores and latencies worked out by hand."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hwprof.data.store import Store
from hwprof.errors import InputError
from hwprof.objective.budget import Budget
from hwprof.search.evolution import Evolution
from hwprof.search.random import RandomSearch
from hwprof.search.run import Limit, Plan, run
from tests.tiny_space import SPACE


class Scripted:
    """Asks for the given batches; keeps what it is told."""

    def __init__(self, *batches):
        self._batches = list(batches)
        self.told = []

    def ask(self, n):
        return self._batches.pop(0) if self._batches else []

    def tell(self, trials):
        self.told.append(list(trials))


def latency_ms(archs: np.ndarray) -> np.ndarray:
    return archs.sum(axis=1) + 1.0


def score(arch) -> float:
    return float(sum(arch))


A, B, C = (0, 0, 0, 0), (1, 0, 0, 0), (3, 3, 1, 1)
UP_TO_5_MS = Limit(latency_ms, 5.0)


def test_a_repeat_is_told_but_not_scored_again():
    calls = []
    search = Scripted([A, A], [A, B])
    run(search, lambda arch: calls.append(arch) or score(arch), Limit(latency_ms), Plan(10))
    assert calls == [A, B]
    assert [[trial.arch for trial in told] for told in search.told] == [[A, A], [A, B]]


def test_a_network_above_the_limit_is_told_as_refused_and_never_scored():
    calls = []
    search = Scripted([A, C])
    searched = run(search, lambda arch: calls.append(arch) or score(arch), UP_TO_5_MS, Plan(10))
    assert calls == [A]
    assert [(trial.score, trial.latency_ms) for trial in search.told[0]] == [(0.0, 1.0), (None, 9.0)]
    assert searched.refused == 1


def test_a_run_ends_with_the_evaluations():
    assert len(run(RandomSearch(SPACE), score, Limit(latency_ms), Plan(7)).trials) == 7


def test_a_space_that_is_smaller_than_the_evaluations_is_scored_once():
    assert len(run(RandomSearch(SPACE), score, Limit(latency_ms), Plan(1000)).trials) == 4 * 4 * 2 * 2


def test_a_search_that_only_repeats_itself_ends():
    assert len(run(Scripted(*[[A]] * 10_000), score, Limit(latency_ms), Plan(2)).trials) == 1


def test_a_killed_run_goes_on_with_the_stored_scores_to_the_same_result(tmp_path):
    calls = []

    def dies_at_the_tenth(arch):
        calls.append(arch)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return score(arch)

    def start(store):
        search = Evolution(SPACE, population=4, tournament=2)
        keep = lambda arch, value: store.add_score("key", arch, value)  # noqa: E731
        return run(search, dies_at_the_tenth, UP_TO_5_MS, Plan(16), known=store.scores("key"), keep=keep)

    with Store(tmp_path / "s.db") as store, pytest.raises(KeyboardInterrupt):
        start(store)
    with Store(tmp_path / "s.db") as store:
        resumed = start(store)
    undisturbed = run(Evolution(SPACE, population=4, tournament=2), score, UP_TO_5_MS, Plan(16))
    assert resumed == undisturbed
    assert len(calls) == 16 + 1


def test_workers_change_nothing():
    alone = run(Evolution(SPACE, 3), score, UP_TO_5_MS, Plan(20))
    with ThreadPoolExecutor(4) as executor:
        together = run(Evolution(SPACE, 3), score, UP_TO_5_MS, Plan(20), executor=executor)
    assert together == alone


def test_scores_are_kept_although_another_of_the_batch_fails():
    kept = {}

    def fails_at_b(arch):
        if arch == B:
            raise InputError("no")
        return score(arch)

    with pytest.raises(InputError, match="no"):
        run(Scripted([A, B]), fails_at_b, Limit(latency_ms), Plan(2), keep=kept.__setitem__)
    assert kept == {A: 0.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_names_the_architecture(value):
    with pytest.raises(InputError, match=f"the score of architecture 1-0-0-0 is {value}"):
        run(Scripted([B]), lambda _arch: value, Limit(latency_ms), Plan(1))


def test_a_latency_that_is_nan_is_not_taken_for_one_that_fits():
    with pytest.raises(InputError, match="the latency of architecture 1-0-0-0 is nan"):
        run(Scripted([B]), score, Limit(lambda archs: np.full(len(archs), math.nan)), Plan(1))


def test_a_limit_that_nothing_meets_says_the_least_latency_found():
    with pytest.raises(InputError, match=r"within 0.5 ms; the least latency found is 1 ms, of 0-0-0-0"):
        run(RandomSearch(SPACE), score, Limit(latency_ms, 0.5), Plan(10))


@pytest.mark.parametrize("plan", [(0, 1), (1, 0)])
def test_a_plan_without_work_is_refused(plan):
    with pytest.raises(InputError, match="at least one evaluation and a batch of one"):
        Plan(*plan)


def test_a_limit_takes_the_quantile_of_the_budget():
    class Wide:
        takes = "arch"

        def predict(self, X):
            return np.full(len(X), 1.0)

        def predict_interval(self, X, coverage):
            return np.full(len(X), 0.0), np.full(len(X), 1.0 + coverage)

    limit = Limit.of(Budget(Wide(), 1.5, confidence=0.9), SPACE)
    assert limit.latency_ms(np.array([A])) == pytest.approx([1.8])
    assert limit.ms == 1.5


def test_the_best_trials_come_first_and_of_equal_ones_the_fastest():
    trials = run(Scripted([A, B, C]), lambda arch: float(arch != A), Limit(latency_ms), Plan(3)).best()
    assert [trial.arch for trial in trials] == [B, C, A]
