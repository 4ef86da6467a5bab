"""The base of the searches that fit a model to the trials: those that are known, and new ones near the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.evolution import rank
from hwprof.search.feasibility import Feasibility
from hwprof.search.unseen import Unseen

_PARENTS = 5  # the best networks, whose neighbours are candidates


class ModelGuided:
    """Its subclasses ask; `_scored` are the trials to fit to, in the order in which they were told."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed = space, seed
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._feasibility = Feasibility(space.choices)
        self._scored: list[Trial] = []

    def tell(self, trials: Sequence[Trial]) -> None:
        """Refused networks teach which others are likely to be refused."""
        self._feasibility.tell(trials)
        self._scored += [trial for trial in trials if trial.score is not None]

    def _near_best(self, n: int, neighbour: Callable[[Arch], Arch]) -> list[Arch]:
        """At most n new neighbours of the best networks."""
        best = sorted(self._scored, key=rank)[:_PARENTS]
        return self._unseen.drawn(n, lambda: neighbour(best[int(self._rng.integers(len(best)))].arch))
