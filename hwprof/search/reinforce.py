"""REINFORCE: a policy with one distribution over the choices of each position (`hwprof.objective.policy`).

It is the controller that DNQ (arXiv 1812.02375, `hwprof.compress.dnq`) uses for bit widths, here over the choices of
any space. The reward of a refused network is the lowest one known, so that the policy leaves the region above the
latency limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.objective.policy import Policy
from hwprof.spaces import sampling


class Reinforce:
    """rate, memory: those of `Policy`. It proposes architectures again as its policy hardens."""

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Williams, Machine Learning 8, 1992; DNQ, arXiv 1812.02375"

    def __init__(self, space: SearchSpace, seed: int = 0, rate: float = 0.1, memory: float = 0.95) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._policy = Policy(space.choices, rate, memory)
        self._lowest = np.inf

    def probabilities(self) -> list[np.ndarray]:
        """The policy: for each position [n_choices]."""
        return self._policy.probabilities()

    def ask(self, n: int) -> list[Arch]:
        """Returns n architectures, drawn by the policy."""
        return [sampling.repaired(self._space, arch, self._rng) for arch in self._policy.drawn(n, self._rng)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """One step of the policy for each trial."""
        scores = [trial.score for trial in trials if trial.score is not None]
        self._lowest = min([self._lowest, *scores])
        if np.isfinite(self._lowest):
            self._policy.learn([(t.arch, self._lowest if t.score is None else t.score) for t in trials])
