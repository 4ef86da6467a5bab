"""The front of score and latency by non-dominated sorting and crowding (NSGA-II: Deb et al., IEEE Transactions on
Evolutionary Computation 6(2), 2002, sections III and VI).

Parents and children compete together, so that the best of each part of the front survives. Children come one by one,
not generation by generation, from the survivors of everything that was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.evolution import mutated
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling


class Nsga2:
    """population: how many trials survive. crossed: share of the children that have two parents."""

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Deb et al., NSGA-II, IEEE Trans. Evolutionary Computation 6(2), 2002"

    def __init__(self, space: SearchSpace, seed: int = 0, population: int = 20, crossed: float = 0.5) -> None:
        self._space, self._population, self._crossed = space, population, crossed
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._survivors: list[Trial] = []

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures: random ones until the population is full, then children."""
        if len(self._survivors) < self._population:
            return self._unseen.random(n)
        children = self._unseen.drawn(n, self._child)
        return children + self._unseen.random(n - len(children))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keeps the survivors. Repeats change nothing."""
        known = {trial.arch: trial for trial in (*self._survivors, *trials)}
        self._survivors = survivors(list(known.values()), self._population)

    def _child(self) -> Arch:
        arch = self._parent()
        if self._rng.random() < self._crossed:
            arch = sampling.crossover(self._space, arch, self._parent(), self._rng)
        return mutated(self._space, arch, self._rng)

    def _parent(self) -> Arch:
        """The better of two: the survivors are sorted."""
        return self._survivors[int(self._rng.integers(len(self._survivors), size=2).min())].arch


def survivors(trials: Sequence[Trial], n: int) -> list[Trial]:
    """The best n: front by front, within a front the least crowded first, and refused ones last, the fastest first."""
    scored = [trial for trial in trials if trial.score is not None]
    refused = sorted((trial for trial in trials if trial.score is None), key=lambda trial: trial.latency_ms)
    costs = np.array([(-(t.score or 0.0), t.latency_ms) for t in scored]).reshape(-1, 2)
    kept: list[Trial] = []
    left = np.arange(len(scored))
    while len(left) and len(kept) < n:
        is_first = first_front(costs[left])
        front = left[is_first]
        kept += [scored[i] for i in front[np.argsort(-crowding(costs[front]), kind="stable")]]
        left = left[~is_first]
    return (kept + refused)[:n]


def first_front(costs: np.ndarray) -> np.ndarray:
    """costs: [n, n_objectives], smaller is better. Returns [n] of bool: whether no other is at least as good in all
    objectives and better in one."""
    no_worse = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def crowding(costs: np.ndarray) -> np.ndarray:
    """costs: [n, n_objectives]. Returns [n]: the distance between the two neighbours along each objective, as a share
    of its range, summed; infinite at the ends."""
    distances = np.zeros(len(costs))
    for values in costs.T:
        order = np.argsort(values, kind="stable")
        extent = float(np.ptp(values)) or 1.0
        distances[order[[0, -1]]] = np.inf
        distances[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / extent
    return distances
