"""Removes channels of a trained network without training: those that stay take over the work of the others.

Each removed channel is estimated from those that stay, by least squares over the samples, and the weights that read it
are added to theirs in the shares of that estimate (as in He et al., Channel Pruning for Accelerating Very Deep Neural
Networks, ICCV 2017, section 3.1, but position by position instead of patch by patch). The channels that stay are chosen
greedily: next comes the one whose contribution to its readers is estimated worst from those before it.
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
_MOST_POSITIONS = 1024  # of a tensor, for each sample
_CHANNEL_AXES = {"Conv": 1, "Gemm": -1, "MatMul": -1}  # of the tensor that the operator reads


def removable(graph: Graph) -> dict[str, ChannelGroup]:
    """By name, the groups of channels that some weight reads, so that they can go. Empty for a network with an operator
    without a rule."""
    try:
        readings = channel_readings(graph)
        return {group.name: group for group in prunable_groups(graph) if readings[group.name]}
    except UnknownOperatorError:
        return {}


class FewerChannels:
    """Removes channels of a float network, and of networks with the same layers at lower ranks. samples: [n, *shape]
    for each input."""

    def __init__(self, network: Weighted, samples: Samples) -> None:
        self._network, self._samples = network, samples

    def pruned(self, network: Weighted, kept: Mapping[str, int]) -> Weighted:
        """The network with this many channels in each group. kept: by the names of `removable`."""
        graph, weights = network.graph, dict(network.weights)
        groups, readings = {group.name: group for group in prunable_groups(graph)}, channel_readings(graph)
        counts = {_name_in(graph, name): n for name, n in kept.items()}
        stays = {name: np.ones(_n_blocks(group), bool) for name, group in groups.items()}
        for name, n in counts.items():
            stays[name] = self._chosen(groups[name], readings[name], graph, weights, n)
            for reading in readings[name]:
                self._take_over(reading, stays[name], graph, weights)
        shares = {name: n / groups[name].channels for name, n in counts.items()}
        scores = {name: blocks.astype(float) for name, blocks in stays.items()}
        smaller, arrays = prune_weights(graph, weights, shares, granule=1, scores=scores)
        return Weighted(smaller, {**constant_arrays(smaller), **arrays})

    def _chosen(
        self, group: ChannelGroup, readings: Sequence[Reading], graph: Graph, weights: Mapping[str, np.ndarray], n: int
    ) -> np.ndarray:
        """Which blocks of channels stay when n channels do, bool [n_blocks]."""
        count = _n_blocks(group)
        contributions = np.zeros((count, count))
        for reading in readings:
            norms = np.linalg.norm(_rows(weights[reading.weight], reading.axis), axis=1)
            products = self._products(graph, reading)
            products = np.eye(len(norms)) if products is None else products
            places = np.flatnonzero(reading.blocks >= 0).reshape(count, -1)  # the same number for each block
            for own in places.T:
                contributions += products[np.ix_(own, own)] * np.outer(norms[own], norms[own])
        return _pivots(contributions, n // group.granule)

    def _take_over(self, reading: Reading, stays: np.ndarray, graph: Graph, weights: dict[str, np.ndarray]) -> None:
        """Adds the weights of the channels that go to those of the channels that stay, in place. stays: bool
        [n_blocks]."""
        products = self._products(graph, reading)
        if products is None:
            return
        own = reading.blocks >= 0
        kept, gone = (np.flatnonzero(own & (stays[reading.blocks] == is_kept)) for is_kept in (True, False))
        inner = products[np.ix_(kept, kept)] + _RIDGE * products.diagonal().mean() * np.eye(len(kept))
        shares = np.linalg.solve(inner, products[np.ix_(kept, gone)])  # [kept, gone]
        array = np.moveaxis(weights[reading.weight].astype(np.float64), reading.axis, 0)
        array[kept] += np.tensordot(shares, array[gone], 1)
        weights[reading.weight] = np.moveaxis(array, 0, reading.axis).astype(weights[reading.weight].dtype)

    def _products(self, graph: Graph, reading: Reading) -> np.ndarray | None:
        """The mean products of the channels that the weight reads, [size of its axis] squared; None where they are not
        known: between the two operators of a lower rank, and in recurrences."""
        node = graph.consumers()[reading.weight][0]
        products = self._products_of_tensors.get(node.inputs[0]) if node.inputs[1] == reading.weight else None
        return products if products is not None and len(products) == len(reading.blocks) else None

    @cached_property
    def _products_of_tensors(self) -> dict[str, np.ndarray]:
        """The products by tensor that a layer of the float network reads, [channels, channels]."""
        axes = dict(_read_tensors(self._network.graph))
        found = {name: np.zeros(()) for name in axes}
        for held in outputs.values(self._network, self._samples, list(axes)):
            for name, axis in axes.items():
                found[name] = found[name] + _mean_products(held[name], axis)
        return found


def _name_in(graph: Graph, name: str) -> str:
    """The name of a group in a graph where the layer that makes it may have a lower rank."""
    return name if any(node.label == name for node in graph.nodes) else name + FACTORS[1]


def _n_blocks(group: ChannelGroup) -> int:
    return group.channels // group.granule


def _read_tensors(graph: Graph) -> Iterator[tuple[str, int]]:
    """The computed tensors that layers read, and the axes of their channels."""
    computed = {out for node in graph.nodes for out in node.outputs}
    return (
        (node.inputs[0], _CHANNEL_AXES[node.op])
        for node in graph.nodes
        if node.op in _CHANNEL_AXES and node.inputs[0] in computed and not node.attribute("transA", 0)
    )


def _mean_products(array: np.ndarray, axis: int) -> np.ndarray:
    """array: [*shape] with the channels along the axis. Returns the mean products over at most about `_MOST_POSITIONS`
    positions, [channels, channels]."""
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
    rows = rows[:: max(len(rows) // _MOST_POSITIONS, 1)]
    return np.asarray(rows.T @ rows / len(rows))


def _pivots(products: np.ndarray, count: int) -> np.ndarray:
    """The columns from which the others are estimated best, greedily: the pivots of a Cholesky decomposition, bool [n].
    products: symmetric, [n, n]."""
    rest, found = products.copy(), np.zeros(len(products), bool)
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
