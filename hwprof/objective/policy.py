"""A policy with one distribution over the choices of each position, which learns from rewards by REINFORCE (Williams,
Machine Learning 8, 1992). Positions are drawn independently of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof.interfaces import Arch


class Policy:
    """n_choices: of each position. rate: of the logits. memory: share of the running mean and variance of the rewards
    that one more of them leaves."""

    def __init__(self, n_choices: Sequence[int], rate: float = 0.1, memory: float = 0.95) -> None:
        self._rate, self._memory = rate, memory
        self._logits = [np.zeros(n) for n in n_choices]
        self._mean: float | None = None
        self._variance = 0.0

    def probabilities(self) -> list[np.ndarray]:
        """For each position [n_choices]."""
        return [_softmax(logits) for logits in self._logits]

    def drawn(self, n: int, rng: np.random.Generator) -> list[Arch]:
        policy = self.probabilities()
        return [tuple(int(rng.choice(len(p), p=p)) for p in policy) for _ in range(n)]

    def learn(self, rewarded: Sequence[tuple[Arch, float]]) -> None:
        """One step for each draw and its reward, along the reward minus the mean reward, in units of its deviation. All
        were drawn by the present policy."""
        policy = self.probabilities()
        for arch, reward in rewarded:
            self._step(policy, arch, reward)

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
