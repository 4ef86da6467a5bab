"""A search space by its reference, whose networks are taken in a variant (int8, fp16, ...), and its architectures as
text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.spaces import NotatedSpace, checked, sampling
from hwprof.variants.factorize import factorize
from hwprof.variants.fold import cut, folded
from hwprof.variants.half import half
from hwprof.variants.prune import prune_channels
from hwprof.variants.quantize import quantize
from hwprof.variants.quantize_whole import quantize_whole

_INT8_TYPES = {"u8s8": ("uint8", "int8"), "s8s8": ("int8", "int8"), "u8u8": ("uint8", "uint8")}
_PLAIN: dict[str, Callable[[Graph], Graph]] = {"fp16": half, "cut": cut, "folded": folded, "integer": quantize_whole}
_EXAMPLES = "int8, int8:s8s8, integer, fp16, cut, folded, prune:0.5, lowrank:0.25"
_NUMBERS = re.compile(r"\d+([,\-]\d+)*")


class VariedSpace:
    """A `SearchSpace` by its reference: an installed name, or package.module:OBJECT or file.py:OBJECT, as `name` keeps
    it. Its graphs have no weights of their own, so a variant needs no files.

    `space` is the object itself, whose `repair` and notation hold for the variant, too.
    """

    def __init__(self, name: str, variant: str = "") -> None:
        """Raises InputError for an unknown space or variant, or an object that is not a search space."""
        self.name = name
        self.variant = variant
        self.space = _found(name)
        self.choices: Sequence[int] = self.space.choices
        self._change = change(variant)

    @property
    def is_installed(self) -> bool:
        """Whether files can name the space as a plug-in: it is one, and not a variant or an object of the user's."""
        return not self.variant and ":" not in self.name

    def repair(self, arch: Arch, rng: np.random.Generator | None = None, /) -> Arch:
        """The architecture as the space itself repairs it; see `hwprof.spaces.sampling`."""
        return sampling.repaired(self.space, arch, rng)

    def graph(self, arch: Arch) -> Graph:
        """Named after the architecture. Raises InputError outside of the space."""
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


def change(variant: str) -> Callable[[Graph], Graph]:
    """What makes the variant of a graph. Raises InputError for an unknown one."""
    name, _, argument = variant.partition(":")
    if not variant:
        return lambda graph: graph
    if name == "int8" and (argument or "u8s8") in _INT8_TYPES:
        activation, weight = _INT8_TYPES[argument or "u8s8"]
        return partial(quantize, activation=activation, weight=weight)
    if variant in _PLAIN:
        return _PLAIN[variant]
    if name in ("prune", "lowrank") and argument:
        share = _share(variant, argument)
        return partial(prune_channels, keep=share) if name == "prune" else partial(factorize, rank=share)
    raise InputError(f"no variant of a space's networks is {variant!r}; examples: {_EXAMPLES}")


def _share(variant: str, argument: str) -> float:
    try:
        return float(argument)
    except ValueError:
        raise InputError(f"variant {variant!r} wants a share such as 0.5 behind the colon") from None
