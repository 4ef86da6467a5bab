"""Traversal of groups of layers: one group after the other gets the choice that pays (ZippyPoint, Kanakis et al.,
arXiv 2203.03610, section 3.2).

It starts from the slower of two corners of the space, such as the network with nothing compressed. In turn, each group
is tried with each choice, all other layers unchanged. What the device measures as slower is never kept; of the rest,
that is kept which is fastest without losing more than a tolerance of the score. Where the present network is refused,
a network within the limit is better, then a faster one. Passes over the groups end when one keeps nothing; the next
traversal starts from a random network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling


@runtime_checkable
class GroupedSpace(Protocol):
    """A space that says which of its positions change together, such as the layers of a stage."""

    groups: Sequence[Sequence[int]]


class GroupTraversal:
    """groups: positions that get the same choice; by default those of the space, or each position alone. tolerance: the
    share of the score that a change may lose.

    `kept`: every network that was kept, in order, after the one that each traversal started from. Raises InputError for
    groups of different choices, and for positions that are not in exactly one group.
    """

    needs: ClassVar[str] = "any space; groups of positions where it names them"
    paper: ClassVar[str] = "Kanakis et al., ZippyPoint, arXiv 2203.03610"

    def __init__(
        self, space: SearchSpace, seed: int = 0, groups: Sequence[Sequence[int]] | None = None, tolerance: float = 0.01
    ) -> None:
        if groups is None:
            groups = space.groups if isinstance(space, GroupedSpace) else [[i] for i in range(len(space.choices))]
        self._groups = _checked(space, groups)
        self.kept: list[Trial] = []
        self._space, self._tolerance = space, tolerance
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._known: dict[Arch, Trial] = {}
        self._current: Trial | None = None
        self._wanted: list[Arch] = self._corners()
        self._turn, self._idle = 0, 0  # the next group, and how many in a row kept nothing

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures."""
        while True:
            missing = [arch for arch in self._wanted if arch not in self._known]
            asked = missing[:n] if missing else []
            if asked:
                self._unseen.new(asked, n)
                return asked
            if self._idle >= len(self._groups):
                self._wanted, self._current = self._unseen.random(1), None
                self._turn = self._idle = 0
                return self._wanted
            self._advance()

    def tell(self, trials: Sequence[Trial]) -> None:
        """Refused trials count, too: a device measured them, or a predictor did."""
        self._known.update({trial.arch: trial for trial in trials})

    def _corners(self) -> list[Arch]:
        first, last = ((0,) * len(self._space.choices), tuple(n - 1 for n in self._space.choices))
        return list(dict.fromkeys(sampling.repaired(self._space, arch) for arch in (first, last)))

    def _advance(self) -> None:
        """Keeps the best of what was tried, and tries the next group."""
        tried = [self._known[arch] for arch in self._wanted]
        if self._current is None:
            self._current = max(tried, key=lambda trial: trial.latency_ms, default=None)
            if self._current is None:  # the space has nothing new
                self._idle = len(self._groups)
                return
        else:
            self._keep(self._current, tried)
        group = self._groups[self._turn]
        self._turn = (self._turn + 1) % len(self._groups)
        self._wanted = [self._changed(self._current.arch, group, c) for c in range(self._space.choices[group[0]])]

    def _keep(self, current: Trial, tried: Sequence[Trial]) -> None:
        best = min((t for t in tried if self._pays(current, t)), key=_order, default=None)
        self._idle = 0 if best is not None else self._idle + 1
        if best is not None:
            self._current = best
            self.kept.append(best)

    def _pays(self, current: Trial, trial: Trial) -> bool:
        """Whether a change is an improvement; never where it is slower."""
        if trial.arch == current.arch or trial.latency_ms > current.latency_ms:
            return False
        if current.score is None:
            return trial.score is not None or trial.latency_ms < current.latency_ms
        if trial.score is None:
            return False
        is_faster = trial.latency_ms < current.latency_ms
        allowed = current.score - self._tolerance * abs(current.score) if is_faster else current.score
        return trial.score >= allowed if is_faster else trial.score > allowed

    def _changed(self, arch: Arch, group: Sequence[int], choice: int) -> Arch:
        changed = list(arch)
        for position in group:
            changed[position] = choice
        return sampling.repaired(self._space, tuple(changed))


def _order(trial: Trial) -> tuple[bool, float]:
    """Networks within the limit first, then the fastest."""
    return trial.score is None, trial.latency_ms


def _checked(space: SearchSpace, groups: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    if sorted(position for group in groups for position in group) != list(range(len(space.choices))):
        raise InputError(f"each of the {len(space.choices)} positions must be in one group, not as in {groups}")
    for group in groups:
        if len({space.choices[position] for position in group}) > 1:
            raise InputError(f"the positions {tuple(group)} have different numbers of choices and cannot be one group")
    return [group for group in groups if group]
