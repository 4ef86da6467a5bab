"""Traversal of groups of layers: one group after the other gets the choice that pays (ZippyPoint, Kanakis et al.,
arXiv 2203.03610, section 3.2).

It starts from the slower of two corners of the space, such as the network with nothing compressed. In turn, each group
is tried with each choice, all other layers unchanged. What the device measures as slower is never kept; of the rest,
that is kept which is fastest without losing more than a tolerance of the score. Where the present network is refused,
a network within the limit is better, then a faster one. Passes over the groups end when one keeps nothing; the next
traversal starts from the most accurate network known from which none has started and which none has kept.

2026-11-29: in a space of operations nobody would compress a corner. So a few random networks are scored first, and
where one is more accurate than the corner, the first traversal starts there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.evolution import rank
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling


@runtime_checkable
class GroupedSpace(Protocol):
    """A space that says which of its positions change together, such as the layers of a stage."""

    groups: Sequence[Sequence[int]]


class GroupTraversal:
    """groups: positions that get the same choice; by default those of the space, or each position alone. tolerance: the
    share of the score that a change may lose. initial: how many random networks are scored first.

    `changes`: all that were kept, in order, each as the networks before and after it. Raises InputError for groups of
    different choices, and for positions that are not in exactly one group.
    """

    needs: ClassVar[str] = "any space; groups of positions where it names them"
    paper: ClassVar[str] = "Kanakis et al., ZippyPoint, arXiv 2203.03610"

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        groups: Sequence[Sequence[int]] | None = None,
        tolerance: float = 0.01,
        initial: int = 8,
    ) -> None:
        if groups is None:
            groups = space.groups if isinstance(space, GroupedSpace) else [[i] for i in range(len(space.choices))]
        self._groups = _checked(space, groups)
        self.changes: list[tuple[Trial, Trial]] = []
        self._space, self._tolerance = space, tolerance
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._known: dict[Arch, Trial] = {}
        self._passed: set[Arch] = set()  # where traversals started, and what they kept
        self._current: Trial | None = None
        corners = self._corners()
        self._unseen.new(corners, len(corners))
        self._wanted: list[Arch] = [*corners, *self._unseen.random(initial)]
        self._n_corners = len(corners)
        self._turn, self._idle = 0, 0  # the next group, and how many in a row kept nothing

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures."""
        while True:
            missing = [arch for arch in self._wanted if arch not in self._known]
            if missing:
                self._unseen.new(missing[:n], n)
                return missing[:n]
            if self._idle < len(self._groups):
                self._advance()
            elif (start := self._next_start()) is not None:
                self._start(start)
            else:
                self._wanted = self._unseen.random(1)
                if not self._wanted:
                    return []

    @property
    def kept(self) -> list[Trial]:
        """Every network that was kept, in order, without those that the traversals started from."""
        return [after for _before, after in self.changes]

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
            self._start(self._first_start(tried))
            return
        self._keep(self._current, tried)
        self._try_next_group(self._current)

    def _first_start(self, tried: Sequence[Trial]) -> Trial:
        """The slower corner, unless it is within the limit and a random network is more accurate."""
        corner = max(tried[: self._n_corners], key=lambda trial: trial.latency_ms)
        return corner if corner.score is None else min(tried, key=lambda t: (rank(t), t is not corner))

    def _next_start(self) -> Trial | None:
        """The most accurate network within the limit that no traversal has started from or kept."""
        left = [t for t in self._known.values() if t.score is not None and t.arch not in self._passed]
        return min(left, key=rank, default=None)

    def _start(self, trial: Trial) -> None:
        self._passed.add(trial.arch)
        self._turn = self._idle = 0
        self._current = trial
        self._try_next_group(trial)

    def _try_next_group(self, current: Trial) -> None:
        group = self._groups[self._turn]
        self._turn = (self._turn + 1) % len(self._groups)
        self._wanted = [self._changed(current.arch, group, c) for c in range(self._space.choices[group[0]])]

    def _keep(self, current: Trial, tried: Sequence[Trial]) -> None:
        best = min((t for t in tried if self._pays(current, t)), key=_order, default=None)
        self._idle = 0 if best is not None else self._idle + 1
        if best is not None:
            self._current = best
            self._passed.add(best.arch)
            self.changes.append((current, best))

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
