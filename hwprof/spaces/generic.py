"""Any network: single operators and random networks of many styles, to learn from what a device does with either.

A point is (family, seed): the seed decides everything else, so that a data set keeps two numbers per network. The
families take turns (`archs`), operators and networks alternating: a sweep that stops at any moment has as many of each.
Every third pair is followed by one of the extremes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked
from hwprof.spaces.drawing import Drawing
from hwprof.spaces.generic_extremes import EXTREMES
from hwprof.spaces.generic_networks import NETWORKS
from hwprof.spaces.generic_operators import OPERATORS

NAME = "generic"
FAMILIES = {**OPERATORS, **NETWORKS, **EXTREMES}  # only ever extended at the end: the order is part of all data sets
_SEEDS = 2**31 - 1
_EXTREME_EVERY = 3  # pairs


class GenericSpace:
    """Positions: the family, in the order of `families`; the seed."""

    choices: Sequence[int] = (len(FAMILIES), _SEEDS)
    families: Sequence[str] = tuple(FAMILIES)

    def graph(self, arch: Arch) -> Graph:
        """The network of the family that the seed draws. Raises InputError for a point outside of the space."""
        family, seed = checked(NAME, self.choices, arch)
        name = self.families[family]
        return FAMILIES[name](Drawing(seed), f"{NAME}-{name}")

    def archs(self, seed: int) -> Iterator[Arch]:
        """Points without end, the same ones for the same seed: an operator and a network in turns, each kind's families
        one after the other. The extremes between them are drawn by themselves: the other points are those of data sets
        from before there were extremes."""
        operators, networks, extremes = list(OPERATORS), list(NETWORKS), list(EXTREMES)
        drawing, of_extremes = Drawing(seed), Drawing(seed + 1)
        for i in count():
            for names in (operators, networks):
                yield self.families.index(names[i % len(names)]), int(drawing.unit() * _SEEDS)
            turn, rest = divmod(i, _EXTREME_EVERY)
            if rest == _EXTREME_EVERY - 1:
                yield self.families.index(extremes[turn % len(extremes)]), int(of_extremes.unit() * _SEEDS)


SPACE = GenericSpace()
