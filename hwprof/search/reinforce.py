"""REINFORCE: a policy with one distribution over the choices of each position (`hwprof.objective.policy`).

It is the controller that DNQ (arXiv 1812.02375, `hwprof.compress.dnq`) uses for bit widths, here over the choices of
any space. What is above the latency limit is rejected, and the policy learns nothing from it, as in TabNAS (Yang et
al., arXiv 2204.07615): it improves the networks that are left. The paper's correction for the rejected share of the
policy is an expectation of the advantage, which is 0 here, because rewards are taken relative to their mean.

2026-11-29: refused networks had the lowest reward before. As most networks are refused under a tight limit, the policy
learned to stay far below it, where the best networks are not. And a network that is known already is drawn again only
when the policy and chance find no new one: a repeat costs no evaluation and tells nothing, but it hardened the policy.
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
        """One step of the policy for each trial that was not refused."""
        self._policy.learn([(trial.arch, trial.score) for trial in trials if trial.score is not None])

    def _draw(self) -> Arch:
        [arch] = self._policy.drawn(1, self._rng)
        return sampling.repaired(self._space, arch, self._rng)
