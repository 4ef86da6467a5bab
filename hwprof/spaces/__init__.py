"""Search spaces, one per file: `choices` (options per position) and `graph(arch)`, with a text notation where the
field has one.

A space knows neither devices nor sampling: everything that follows from `choices` alone is in
`hwprof.spaces.sampling`. Every point of the product of `choices` has a graph, but not every point is worth
measuring: a position may be unused (the kernel of a block that a shorter stage leaves out), and a derived
DARTS cell has exactly two inputs per node. Such a space has a method `repair(arch, rng)`, which returns an
architecture that is worth measuring unchanged, and otherwise one close to it that is. Sampling and mutation repair the
architectures that they draw, so the rule is stated once, in the space.

Where the field has a notation, `parse(text)` and `format(arch)` read and write it (`NotatedSpace`), and
`from_columns(record)` reads an architecture that a table holds in several columns.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from hwprof.errors import InputError
from hwprof.interfaces import Arch


@runtime_checkable
class NotatedSpace(Protocol):
    """A space whose architectures the field writes as text."""

    def parse(self, text: str) -> Arch:
        """Raises InputError, with the reason, when the text names no architecture of the space."""
        ...

    def format(self, arch: Arch) -> str:
        """The text that `parse` reads back."""
        ...


@runtime_checkable
class SpaceOfFamilies(Protocol):
    """A space whose first position chooses one of several families of networks, by their names."""

    families: Sequence[str]


def checked(space: str, choices: Sequence[int], arch: Sequence[int]) -> Arch:
    """The architecture as a tuple of ints.

    Raises InputError naming the space and the position when it does not fit `choices`.
    """
    if len(arch) != len(choices):
        raise InputError(f"{space}: an architecture has {len(choices)} positions, {len(arch)} were given")
    for position, (choice, options) in enumerate(zip(arch, choices, strict=True)):
        try:
            fits = 0 <= operator.index(choice) < options
        except TypeError:
            fits = False
        if not fits:
            raise InputError(f"{space}: position {position} is {choice!r}; choose an integer from 0 to {options - 1}")
    return tuple(int(choice) for choice in arch)


def index_of(space: str, what: str, value: object, options: Sequence[object]) -> int:
    """The number of the option. Raises InputError listing the options when `value` is none of them."""
    try:
        return options.index(value)
    except ValueError:
        known = ", ".join(map(str, options))
        raise InputError(f"{space}: no {what} is {value!r}; choose one of: {known}") from None
