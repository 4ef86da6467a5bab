"""Choices as graphs: which ones a network has, and the network that they make."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

from hwprof.compress.method import AS_BEFORE, Choice, Choices, Options
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.variants import spec
from hwprof.variants.factorize import factorize, smaller_ranks
from hwprof.variants.prune import ChannelGroup, prunable_groups, prune_channels

GRANULE = 8  # kernels work on 8 channels at a time
MOST_OPTIONS = 4  # per layer, besides as before: each is measured


def kept_options(graph: Graph, granule: int = GRANULE) -> Options:
    """For each group of channels its numbers of channels in multiples of the granule; finer where it has fewer than
    two of them. Raises UnknownOperatorError for an operator without a rule."""
    options = {group.name: _fewer(group, granule) for group in prunable_groups(graph)}
    return {name: (AS_BEFORE, *(Choice(kept=n) for n in kept)) for name, kept in options.items() if kept}


def rank_options(graph: Graph) -> Options:
    """For each operator that can become two smaller ones the ranks at which it does, by halves."""
    return {
        name: (AS_BEFORE, *(Choice(rank=rank) for rank in _halves(largest)))
        for name, largest in smaller_ranks(graph).items()
    }


def chosen_graph(graph: Graph, choices: Choices) -> Graph:
    """The graph with these choices, without weights: of fewer channels first, then of lower rank, then of fewer bits.

    Raises InputError for a layer or value that does not fit, and for bits that differ between layers.
    """
    for unknown in ("levels", "groups", "sparsity"):
        if any(getattr(choice, unknown) is not None for choice in choices.values()):
            raise InputError(f"the latency of a network with other {unknown} is not known")
    if kept := kept_shares(graph, choices):
        graph = prune_channels(graph, kept, granule=1)
    if ranks := chosen_ranks(choices):
        graph = factorize(graph, ranks)
    bits = {choice.bits for choice in choices.values()} - {None}
    if bits - {8}:
        raise InputError(f"the latency of {sorted(bits, key=str)} bits is not known: networks have 8 in all layers")
    return spec.change("int8")(graph) if bits else graph


def kept_shares(graph: Graph, choices: Choices) -> dict[str, float]:
    """The share of the channels that stay, by group, as `prune_channels` takes it with a granule of 1."""
    wanted = {name: choice.kept for name, choice in choices.items() if choice.kept is not None}
    if not wanted:
        return {}
    channels = {group.name: group.channels for group in prunable_groups(graph)}
    unknown = sorted(wanted.keys() - channels.keys())
    if unknown:
        raise InputError(f"no group of channels is named {unknown[0]!r}; known: {', '.join(channels) or 'none'}")
    return {name: kept / channels[name] for name, kept in wanted.items()}


def chosen_ranks(choices: Choices) -> dict[str, int]:
    """By operator, for those that have one."""
    return {name: choice.rank for name, choice in choices.items() if choice.rank is not None}


def _fewer(group: ChannelGroup, granule: int) -> list[int]:
    """Descending."""
    step = math.lcm(group.granule, granule)
    step = step if step < group.channels else group.granule
    return _thinned(range(step * ((group.channels - 1) // step), 0, -step))


def _halves(largest: int) -> list[int]:
    return [largest >> i for i in range(MOST_OPTIONS) if largest >> i]


def _thinned(values: Iterable[int]) -> list[int]:
    """At most `MOST_OPTIONS` of them, evenly spread, the last one among them."""
    values = list(values)
    count = min(MOST_OPTIONS, len(values))
    return [values[(i + 1) * len(values) // count - 1] for i in range(count)]


def log_loss(stays: float, whole: float) -> float:
    """Minus the logarithm of the share of a layer's norm or energy that stays."""
    tiny = sys.float_info.min
    return -math.log(max(stays, tiny) / max(whole, tiny))
