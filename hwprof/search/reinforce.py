"""REINFORCE: a policy with one distribution over the choices of each position (`hwprof.objective.policy`).

It is the controller that DNQ (arXiv 1812.02375, `hwprof.compress.dnq`) uses for bit widths, here over the choices of
any space. The reward of a refused network is the lowest one known, so that the policy leaves the region above the
latency limit.

2026-11-29: a network that is known already is drawn again only when the policy and chance find no new one. A repeat
costs no evaluation and tells nothing, but it made the policy harder, which then settled on the first good network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.objective.policy import Policy
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling


class Reinforce:
    """rate, memory: those of `Policy`."""

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Williams, Machine Learning 8, 1992; DNQ, arXiv 1812.02375"

    def __init__(self, space: SearchSpace, seed: int = 0, rate: float = 0.1, memory: float = 0.95) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._policy = Policy(space.choices, rate, memory)
        self._lowest = np.inf

    def probabilities(self) -> list[np.ndarray]:
        """The policy: for each position [n_choices]."""
        return self._policy.probabilities()

    def ask(self, n: int) -> list[Arch]:
        """At most n new architectures, drawn by the policy; where it keeps drawing known ones, random ones. When the
        space is spent, n known ones, so that the policy goes on learning."""
        drawn = self._unseen.drawn(n, self._draw)
        found = drawn + self._unseen.random(n - len(drawn))
        return found or [self._draw() for _ in range(n)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """One step of the policy for each trial."""
        scores = [trial.score for trial in trials if trial.score is not None]
        self._lowest = min([self._lowest, *scores])
        if np.isfinite(self._lowest):
            self._policy.learn([(t.arch, self._lowest if t.score is None else t.score) for t in trials])

    def _draw(self) -> Arch:
        [arch] = self._policy.drawn(1, self._rng)
        return sampling.repaired(self._space, arch, self._rng)
