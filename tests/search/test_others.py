"""Strategies of other libraries by the same ask and tell. They know no latency: the run refuses for them."""

import numpy as np
import pytest

from hwprof.search.random import RandomSearch
from hwprof.search.run import Limit, Plan, run
from hwprof.testing import check_search

LIMIT_MS = 13.0


class Line:
    """8 positions of 4 choices; `graph` is not needed."""

    choices = (4,) * 8


def latency_ms(archs: np.ndarray) -> np.ndarray:
    return 1.0 + archs.sum(axis=1)


def score(arch) -> float:
    """At most 12 within the limit: the last choices in the first half, none in the second."""
    return float(sum(arch[:4]))


class OptunaSearch:
    """A study of Optuna; refused networks are pruned trials."""

    def __init__(self, space, seed=0):
        optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._choices = space.choices
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._pruned = optuna.trial.TrialState.PRUNED
        self._asked = []

    def ask(self, n):
        self._asked = [self._study.ask() for _ in range(n)]
        return [
            tuple(trial.suggest_int(f"position {i}", 0, options - 1) for i, options in enumerate(self._choices))
            for trial in self._asked
        ]

    def tell(self, trials):
        for asked, trial in zip(self._asked, trials, strict=True):
            if trial.score is None:
                self._study.tell(asked, state=self._pruned)
            else:
                self._study.tell(asked, trial.score)


class CmaSearch:
    """CMA-ES over rounded coordinates in [0, 1]; a refused network costs more than all others, the slower the more."""

    def __init__(self, space, seed=0):
        cma = pytest.importorskip("cma", reason="cma is not installed")
        self._most = np.array(space.choices) - 1
        settings = {"seed": seed + 1, "bounds": [0, 1], "verbose": -9, "popsize": 8}
        self._cma = cma.CMAEvolutionStrategy([0.5] * len(self._most), 0.3, settings)
        self._waiting, self._told = [], []

    def ask(self, n):
        if not self._waiting:
            self._points = self._cma.ask()
            self._waiting = list(self._points)
        some, self._waiting = self._waiting[:n], self._waiting[n:]
        return [tuple(int(c) for c in np.rint(point * self._most)) for point in some]

    def tell(self, trials):
        self._told += [1e3 + trial.latency_ms if trial.score is None else -trial.score for trial in trials]
        if not self._waiting:
            self._cma.tell(self._points, self._told)
            self._told = []


OTHERS = [pytest.param("optuna", OptunaSearch, id="optuna"), pytest.param("cma", CmaSearch, id="cma")]


@pytest.mark.parametrize(("library", "make"), OTHERS)
def test_the_strategy_of_another_library_finds_more_within_the_limit_than_random_search(library, make):
    pytest.importorskip(library, reason=f"{library} is not installed")

    def best(search) -> float:
        searched = run(search, score, Limit(latency_ms, LIMIT_MS), Plan(60))
        assert max(trial.latency_ms for trial in searched.trials) <= LIMIT_MS
        return searched.best()[0].score

    assert np.mean([best(make(Line(), seed)) for seed in range(2)]) > np.mean(
        [best(RandomSearch(Line(), seed)) for seed in range(2)]
    )


def test_a_study_of_optuna_keeps_the_contract_of_a_search():
    pytest.importorskip("optuna", reason="Optuna is not installed")
    check_search(OptunaSearch)
