"""Convolutional networks whose layers pass on what they do not compute (NetAdaptV2, Yang et al., arXiv 2104.00031,
section 3.2).

A layer has a number of filters, from none to all channels. Its output has the same number of channels always: the
first ones are those of its filters, the others are channels of its input, which bypass it. With no filter the layer is
left out, so that width and depth are one dimension of the search.

Bypassed channels are not copied from layer to layer: each layer reads them where they were computed, all channels of
one origin in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked
from hwprof.spaces.blocks import classify, conv_bn

NAME = "bypass"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Channels from `start` to `stop` of a tensor. They have the same numbers in the layers that pass them on."""

    tensor: str
    start: int
    stop: int


class BypassSpace:
    """filters: the numbers of filters that a layer may have; the largest is the number of channels. layers: how many
    choose among them, after a first convolution that always has all. halved_before: the layers before which max
    pooling halves the side. images: [channels, height, width].

    Raises InputError without two different numbers of filters, or for layers that do not exist.
    """

    def __init__(
        self,
        filters: Sequence[int] = (0, 8, 16, 24, 32),
        layers: int = 6,
        halved_before: Sequence[int] = (2, 4),
        images: tuple[int, int, int] = (1, 14, 14),
        classes: int = 10,
    ) -> None:
        self.filters = tuple(sorted(set(filters)))
        if len(self.filters) < 2 or self.filters[0] < 0:
            raise InputError(f"a layer needs at least two numbers of filters, from 0 on, not {tuple(filters)}")
        if layers < 1 or not set(halved_before) <= set(range(layers)):
            raise InputError(f"there are {layers} layers; the side cannot be halved before {tuple(halved_before)}")
        self.channels = self.filters[-1]
        self.halved_before = frozenset(halved_before)
        self.images, self.classes = images, classes
        self.choices: Sequence[int] = (len(self.filters),) * layers

    def filters_of(self, arch: Arch) -> list[int]:
        """The number of filters of each layer, [n_layers]. Raises InputError for an architecture outside of the
        space."""
        return [self.filters[choice] for choice in checked(NAME, self.choices, arch)]

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        b = GraphBuilder(NAME)
        x = b.relu(conv_bn(b, b.input((1, *self.images)), self.channels, 3))
        pieces = [_Piece(x, 0, self.channels)]
        for layer, n_filters in enumerate(self.filters_of(arch)):
            if layer in self.halved_before:
                pieces = [_Piece(b.pool("MaxPool", _joined(b, pieces), 2, 2), 0, self.channels)]
            if n_filters:
                computed = b.relu(conv_bn(b, _joined(b, pieces), n_filters, 3))
                pieces = [_Piece(computed, 0, n_filters), *_from(n_filters, pieces)]
        return b.build(classify(b, _joined(b, pieces), self.classes))


def _joined(b: GraphBuilder, pieces: Sequence[_Piece]) -> str:
    """All channels in one tensor."""
    parts = [_cut(b, piece) for piece in pieces]
    return parts[0] if len(parts) == 1 else b.concat(parts)


def _cut(b: GraphBuilder, piece: _Piece) -> str:
    is_whole = piece.stop - piece.start == b.shape(piece.tensor)[1]
    return piece.tensor if is_whole else b.slice(piece.tensor, 1, piece.start, piece.stop)


def _from(start: int, pieces: Sequence[_Piece]) -> list[_Piece]:
    """The pieces of the channels from this one on."""
    return [_Piece(p.tensor, max(start, p.start), p.stop) for p in pieces if p.stop > start]
