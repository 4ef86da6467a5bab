"""Choices as graphs: which ones a network has, and the network that they make."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import get_args

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.onnx_io.inference import fold
from hwprof.variants import int8_layers, spec
from hwprof.variants.blocks import residual_blocks, without_blocks
from hwprof.variants.factorize import FACTORS, Scheme, factorize, full_ranks, smaller_ranks
from hwprof.variants.group import grouped
from hwprof.variants.low_bit import dictionaries, low_bits
from hwprof.variants.prune import ChannelGroup, prunable_groups, prune_channels

GRANULE = 8  # kernels work on 8 channels at a time
_RANKS: Mapping[Scheme, str] = {"channel": "rank", "spatial": "spatial_rank"}  # the field of a choice
MOST_OPTIONS = 4  # per layer of many, besides as before: each is measured
_OPTIONS_IN_ALL = 16  # of channels, which few layers share: with wide gaps, the next choice overshoots a target
FLOAT_BITS = 32
_FIELD_WORDS = {"kept": "channels", "spatial_rank": "spatial rank", "levels": "values of weights"}
WITHOUT_BRANCH = Choice(kept=0)
INT8 = 8  # bits of weights and activations; fewer bits are those of weights alone


def kept_options(graph: Graph, granule: int = GRANULE) -> Options:
    """For each group of channels its numbers of channels in multiples of the granule; finer where it has fewer than
    two of them. Raises UnknownOperatorError for an operator without a rule."""
    groups = prunable_groups(graph)
    most = max(MOST_OPTIONS, _OPTIONS_IN_ALL // max(1, len(groups)))
    options = {group.name: _fewer(group, granule, most) for group in groups}
    return {name: (AS_BEFORE, *(Choice(kept=n) for n in kept)) for name, kept in options.items() if kept}


def rank_options(graph: Graph, scheme: Scheme = "channel") -> Options:
    """For each operator that can become two smaller ones the ranks at which it does, by halves."""
    return {
        name: (AS_BEFORE, *(_rank_choice(rank, scheme) for rank in _halves(largest)))
        for name, largest in smaller_ranks(graph, scheme).items()
    }


def block_options(names: Iterable[str]) -> Options:
    """Residual blocks, by the names of `residual_blocks`, keep their branches or lose them."""
    return dict.fromkeys(names, (AS_BEFORE, WITHOUT_BRANCH))


def chosen_graph(graph: Graph, choices: Choices, only_variant: str = "") -> Graph:
    """The graph with these choices, without weights, as a device runs it: of fewer channels first, then without
    branches, in more groups, of lower rank, and of fewer bits. Zeros among weights change nothing: dense kernels
    multiply them, too.

    only_variant: that of a device that runs no other; there all layers have its 8 bits. Raises InputError for a layer
    or value that does not fit.
    """
    if kept := kept_shares(graph, choices):
        graph = prune_channels(graph, kept, granule=1)
    if branches := chosen_branches(choices):
        graph = without_blocks(graph, branches)
    graph = grouped(graph, _of_layers(graph, choices, "groups"))
    for scheme in get_args(Scheme):
        if ranks := _of_layers(graph, choices, _RANKS[scheme]):
            graph = factorize(graph, ranks, scheme)
    graph = dictionaries(graph, _of_layers(graph, choices, "levels"))
    graph = low_bits(graph, {name: n for name, n in _of_layers(graph, choices, "bits").items() if n != INT8})
    if only_variant:
        return spec.change(only_variant)(graph)
    if layers := int8_names(graph, choices):
        return int8_variant_of(graph, layers).change(fold(graph))  # as a file of it is folded when it is loaded
    return graph


def int8_variant_of(graph: Graph, layers: Collection[str]) -> spec.Variant:
    """The variant in which these layers of the graph have 8 bits, and the operators that follow them."""
    return spec.parse("int8") if set(layers) >= set(int8_layers.layers(graph)) else spec.int8_of(layers)


def int8_names(graph: Graph, choices: Choices) -> list[str]:
    """The layers of the graph, in its order, that have 8 bits by the choices, as have both parts of a factorized one;
    operators between layers follow these. Raises InputError for a name that is not in the network."""
    bits = _of_layers(graph, choices, "bits")
    return [name for name in int8_layers.layers(graph) if bits.get(name) == INT8]


def kept_shares(graph: Graph, choices: Choices) -> dict[str, float]:
    """The share of the channels that stay, by group, as `prune_channels` takes it with a granule of 1."""
    wanted = {name: choice.kept for name, choice in choices.items() if choice.kept}
    if not wanted:
        return {}
    channels = {group.name: group.channels for group in prunable_groups(graph)}
    unknown = sorted(wanted.keys() - channels.keys())
    if unknown:
        raise InputError(f"no group of channels is named {unknown[0]!r}; known: {', '.join(channels) or 'none'}")
    return {name: kept / channels[name] for name, kept in wanted.items()}


def chosen_branches(choices: Choices) -> list[str]:
    """The residual blocks that lose their branches."""
    return [name for name, choice in choices.items() if choice.kept == 0]


def chosen_ranks(choices: Choices, scheme: Scheme = "channel") -> dict[str, int]:
    """By operator, for those that have one."""
    ranks = {name: getattr(choice, _RANKS[scheme]) for name, choice in choices.items()}
    return {name: rank for name, rank in ranks.items() if rank is not None}


def _of_layers(graph: Graph, choices: Choices, field: str) -> dict[str, int]:
    """By operator of the graph, which may be a part of a factorized one, the field of its choice. Raises InputError for
    an operator that is not in the graph, unless a residual block took it away."""
    known, all_remain = {node.label for node in graph.nodes}, not chosen_branches(choices)
    found: dict[str, int] = {}
    for name, choice in choices.items():
        value = getattr(choice, field)
        parts = [part for part in (name, *(name + suffix for suffix in FACTORS)) if part in known]
        if value is not None and not parts and all_remain:
            raise InputError(f"no operator of {graph.name!r} is named {name!r}, so it cannot have other {field}")
        found |= dict.fromkeys(parts, value) if value is not None else {}
    return found


def as_before_value(graph: Graph, layer: str, field: str) -> float | None:
    """The value that the field of a choice has in the graph itself: a group's channels, an operator's full rank, 32
    bits, one group, no zeros. None where there is no such number: weights are not from a dictionary."""
    if field == "kept":
        kept = {group.name: group.channels for group in prunable_groups(graph)}
        return next((float(n) for name, n in (*kept.items(), *_blocks(graph).items()) if name == layer), None)
    for scheme, rank_field in _RANKS.items():
        if field == rank_field:
            return next((float(rank) for name, rank in full_ranks(graph, scheme).items() if name == layer), None)
    return {"bits": float(FLOAT_BITS), "groups": 1.0, "sparsity": 0.0}.get(field)


def _blocks(graph: Graph) -> dict[str, int]:
    """1 for each residual block."""
    return {block.name: 1 for block in residual_blocks(graph)}


def changes(graph: Graph, choices: Choices) -> dict[str, str]:
    """By layer in words how the choice changes it, such as "64 -> 24 channels"."""
    return {layer: ", ".join(_change(graph, layer, *pair) for pair in told(choice).items()) for layer, choice in (
        choices.items()
    )}  # fmt: skip


def told(choice: Choice) -> dict[str, float]:
    """The fields that change, JSON-ready."""
    return {name: value for name, value in asdict(choice).items() if value is not None}


def _change(graph: Graph, layer: str, field: str, value: float) -> str:
    if field == "kept" and layer in _blocks(graph):
        return "branch removed"
    before = as_before_value(graph, layer, field)
    return f"{'' if before is None else f'{before:g} -> '}{value:g} {_FIELD_WORDS.get(field, field)}"


def every_value(graph: Graph, layer: str, field: str) -> list[int]:
    """All values that make the graph smaller there by the field of a choice, descending; none for other fields."""
    if field == "bits":
        return list(range(INT8, 0, -1))
    if field == "kept":
        groups = {group.name: group for group in prunable_groups(graph)}
        if layer not in groups:
            return [0] if layer in _blocks(graph) else []
        return list(range(groups[layer].channels - groups[layer].granule, 0, -groups[layer].granule))
    for scheme, rank_field in _RANKS.items():
        if field == rank_field:
            return list(range(smaller_ranks(graph, scheme).get(layer, 0), 0, -1))
    return []


def _rank_choice(rank: int, scheme: Scheme) -> Choice:
    return Choice(spatial_rank=rank) if scheme == "spatial" else Choice(rank=rank)


def _fewer(group: ChannelGroup, granule: int, most: int) -> list[int]:
    """Descending."""
    step = math.lcm(group.granule, granule)
    step = step if step < group.channels else group.granule
    return _thinned(range(step * ((group.channels - 1) // step), 0, -step), most)


def _halves(largest: int) -> list[int]:
    return [largest >> i for i in range(MOST_OPTIONS) if largest >> i]


def _thinned(values: Iterable[int], most: int) -> list[int]:
    """At most as many of them, evenly spread, the last one among them."""
    values = list(values)
    count = min(most, len(values))
    return [values[(i + 1) * len(values) // count - 1] for i in range(count)]


def log_loss(stays: float, whole: float) -> float:
    """Minus the logarithm of the share of a layer's norm or energy that stays."""
    tiny = sys.float_info.min
    return -math.log(max(stays, tiny) / max(whole, tiny))
