"""Architectures of a space that a search has not proposed yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hwprof.interfaces import Arch, SearchSpace
from hwprof.spaces import sampling

_ATTEMPTS = 20  # draws of one new architecture before a search tries something else


class Unseen:
    """Gives out each architecture of the space once. `rng` is that of the search."""

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.seen: set[Arch] = set()
        self._listed: list[Arch] | None = None  # where the space is small enough: all but some that have been seen

    def random(self, n: int) -> list[Arch]:
        """At most n at random, fewer where nearly all have been seen."""
        found = self.drawn(n, self._draw)
        if len(found) == n or sampling.size(self.space) > sampling.ENUMERABLE:
            return found
        if self._listed is None:
            self._listed = list(sampling.enumerate_archs(self.space))
        while self._listed and len(found) < n:
            place = int(self.rng.integers(len(self._listed)))
            new = self.new([self._listed[place]], 1)
            found += new
            if not new:
                self._listed[place] = self._listed[-1]
                self._listed.pop()
        return found

    def drawn(self, n: int, draw: Callable[[], Arch]) -> list[Arch]:
        """At most n that `draw` returns, fewer where it keeps returning what has been seen."""
        found: list[Arch] = []
        failures = 0
        while len(found) < n and failures < _ATTEMPTS:
            new = self.new([draw()], 1)
            failures = 0 if new else failures + 1
            found += new
        return found

    def new(self, archs: Iterable[Arch], n: int) -> list[Arch]:
        """The first n, at most, that have not been seen."""
        found: list[Arch] = []
        for arch in archs:
            if len(found) == n:
                break
            if arch not in self.seen:
                self.seen.add(arch)
                found.append(arch)
        return found

    def give_back(self, archs: Sequence[Arch]) -> None:
        """They count as unseen again."""
        self.seen.difference_update(archs)
        if self._listed is not None:
            self._listed += archs

    def _draw(self) -> Arch:
        return sampling.repaired(self.space, tuple(self.rng.integers(self.space.choices).tolist()), self.rng)
