"""The variants of one network as a search space: numbers of channels, groups, ranks and bits, layer by layer.

Each position is one decision: the channels of a group, the groups, rank or bits of a layer. So every search strategy
also compresses. Save this as `mine.py`, and search with `--space mine.py:SPACE`:

    import hwprof as hp
    from hwprof.spaces.of_variants import of_variants

    SPACE = of_variants(hp.load("model.onnx"), widths=(1, 0.5, 0.25), bits=(32, 8))

Its graphs have no weights, as those of other spaces; `hwprof compress` keeps what a network has learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.onnx_io.inference import fold
from hwprof.spaces import checked, index_of
from hwprof.variants import int8_layers, low_bit, spec
from hwprof.variants.factorize import FACTORS, factorize, full_ranks
from hwprof.variants.group import groupable, grouped
from hwprof.variants.prune import prunable_groups, prune_channels

Kind: TypeAlias = Literal["width", "groups", "rank", "bits"]
_FLOAT, _INT8 = 32, 8


@dataclass(frozen=True, slots=True)
class Position:
    """A decision about one layer, or one group of channels.

    options: shares of the channels or of the full rank, numbers of groups, or bits; the first leaves the layer as
    before.
    """

    layer: str
    kind: Kind
    options: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.kind} of {self.layer}"


class VariantsSpace:
    """A `SearchSpace`. `positions` are in the order of `choices`."""

    def __init__(self, graph: Graph, positions: Sequence[Position]) -> None:
        """Raises InputError without a position."""
        if not positions:
            raise InputError(
                f"{graph.name!r} has no layer to which these variants apply, so they are not a search space"
            )
        self._graph = graph
        self.positions = tuple(positions)
        self.choices = tuple(len(position.options) for position in positions)

    def graph(self, arch: Arch) -> Graph:
        """The variant of the network. Raises InputError outside of the space."""
        chosen = self._chosen(checked(self._name, self.choices, arch))
        graph = prune_channels(self._graph, chosen["width"])
        graph = grouped(graph, {name: int(n) for name, n in chosen["groups"].items() if _divides(graph, name, n)})
        ranks = {name: rank for name, rank in chosen["rank"].items() if name in full_ranks(graph)}
        graph = factorize(graph, ranks) if ranks else graph
        return _with_bits(graph, chosen["bits"]).renamed(f"{self._name} {self.format(arch)}")

    def repair(self, arch: Arch, _rng: np.random.Generator | None = None, /) -> Arch:
        """Without the rank of a layer that has several groups, which has none, and without several groups that do not
        divide the channels that stay."""
        arch = checked(self._name, self.choices, arch)
        chosen = self._chosen(arch)
        pruned = prune_channels(self._graph, chosen["width"])
        real = {name for name, n in chosen["groups"].items() if _divides(pruned, name, n)}
        idle = {("rank", name) for name in real} | {("groups", name) for name in chosen["groups"].keys() - real}
        return tuple(
            0 if (position.kind, position.layer) in idle else choice
            for position, choice in zip(self.positions, arch, strict=True)
        )

    def format(self, arch: Arch) -> str:
        """The decisions that change a layer: "bits of conv1 8, width of conv2 0.5"; "as before" without any."""
        chosen = zip(self.positions, arch, strict=True)
        return ", ".join(f"{p} {p.options[i]:g}" for p, i in chosen if i) or "as before"

    def parse(self, text: str) -> Arch:
        """Raises InputError for another text than `format` gives."""
        arch = [0] * len(self.choices)
        for part in [] if text.strip() == "as before" else text.split(","):
            name, _, value = part.strip().rpartition(" ")
            place = index_of(self._name, "decision", name, [str(position) for position in self.positions])
            arch[place] = index_of(self._name, name, value, [f"{o:g}" for o in self.positions[place].options])
        return tuple(arch)

    @property
    def _name(self) -> str:
        return f"variants of {self._graph.name}"

    def _chosen(self, arch: Arch) -> dict[Kind, dict[str, float]]:
        """By kind and layer the options that are not as before."""
        found: dict[Kind, dict[str, float]] = {"width": {}, "groups": {}, "rank": {}, "bits": {}}
        for position, choice in zip(self.positions, arch, strict=True):
            if choice:
                found[position.kind][position.layer] = position.options[choice]
        return found


def of_variants(
    graph: Graph,
    *,
    widths: Sequence[float] = (),
    groups: Sequence[int] = (),
    ranks: Sequence[float] = (),
    bits: Sequence[int] = (),
) -> VariantsSpace:
    """The space of a network's variants; kinds without options are left out.

    widths: shares of the channels of each group that stay, in multiples of 8. groups: of each dense convolution, where
    they divide its channels. ranks: shares of the full rank of each layer. bits: 32, 8 of weights and activations, 1 to
    7 of weights alone. As before need not be among them. Raises InputError for an option that is not possible, and
    where there is nothing to decide.
    """
    _require("share of channels", widths, lambda x: 0 < x <= 1)
    _require("number of groups", groups, lambda x: x >= 1 and x == int(x))
    _require("share of the full rank", ranks, lambda x: 0 < x <= 1)
    _require("number of bits", bits, lambda x: x == _FLOAT or x in range(1, _INT8 + 1))
    dense = groupable(graph)
    found = [
        *(_position(group.name, "width", 1, widths) for group in prunable_groups(graph)),
        *(_position(name, "groups", 1, [n for n in groups if not any(c % n for c in dense[name])]) for name in dense),
        *(_position(name, "rank", 1, ranks) for name in full_ranks(graph)),
        *(_position(name, "bits", _FLOAT, bits) for name in low_bit.layers(graph)),
    ]
    return VariantsSpace(graph, [position for position in found if len(position.options) > 1])


def _position(layer: str, kind: Kind, as_before: float, options: Sequence[float]) -> Position:
    return Position(layer, kind, tuple(dict.fromkeys((as_before, *options))))


def _require(name: str, options: Sequence[float], fits: Callable[[float], bool]) -> None:
    for option in options:
        if not fits(option):
            raise InputError(f"the variants of a network cannot have the {name} {option!r}")


def _divides(graph: Graph, name: str, groups: float) -> bool:
    found = groupable(graph).get(name)
    return found is not None and not any(channels % int(groups) for channels in found)


def _with_bits(graph: Graph, bits: Mapping[str, float]) -> Graph:
    """bits: by layer of the network before it was factorized."""
    known = set(low_bit.layers(graph))
    parts = {part: int(n) for name, n in bits.items() for part in (name, *(name + s for s in FACTORS)) if part in known}
    graph = low_bit.low_bits(graph, {name: n for name, n in parts.items() if n != _INT8})
    int8 = [name for name, n in parts.items() if n == _INT8]
    if not int8:
        return graph
    is_whole = set(int8) >= set(int8_layers.layers(graph))
    return (spec.parse("int8") if is_whole else spec.int8_of(int8)).change(fold(graph))
