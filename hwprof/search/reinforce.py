"""REINFORCE: a policy with one distribution over the choices of each position (Williams, Machine Learning 8, 1992).

This is the controller that DNQ (arXiv 1812.02375) uses for bit widths, here over the choices of any space and without
its recurrent network: positions are drawn independently of each other. The reward of a refused network is the lowest
one known, so that the policy leaves the region above the latency limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.spaces import sampling


class Reinforce:
    """rate: of the policy's logits. memory: share of the running mean and variance of the rewards that a trial keeps.

    It proposes architectures again as its policy hardens.
    """

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Williams, Machine Learning 8, 1992; DNQ, arXiv 1812.02375"

    def __init__(self, space: SearchSpace, seed: int = 0, rate: float = 0.1, memory: float = 0.95) -> None:
        self._space, self._rate, self._memory = space, rate, memory
        self._rng = np.random.default_rng(seed)
        self._logits = [np.zeros(options) for options in space.choices]
        self._mean: float | None = None
        self._variance = 0.0
        self._lowest = np.inf

    def probabilities(self) -> list[np.ndarray]:
        """The policy: for each position [n_choices]."""
        return [_softmax(logits) for logits in self._logits]

    def ask(self, n: int) -> list[Arch]:
        """Returns n architectures, drawn by the policy."""
        policy = self.probabilities()
        drawn = (tuple(int(self._rng.choice(len(p), p=p)) for p in policy) for _ in range(n))
        return [sampling.repaired(self._space, arch, self._rng) for arch in drawn]

    def tell(self, trials: Sequence[Trial]) -> None:
        """One step of the policy for each trial, along reward minus mean reward, in units of its deviation."""
        scores = [trial.score for trial in trials if trial.score is not None]
        self._lowest = min([self._lowest, *scores])
        if not np.isfinite(self._lowest):
            return
        policy = self.probabilities()
        for trial in trials:
            self._step(policy, trial.arch, self._lowest if trial.score is None else trial.score)

    def _step(self, policy: Sequence[np.ndarray], arch: Arch, reward: float) -> None:
        if self._mean is None:
            self._mean = reward
        surprise = reward - self._mean
        self._variance = self._memory * self._variance + (1 - self._memory) * surprise**2
        self._mean += (1 - self._memory) * surprise
        if not self._variance:
            return
        advantage = surprise / np.sqrt(self._variance)
        for position, (probabilities, choice) in enumerate(zip(policy, arch, strict=True)):
            gradient = -probabilities
            gradient[choice] += 1
            self._logits[position] += self._rate * advantage * gradient


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())
