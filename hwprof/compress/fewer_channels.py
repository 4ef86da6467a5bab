"""Channels that are removed after training, without a gradient: those that stay take over what the others did.

What a channel was is estimated from those that stay, by least squares over the samples, and each weight that reads it
adds that to its own (as in He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section
3.1, position by position in place of patch by patch). One after the other, the channel stays whose part in the results
of its readers is estimated worst by those before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from hwprof.compress import outputs
from hwprof.errors import UnknownOperatorError
from hwprof.graph import Graph
from hwprof.variants.factorize import FACTORS
from hwprof.variants.prune import ChannelGroup, Reading, channel_readings, prunable_groups, prune_weights
from hwprof.variants.samples import Samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import constant_arrays

_RIDGE = 1e-6  # of the mean energy of a channel
_MOST_POSITIONS = 1024  # of a tensor that are looked at, for each sample
_CHANNEL_AXES = {"Conv": 1, "Gemm": -1, "MatMul": -1}  # of the tensor that is read


def removable(graph: Graph) -> dict[str, ChannelGroup]:
    """The groups of channels that can go, by name: those that some weight reads. Empty for a network with an operator
    without a rule."""
    try:
        readings = channel_readings(graph)
        return {group.name: group for group in prunable_groups(graph) if readings[group.name]}
    except UnknownOperatorError:
        return {}


class FewerChannels:
    """Removes channels of a float network and of those that are made of it. samples: [n, *shape] for each input."""

    def __init__(self, network: Weighted, samples: Samples) -> None:
        self._network, self._samples = network, samples

    def pruned(self, network: Weighted, kept: Mapping[str, int]) -> Weighted:
        """The network with this many channels in each group. network: the float one, or one with layers of lower rank.
        kept: by the names of `removable`."""
        graph, weights = network.graph, dict(network.weights)
        labels = {node.label for node in graph.nodes}
        names = {name: name if name in labels else name + FACTORS[1] for name in kept}
        groups, readings = {group.name: group for group in prunable_groups(graph)}, channel_readings(graph)
        shares, scores = {}, {}
        for name, n in kept.items():
            group, some = groups[names[name]], readings[names[name]]
            stays = self._strongest(group, some, graph, weights, n)
            for reading in some:
                self._take_over(reading, stays, graph, weights)
            shares[group.name], scores[group.name] = n / group.channels, stays.astype(float)
        scores |= {name: np.ones(g.channels // g.granule) for name, g in groups.items() if name not in scores}
        smaller, arrays = prune_weights(graph, weights, shares, granule=1, scores=scores)
        return Weighted(smaller, {**constant_arrays(smaller), **arrays})

    def _strongest(
        self, group: ChannelGroup, readings: Sequence[Reading], graph: Graph, weights: Mapping[str, np.ndarray], n: int
    ) -> np.ndarray:
        """Which blocks of channels stay, bool [n_blocks]."""
        count = group.channels // group.granule
        parts = np.zeros((count, count))
        for reading in readings:
            norms = np.linalg.norm(_rows(weights[reading.weight], reading.axis), axis=1)
            moment = self._moment(graph, reading)
            whole = np.eye(len(norms)) if moment is None else moment
            places = np.flatnonzero(reading.blocks >= 0).reshape(count, -1)  # the same number for each block
            for own in places.T:
                parts += whole[np.ix_(own, own)] * np.outer(norms[own], norms[own])
        return _pivots(parts, n // group.granule)

    def _take_over(self, reading: Reading, stays: np.ndarray, graph: Graph, weights: dict[str, np.ndarray]) -> None:
        """Adds to the weights of the channels that stay what these have in common with the others."""
        moment = self._moment(graph, reading)
        if moment is None:
            return
        own = reading.blocks >= 0
        kept, gone = (np.flatnonzero(own & (stays[reading.blocks] == is_kept)) for is_kept in (True, False))
        inner = moment[np.ix_(kept, kept)] + _RIDGE * moment.diagonal().mean() * np.eye(len(kept))
        shares = np.linalg.solve(inner, moment[np.ix_(kept, gone)])  # [kept, gone]
        array = np.moveaxis(weights[reading.weight].astype(np.float64), reading.axis, 0)
        array[kept] += np.tensordot(shares, array[gone], 1)
        weights[reading.weight] = np.moveaxis(array, 0, reading.axis).astype(weights[reading.weight].dtype)

    def _moment(self, graph: Graph, reading: Reading) -> np.ndarray | None:
        """The mean products of what the reading's weight reads at each place of its axis, [places, places]; None where
        that is not known."""
        node = graph.consumers()[reading.weight][0]
        moment = self._moments.get(node.inputs[0]) if node.inputs[1] == reading.weight else None
        return moment if moment is not None and len(moment) == len(reading.blocks) else None

    @cached_property
    def _moments(self) -> dict[str, np.ndarray]:
        """By tensor that a layer reads, [channels, channels]."""
        axes = dict(self._tensors())
        found = {name: np.zeros(()) for name in axes}
        for held in outputs.values(self._network, self._samples, list(axes)):
            for name, axis in axes.items():
                rows = np.moveaxis(held[name], axis, -1).reshape(-1, held[name].shape[axis]).astype(np.float64)
                rows = rows[:: max(len(rows) // _MOST_POSITIONS, 1)]
                found[name] = found[name] + rows.T @ rows / len(rows)
        return found

    def _tensors(self) -> Iterator[tuple[str, int]]:
        graph = self._network.graph
        made = {out for node in graph.nodes for out in node.outputs}
        return (
            (node.inputs[0], _CHANNEL_AXES[node.op])
            for node in graph.nodes
            if node.op in _CHANNEL_AXES and node.inputs[0] in made and not node.attribute("transA", 0)
        )


def _pivots(moment: np.ndarray, count: int) -> np.ndarray:
    """The columns with which the others are estimated best, greedily: the pivots of a Cholesky decomposition, bool [n].
    moment: symmetric, [n, n]."""
    rest, found = moment.copy(), np.zeros(len(moment), bool)
    for _ in range(count):
        energies = np.where(found, -np.inf, rest.diagonal())
        pivot = int(energies.argmax())
        found[pivot] = True
        if energies[pivot] > 0:
            rest -= np.outer(rest[:, pivot], rest[pivot]) / energies[pivot]
    return found


def _rows(weight: np.ndarray, axis: int) -> np.ndarray:
    """[size of the axis, others]"""
    return np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)
