"""Q-learning over structure codes, position by position (BlockQNN: Zhong et al., arXiv 1808.05584).

The state is the position with the choice before it; an action is the choice at the position. The reward of the whole
network is spread over its positions. Random actions become rarer, and all known trials are replayed after each batch.
The paper's reward is accuracy - mu log FLOPs - rho log density; here it is score - mu log(latency / first latency).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.spaces import sampling


class QLearning:
    """rate: of the values. mu: points of score for a latency that is e times larger. horizon: trials until the share of
    random actions has fallen from 1 to `least_random`. replays: stored trials that are learned from again after each
    `tell`.

    It proposes architectures again as random actions become rarer. A refused network has the lowest reward known.
    """

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Zhong et al., BlockQNN, arXiv 1808.05584"

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        rate: float = 0.1,
        mu: float = 0.0,
        horizon: int = 80,
        least_random: float = 0.1,
        replays: int = 64,
    ) -> None:
        self._space, self._rate, self._mu, self._replays = space, rate, mu, replays
        self._horizon, self._least_random = horizon, least_random
        self._rng = np.random.default_rng(seed)
        before = (1, *space.choices[:-1])
        self._values = [np.zeros((states, n)) for states, n in zip(before, space.choices, strict=True)]
        self._stored: list[Trial] = []
        self._first_ms = 1.0
        self._lowest = np.inf  # reward
        self._is_started = False

    @property
    def random_share(self) -> float:
        """The share of random actions now."""
        return max(self._least_random, 1 - (1 - self._least_random) * len(self._stored) / self._horizon)

    def ask(self, n: int) -> list[Arch]:
        """Returns n architectures: at each position the choice of the highest value, or a random one."""
        return [sampling.repaired(self._space, self._arch(), self._rng) for _ in range(n)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learns from the trials, then from stored ones in random order."""
        self._stored += trials
        if not self._is_started:
            self._start()
        scored = [self._reward(trial) for trial in trials if trial.score is not None]
        self._lowest = min([self._lowest, *scored])
        lowest = self._lowest if np.isfinite(self._lowest) else 0.0
        replayed = self._rng.integers(len(self._stored), size=self._replays) if self._stored else ()
        for trial in (*trials, *(self._stored[i] for i in replayed)):
            self._learn(trial.arch, lowest if trial.score is None else self._reward(trial))

    def _start(self) -> None:
        """The first rewards are where all values begin, so that an unknown choice is neither good nor bad."""
        scored = [trial for trial in self._stored if trial.score is not None]
        if scored:
            self._is_started = True
            self._first_ms = scored[0].latency_ms
            mean = float(np.mean([self._reward(trial) for trial in scored]))
            self._values = [values + mean for values in self._values]

    def _arch(self) -> Arch:
        arch: list[int] = []
        for values in self._values:
            row = values[arch[-1] if arch else 0]
            is_random = self._rng.random() < self.random_share
            best = np.arange(len(row)) if is_random else np.flatnonzero(row == row.max())
            arch.append(int(best[self._rng.integers(len(best))]))
        return tuple(arch)

    def _reward(self, trial: Trial) -> float:
        slower = np.log(trial.latency_ms / self._first_ms) if self._mu else 0.0
        return float((trial.score or 0.0) - self._mu * slower)

    def _learn(self, arch: Arch, reward: float) -> None:
        """From the last position to the first: the value of a choice is half the reward of the network, half the best
        value of the state that it leads to."""
        for position in reversed(range(len(arch))):
            row = self._values[position][arch[position - 1] if position else 0]
            is_last = position == len(arch) - 1
            following = reward if is_last else float(self._values[position + 1][arch[position]].max())
            row[arch[position]] += self._rate * ((reward + following) / 2 - row[arch[position]])
