"""The latency table of a network's layers, measured in place: by the kernels of whole networks.

2026-11-29, why not each operator alone, as for other tables. A network of n layers has n rows for each kind of choice;
here one network in which all layers have the choice gives all of them, in the order and the caches in which they will
run, with the fusions that the runtime makes. What it does not give is the cost of the borders between float and int8:
that is taken from the kernels that convert, and corrected by whole networks with mixed choices, as sums of tables are.
Only runtimes that time their kernels have such a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from hwprof.compress.choice import AS_BEFORE, Choice, Choices
from hwprof.compress.rewriting import parts
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measurement import Measurement
from hwprof.report.operators import without_profiling
from hwprof.variants.int8_layers import deciding_layers
from hwprof.variants.prune import prunable_groups, prune_channels

_PRIOR = 0.1  # the weight of factors of 1 in the correction, against one measured network of double latency
_LEAST_FACTOR = 0.1  # noise must not turn a saving into a loss


@dataclass(slots=True)
class _Column:
    """The times of operators in one kind of choice, ms. floats: those that the runtime computes in float; borders_ms:
    of the kernels that only convert."""

    ms: dict[str, float] = field(default_factory=dict)
    floats: set[str] = field(default_factory=set)
    borders_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class _Edge:
    """A float tensor between operators; no producer for an input of the network."""

    elements: int
    producer: str | None
    readers: tuple[str, ...]
    is_result: bool

    def crossings(self, int8: Set[str]) -> int:
        """How many elements are converted where these operators are int8."""
        is_int8 = self.producer in int8
        crosses = any((reader in int8) != is_int8 for reader in self.readers) or (is_int8 and self.is_result)
        return self.elements if crosses else 0


class InPlaceTable:
    """A table of the float network with this graph: add the columns, the float one first, then `learn` from networks
    with mixed choices."""

    def __init__(self, graph: Graph) -> None:
        layers = deciding_layers(graph)
        self._layers = {node.label: frozenset(layers[node.outputs[0]]) for node in graph.nodes}
        self._graph, self._edges = graph, _edges(graph)
        self._float, self._int8 = _Column(), _Column()
        self._ranked: dict[tuple[str, int, int | None], float] = {}  # by layer, rank and bits
        self._kept: dict[tuple[str, int], dict[str, float]] = {}  # by group and channels: factors of its operators
        self._border_ms = 0.0  # for each element
        self._float_ms = 0.0
        self._seen: list[tuple[Choices, float]] = []
        self._factors = np.ones(2)  # of the operators' and the borders' part of what the choices change

    def add_float(self, measured: Measurement) -> None:
        """The network itself. Raises InputError where the device does not time kernels."""
        self._float = _column(measured, {name: name for name in self._layers})
        self._float_ms = measured.normalized.median

    def add_int8(self, measured: Measurement, choices: Choices) -> None:
        """The network in which all layers are int8."""
        self._int8 = _column(measured, {name: name for name in self._layers})
        _, elements = self._sums(choices)
        self._border_ms = self._int8.borders_ms / elements if elements else 0.0
        self.learn(choices, measured.normalized.median)

    def add_ranks(self, measured: Measurement, choices: Choices) -> None:
        """A network in which layers have ranks, all of them in float or all in int8."""
        owners = {name: name for name in self._layers}
        owners |= {part: layer for layer in choices for part in parts(layer, is_factorized=True)}
        column = _column(measured, owners)
        for layer, choice in choices.items():
            if choice.rank is not None:
                self._ranked[layer, choice.rank, choice.bits] = column.ms.get(layer, 0.0)
        self.learn(choices, measured.normalized.median)

    def add_kept(self, measured: Measurement, choices: Choices) -> None:
        """A float network in which groups have fewer channels, all of them about the same share."""
        column = _column(measured, {name: name for name in self._layers})
        channels = {group.name: group.channels for group in prunable_groups(self._graph)}
        touched = {
            layer: _touched(self._graph, layer, choice.kept / channels[layer])
            for layer, choice in choices.items() if choice.kept is not None
        }  # fmt: skip
        counts = Counter(name for names in touched.values() for name in names)
        for layer, choice in choices.items():
            if choice.kept is not None:
                self._kept[layer, choice.kept] = {
                    name: (column.ms.get(name, 0.0) / ms) ** (1 / counts[name])
                    for name in touched[layer] if (ms := self._float.ms.get(name, 0.0)) > 0
                }  # fmt: skip
        self.learn(choices, measured.normalized.median)

    def saved_ms(self, layer: str, kept: int) -> float:
        """The time that the float network saves with this many channels in the group, ms."""
        return sum((1 - factor) * self._float.ms.get(name, 0.0) for name, factor in self._kept[layer, kept].items())

    def learn(self, choices: Choices, measured_ms: float) -> None:
        """Corrects the sums by a whole network that was measured."""
        self._seen.append((choices, measured_ms))
        changes = [self._changes_ms(choices) / self._float_ms for choices, _ in self._seen]
        left = np.vstack([*changes, _PRIOR * np.eye(2)])
        right = [ms / self._float_ms - 1 for _, ms in self._seen] + [_PRIOR, _PRIOR]
        self._factors = np.maximum(np.linalg.lstsq(left, np.array(right), rcond=None)[0], _LEAST_FACTOR)

    def latency_ms(self, choices: Choices) -> float:
        """The latency of the whole network, ms."""
        return self._float_ms + float(self._changes_ms(choices) @ self._factors)

    @property
    def mape(self) -> float:
        """The mean error of the sums of the changed networks that were measured, percent."""
        return 100 * float(np.mean([abs(self.latency_ms(choices) / ms - 1) for choices, ms in self._seen]))

    def layer_ms(self, layer: str, choice: Choice) -> float:
        """The time of one layer, without its borders, ms."""
        if choice.rank is not None:
            return self._ranked[layer, choice.rank, choice.bits]
        return (self._int8 if choice.bits else self._float).ms.get(layer, 0.0)

    # -- sums ----------------------------------------------------------------------------------------

    def _changes_ms(self, choices: Choices) -> np.ndarray:
        """The time that the choices add by operators and by borders, ms, [2]; negative where they save it."""
        before_ms, _ = self._sums({})
        operators_ms, elements = self._sums(choices)
        return np.array([operators_ms - before_ms, elements * self._border_ms])

    def _sums(self, choices: Choices) -> tuple[float, int]:
        """The sum of the operators, ms, and how many elements are converted."""
        chosen = {layer for layer, choice in choices.items() if choice.bits}
        followers = {name for name, layers in self._layers.items() if layers and layers <= chosen}
        factors = self._factors_of(choices)
        operators_ms = 0.0
        for name in self._layers:
            choice = choices.get(name, AS_BEFORE)
            if choice.rank is not None:
                operators_ms += factors.get(name, 1.0) * self.layer_ms(name, choice)
            else:
                column = self._int8 if name in followers else self._float
                operators_ms += factors.get(name, 1.0) * column.ms.get(name, 0.0)
        int8 = followers - self._int8.floats
        return operators_ms, sum(edge.crossings(int8) for edge in self._edges)

    def _factors_of(self, choices: Choices) -> dict[str, float]:
        """By operator the factor of its time for the channels that are left; an operator between two groups has a part
        from each."""
        found: dict[str, float] = {}
        for layer, choice in choices.items():
            for name, factor in self._kept[layer, choice.kept].items() if choice.kept is not None else ():
                found[name] = found.get(name, 1.0) * factor
        return found


def _touched(graph: Graph, group: str, share: float) -> list[str]:
    """The operators that read or make a tensor of another shape where the group has this share of its channels."""
    smaller = prune_channels(graph, {group: share}, granule=1)
    return [
        node.label
        for node, other in zip(graph.nodes, smaller.nodes, strict=True)
        if any(
            graph.shape(before) != smaller.shape(after)
            for before, after in zip((*node.inputs, *node.outputs), (*other.inputs, *other.outputs), strict=True)
            if before and graph.has_type(before)
        )
    ]


def _edges(graph: Graph) -> list[_Edge]:
    producers, readers = graph.producers(), graph.consumers()
    return [
        _Edge(
            tensor.numel,
            producers[tensor.name].label if tensor.name in producers else None,
            tuple(node.label for node in readers.get(tensor.name, ())),
            tensor.name in graph.outputs,
        )
        for tensor in (*graph.inputs, *graph.values)
        if tensor.dtype == "float32"
    ]


def _column(measured: Measurement, owners: Mapping[str, str]) -> _Column:
    """The kernels of a whole network by their operators. owners: the operator of the float network by the name of each
    that the network has.

    A kernel that belongs to no operator, such as a change of layout, counts for the one before it.
    """
    if not measured.operators:
        raise InputError(
            f"device {measured.device.name!r} does not time the kernels of a network, so it cannot be told which "
            "layers to change; give --task and a method, or another device"
        )
    column, last = _Column(), None
    kernels_ms = without_profiling([o.ns / 1e6 for o in measured.operators], measured.normalized.median)
    for kernel, ms in zip(measured.operators, kernels_ms, strict=True):
        own = [name for name in kernel.members if name in owners]
        if own:
            last = owners[own[0]]
            if len(own) == len(kernel.members):
                column.floats.update(owners[name] for name in own)
        elif kernel.members or last is None:
            column.borders_ms += ms
            continue
        column.ms[last] = column.ms.get(last, 0.0) + ms
    return column
