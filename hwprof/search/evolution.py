"""Regularized evolution: the oldest of the population dies (Real et al., arXiv 1802.01548, algorithm 1).

It is latency-aware by the rule of constraint domination (Deb et al., NSGA-II, 2002, section VI): a network within the
limit is better than any that was refused, and of two that were refused the faster one is better. Refused networks are
in the population only until enough others are known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling


class Evolution:
    """population: how many of the latest scored networks live. tournament: how many of them compete to be a parent.

    Raises InputError for a tournament that is larger than the population, or empty.
    """

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Real et al., Regularized Evolution, arXiv 1802.01548"

    def __init__(self, space: SearchSpace, seed: int = 0, population: int = 20, tournament: int = 5) -> None:
        if not 1 <= tournament <= population:
            raise InputError(f"a tournament of {tournament} needs a population of at least as many, not {population}")
        self._space, self._tournament, self._population = space, tournament, population
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._living: deque[Trial] = deque(maxlen=population)
        self._refused: deque[Trial] = deque(maxlen=population)

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures: random ones while the population grows, then children."""
        grows = len(self._living) < self._population
        if not (self._refused if grows else self._living):
            return self._unseen.random(n)
        children = self._unseen.drawn(n // 2 if grows else n, self._child)
        return children + self._unseen.random(n - len(children))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Refused networks are kept as parents for the time when too few others are known."""
        for trial in trials:
            (self._refused if trial.score is None else self._living).append(trial)

    def _child(self) -> Arch:
        candidates = list(self._living)
        if len(candidates) < self._population:
            candidates += self._refused
        drawn = self._rng.choice(len(candidates), min(self._tournament, len(candidates)), replace=False)
        return mutated(self._space, min((candidates[i] for i in drawn), key=rank).arch, self._rng)


def rank(trial: Trial) -> tuple[bool, float]:
    """Sorts the better trial first: by the score, refused ones last and by their latency."""
    return (True, trial.latency_ms) if trial.score is None else (False, -trial.score)


def mutated(space: SearchSpace, arch: Arch, rng: np.random.Generator) -> Arch:
    """One random edit; or two, where the repair of the space undoes single ones; the architecture itself where the
    space has no other."""
    for edits in (1, 2):
        try:
            return sampling.mutate(space, arch, rng, edits)
        except InputError:
            continue
    return arch
