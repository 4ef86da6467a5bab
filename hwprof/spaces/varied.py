"""A search space whose networks are taken in a variant (int8, fp16, ...), and its architectures as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.spaces import NotatedSpace, checked
from hwprof.variants.spec import change

_NUMBERS = re.compile(r"\d+([,\-]\d+)*")


class VariedSpace:
    """A `SearchSpace` by its name, in a variant by its text. Its graphs have no weights, so a variant needs no files.

    `space` is the plug-in itself, whose `repair` and notation are valid for the variant, too.
    """

    def __init__(self, name: str, variant: str = "") -> None:
        """Raises InputError for an unknown space or variant, or a variant that needs weights."""
        self.name = name
        self.variant = variant
        self.space: SearchSpace = plugins.load("space", name)
        self.choices: Sequence[int] = self.space.choices
        self._change = change(variant)

    def graph(self, arch: Arch) -> Graph:
        """The network, named after the architecture. Raises InputError outside of the space."""
        return self._change(self.space.graph(arch)).renamed(
            f"{titled(self.name, self.variant)} {'-'.join(map(str, arch))}"
        )

    def parse(self, text: str) -> Arch:
        """An architecture in the space's notation, or as its choices: 3,0,1 or 3-0-1. Raises InputError."""
        if _NUMBERS.fullmatch(text.strip()):
            return checked(self.name, self.choices, [int(choice) for choice in re.split("[,-]", text)])
        if isinstance(self.space, NotatedSpace):
            return self.space.parse(text)
        raise InputError(
            f"{self.name}: {text!r} is not an architecture; write its {len(self.choices)} choices as 3,0,1,..."
        )


def titled(space: str, variant: str) -> str:
    """How records name the variant of a space's networks: "nasbench201 int8"."""
    return " ".join(filter(None, (space, variant)))
