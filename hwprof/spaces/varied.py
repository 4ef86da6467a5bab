"""A search space by its reference, whose networks are taken in a variant (int8, fp16, ...), and its architectures as
text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.spaces import NotatedSpace, SpaceOfFamilies, checked, sampling
from hwprof.variants.spec import change

_NUMBERS = re.compile(r"\d+([,\-]\d+)*")


class VariedSpace:
    """A `SearchSpace` by its reference, in a variant by its text. Its graphs have no weights, so a variant needs no
    files.

    `name` keeps the reference: an installed name, package.module:OBJECT or file.py:OBJECT. `space` is the object
    itself, whose `repair` and notation are valid for the variant, too.
    """

    def __init__(self, name: str, variant: str = "") -> None:
        """Raises InputError for an unknown space or variant, a variant that needs weights, or an object that is not a
        search space."""
        self.name = name
        self.variant = variant
        self.space = _found(name)
        self.choices: Sequence[int] = self.space.choices
        self._change = change(variant)

    @property
    def is_installed(self) -> bool:
        """Whether files can name the space as a plug-in: it is one, not a variant or a user's own object."""
        return not self.variant and ":" not in self.name

    def repair(self, arch: Arch, rng: np.random.Generator | None = None, /) -> Arch:
        """The architecture as the space itself repairs it; see `hwprof.spaces.sampling`."""
        return sampling.repaired(self.space, arch, rng)

    def graph(self, arch: Arch) -> Graph:
        """The network, named after the architecture, and after its family where the space has several. Raises
        InputError outside of the space."""
        graph = self._change(self.space.graph(arch))
        if isinstance(self.space, SpaceOfFamilies):
            family = self.space.families[arch[0]]
            return graph.renamed(f"{titled(f'{self.name}-{family}', self.variant)} {'-'.join(map(str, arch[1:]))}")
        return graph.renamed(f"{titled(self.name, self.variant)} {'-'.join(map(str, arch))}")

    def parse(self, text: str) -> Arch:
        """An architecture in the space's notation, or as its choices: 3,0,1 or 3-0-1. Raises InputError."""
        if _NUMBERS.fullmatch(text.strip()):
            return checked(self.name, self.choices, [int(choice) for choice in re.split("[,-]", text)])
        if isinstance(self.space, NotatedSpace):
            return self.space.parse(text)
        raise InputError(
            f"{self.name}: {text!r} is not an architecture; write its {len(self.choices)} choices as 3,0,1,..."
        )


def _found(reference: str) -> SearchSpace:
    found = plugins.user_object(reference) if ":" in reference else plugins.load("space", reference)
    if isinstance(found, type) or not hasattr(found, "choices") or not callable(getattr(found, "graph", None)):
        raise InputError(
            f"{reference!r} is not a search space, but {_kind(found)}; name an object with `choices` (the number of "
            "options at each position) and `graph(arch)`"
        )
    space: SearchSpace = found
    if not space.choices or not all(isinstance(n, int | np.integer) and n > 0 for n in space.choices):
        raise InputError(f"space {reference!r}: `choices` must be positive integers, one for each position")
    return space


def _kind(found: object) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"


def titled(space: str, variant: str) -> str:
    """The name of a variant of a space's networks in records: "nasbench201 int8"."""
    return " ".join(filter(None, (space, variant)))
