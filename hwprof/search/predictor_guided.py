"""Search guided by a predictor of the score (Mauch et al., arXiv 2011.12043).

A regressor is fitted to the scores that are known; the candidates that it ranks highest are asked for, and it is
fitted again. The candidates are the pool: the full space, a random subset of it, or a subset of the neighbours of the
best networks known. The paper shows that a random subset costs much of the gain over random search, and that a subset
chosen with care regains it. Its rule for choosing was not at hand: edits of the best networks are ours, and so is the
formula of `sample_efficiency_gain`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.feasibility import one_hot
from hwprof.search.model_guided import ModelGuided
from hwprof.search.rank_process import RankProcess
from hwprof.spaces import sampling

Pool: TypeAlias = Literal["full", "random", "neighbours"]
_MOST_EDITS = 2
_RANDOM_PART = 4  # a quarter of the neighbours' pool is random, as a way out of a region that holds no better network


def process(_seed: int) -> RankProcess:
    """The default: an unfitted Gaussian process of ranks."""
    return RankProcess()


def forest(seed: int) -> Any:
    """An unfitted random forest, which was the default before 2026-11-29: on NAS-Bench-201 the process finds better
    cells with the same evaluations, in a quarter of the time."""
    with plugins.optional_library("a search guided by a random forest"):
        from sklearn.ensemble import RandomForestRegressor
    return RandomForestRegressor(n_estimators=40, max_features=0.5, random_state=seed)


class PredictorSearch(ModelGuided):
    """pool: "full" ranks the whole space, "random" and "neighbours" rank `subset` candidates, new ones for each `ask`.
    A quarter of the neighbours are random, too.
    Candidates that are likely to be refused come last. initial: how many random networks are scored first. refit: how
    many new scores change the model. model: makes, for a seed, an unfitted regressor with `fit(codes, scores)` and
    `predict(codes)`, where the one-hot codes are [n, n_features] and the scores [n].

    Raises InputError for an unknown pool, and for the full pool of a space that is too large to be listed.
    """

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Mauch et al., Efficient Sampling for Predictor-Based NAS, arXiv 2011.12043"

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        pool: Pool = "neighbours",
        subset: int = 48,
        initial: int = 16,
        refit: int = 8,
        model: Callable[[int], Any] = process,
    ) -> None:
        if pool not in get_args(Pool):
            raise InputError(f"no pool is named {pool!r}; known: {', '.join(get_args(Pool))}")
        if pool == "full" and sampling.size(space) > sampling.ENUMERABLE:
            raise InputError(
                f"the pool 'full' lists the space, which has {sampling.size(space):.3g} architectures; it can list "
                f"{sampling.ENUMERABLE}: take the pool 'neighbours'"
            )
        super().__init__(space, seed)
        self._pool, self._subset, self._initial = pool, subset, initial
        self._refit, self._model = refit, model
        self._fitted: Any = None
        self._fitted_to = 0  # scores
        self._everything = list(sampling.enumerate_archs(space)) if pool == "full" else []  # that is unseen
        self._ranked: list[Arch] | None = None

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures, those with the highest predictions first."""
        if len(self._scored) < self._initial:
            return self._unseen.random(n)
        if self._pool == "full":
            if self._ranked is None:
                self._everything = [arch for arch in self._everything if arch not in self._unseen.seen]
                self._ranked = self._by_prediction(self._everything)
            return self._unseen.new(self._ranked, n)
        best_first = self._by_prediction(self._candidates(max(n, self._subset)))
        self._unseen.give_back(best_first[n:])
        return best_first[:n]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Known scores change the predictions; refused networks are not proposed again."""
        super().tell(trials)
        if len(self._scored) >= self._fitted_to + self._refit:
            self._fitted = self._ranked = None

    def _candidates(self, n: int) -> list[Arch]:
        if self._pool == "random":
            return self._unseen.random(n)
        found = self._near_best(n - n // _RANDOM_PART, self._neighbour)
        return found + self._unseen.random(n - len(found))

    def _neighbour(self, arch: Arch) -> Arch:
        try:
            return sampling.mutate(self._space, arch, self._rng, int(self._rng.integers(1, _MOST_EDITS + 1)))
        except InputError:  # with fewer positions that can change
            return arch

    def _by_prediction(self, archs: Sequence[Arch]) -> list[Arch]:
        """The best first."""
        if not archs:
            return []
        if self._fitted is None:
            scores = np.array([trial.score for trial in self._scored], float)
            self._fitted_to = len(scores)
            self._fitted = self._model(self._seed).fit(self._codes([trial.arch for trial in self._scored]), scores)
        predicted = self._fitted.predict(self._codes(archs))
        order = np.lexsort((-predicted, ~self._feasibility.likely(archs)))
        return [archs[i] for i in order]

    def _codes(self, archs: Sequence[Arch]) -> np.ndarray:
        """[n, n_features], one-hot"""
        return one_hot(self._space.choices, archs)


class FullPool(PredictorSearch):
    """Ranks the whole space."""

    needs: ClassVar[str] = f"a space of at most {sampling.ENUMERABLE:,} architectures"

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        super().__init__(space, seed, "full")


class RandomPool(PredictorSearch):
    """Ranks random subsets."""

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        super().__init__(space, seed, "random")


def sample_efficiency_gain(evaluations: Sequence[int], space_size: int, targets: int) -> float:
    """How many times fewer evaluations than random search a search needs to find one of the `targets` best networks.

    evaluations: those that the search needed, one number for each seed. Random search without replacement needs
    (space_size + 1) / (targets + 1) on average. Raises InputError without evaluations or targets.
    """
    if not len(evaluations) or not 1 <= targets <= space_size:
        raise InputError(f"the gain needs evaluations and 1 to {space_size} targets; {targets} were given")
    return (space_size + 1) / (targets + 1) / float(np.mean(evaluations))
