"""Structural channel pruning: whole channels go, with everything in the network that depends on them.

Which channels of a group go is seen by their L1 norm (Li et al., Pruning Filters for Efficient ConvNets,
ICLR 2017) where there are weights; a Graph has none, and there only their number counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Constant, Graph, Node
from hwprof.variants.channels import Axis, ChannelLayout, Producer

Chosen = Mapping[int, np.ndarray]  # group -> sorted indices of the channels that stay
_TARGET_SHAPE = {"Reshape": 1, "Resize": 3}  # which input says the shape of the output


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that go together, named by the first operator that makes them.

    They are channels of convolutions, features of matrix products or units of recurrences. `granule`: they are removed
    in blocks of this many (a group of a grouped convolution). `producers`: the operators whose weights make these
    channels.
    """

    name: str
    channels: int
    granule: int
    producers: tuple[str, ...]


def prunable_groups(graph: Graph) -> tuple[ChannelGroup, ...]:
    """The groups that `prune_channels` can shrink, in the order of the network.

    Groups that reach an input or output of the network, or an operator that needs all of its channels,
    are not among them. Raises UnknownOperatorError for an operator without a rule.
    """
    layout = ChannelLayout(graph)
    return tuple(_describe(layout, root) for root in layout.prunable())


def prune_channels(graph: Graph, keep: float | Mapping[str, float], granule: int = 8) -> Graph:
    """The graph with a share `keep` in (0, 1] of the channels of every prunable group.

    A mapping gives shares by the names of `prunable_groups`; the others stay whole. What stays is rounded
    to a multiple of `granule` channels, never below one. Raises InputError for a share or name that does
    not fit, UnknownOperatorError for an operator without a rule.
    """
    layout = ChannelLayout(graph)
    return _shrunk(layout, {root: np.arange(count) for root, count in _kept(layout, keep, granule).items()})


def prune_weights(
    graph: Graph,
    weights: Mapping[str, np.ndarray],
    keep: float | Mapping[str, float],
    granule: int = 8,
    scores: Mapping[str, np.ndarray] | None = None,
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Like `prune_channels`, with the weights of the new graph by name, each [*shape] of its tensor. weights: those of
    the graph by name. scores: by group, for each block of `granule` channels, [n_blocks]: the largest stay; by default
    the blocks' L1 norms."""
    layout = ChannelLayout(graph)
    counts = _kept(layout, keep, granule)
    scores = _block_norms_by_name(layout, weights) if scores is None else scores
    chosen = {root: _strongest(layout, root, count, scores) for root, count in counts.items()}
    sliced = {t.name: _slice(layout, chosen, t.name, weights[t.name]) for t in graph.weights}
    return _shrunk(layout, chosen), sliced


def channel_norms(graph: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the names of `prunable_groups` the L1 norms, descending, of the blocks of `granule` channels that
    `prune_weights` keeps or removes, [n_blocks]. weights: those of the graph by name."""
    norms = _block_norms_by_name(ChannelLayout(graph), weights)
    return {name: -np.sort(-norm) for name, norm in norms.items()}


def producer_norms(graph: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The `channel_norms` by producer: by group [n_producers, n_blocks], those blocks first that `prune_weights`
    keeps."""
    layout = ChannelLayout(graph)
    found = {}
    for root in layout.prunable():
        norms: dict[str, np.ndarray] = {}  # a recurrence makes its units by two weights
        for producer in _producers(layout, root):
            label = producer.node.label
            norms[label] = norms.get(label, 0.0) + _norms_by(layout, root, producer, weights)
        each = np.array(list(norms.values()))
        found[_describe(layout, root).name] = each[:, np.argsort(-each.sum(axis=0), kind="stable")]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """An axis of a weight over which an operator sums channels: a 0 there for a channel removes it from the result.

    blocks: for each place along the axis the block of the group's channels to which it belongs, -1 for other channels,
    [size of the axis].
    """

    weight: str
    axis: int
    blocks: np.ndarray


def channel_readings(graph: Graph) -> dict[str, tuple[Reading, ...]]:
    """By the names of `prunable_groups` the weights that read their channels. A network where all of them have a 0 for
    some channels computes what it does without those channels, if nothing normalizes over channels.

    Raises UnknownOperatorError for an operator without a rule.
    """
    layout = ChannelLayout(graph)
    found = [(reader.weight, reader.axis, layout.axes(reader.weight)[reader.axis]) for reader in layout.readers]
    return {
        _describe(layout, root).name: tuple(
            Reading(weight, index, blocks)
            for weight, index, axis in found
            if (blocks := _blocks(layout, root, axis)).max(initial=-1) >= 0
        )
        for root in layout.prunable()
    }


# -- how many, and which -------------------------------------------------------------------------------


def _describe(layout: ChannelLayout, root: int) -> ChannelGroup:
    names = dict.fromkeys(p.node.label for p in _producers(layout, root))
    return ChannelGroup(next(iter(names)), layout.channels(root), layout.granule(root), tuple(names))


def _producers(layout: ChannelLayout, root: int) -> list[Producer]:
    return [p for group, p in enumerate(layout.producers) if layout.root(group) == root]


def _kept(layout: ChannelLayout, keep: float | Mapping[str, float], granule: int) -> dict[int, int]:
    if granule < 1:
        raise InputError(f"channels cannot be kept in multiples of {granule}; give a granule of at least 1")
    groups = {_describe(layout, root).name: root for root in layout.prunable()}
    shares = keep if isinstance(keep, Mapping) else dict.fromkeys(groups, keep)
    for name, share in shares.items():
        if name not in groups:
            raise InputError(f"no prunable group is named {name!r}; known: {', '.join(groups) or 'none'}")
        if not 0 < share <= 1:
            raise InputError(f"cannot keep a share of {share} of the channels; give a share above 0 and at most 1")
    return {groups[name]: _rounded(layout, groups[name], share, granule) for name, share in shares.items()}


def _rounded(layout: ChannelLayout, root: int, share: float, granule: int) -> int:
    channels, own = layout.channels(root), layout.granule(root)
    step = math.lcm(own, granule)
    if share == 1 or step > channels:
        step = own
    half_up = int(channels * share / step + 0.5)
    return min(max(half_up, 1) * step, channels)


def _strongest(layout: ChannelLayout, root: int, count: int, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sorted indices of the channels of the blocks with the largest scores, [count]."""
    granule = layout.granule(root)
    blocks = np.argsort(-scores[_describe(layout, root).name], kind="stable")[: count // granule]
    return (np.sort(blocks)[:, None] * granule + np.arange(granule)).ravel()


def _block_norms_by_name(layout: ChannelLayout, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {_describe(layout, root).name: _block_norms(layout, root, weights) for root in layout.prunable()}


def _block_norms(layout: ChannelLayout, root: int, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """The L1 norm of each block of channels over all weights that make them, [n_blocks]."""
    each = np.array([_norms_by(layout, root, producer, weights) for producer in _producers(layout, root)])
    return np.asarray(each.sum(axis=0))


def _norms_by(
    layout: ChannelLayout, root: int, producer: Producer, weights: Mapping[str, np.ndarray]
) -> np.ndarray:  # fmt: skip
    """The L1 norm of each block of channels in one weight that makes them, [n_blocks]."""
    array = np.abs(np.asarray(weights[producer.weight], float))
    rows = array.sum(axis=tuple(i for i in range(array.ndim) if i != producer.axis))
    norm = rows.reshape(-1, layout.channels(root)).sum(axis=0)  # a unit of a recurrence has a row in each gate
    return np.asarray(norm.reshape(-1, layout.granule(root)).sum(axis=1))


def _places(layout: ChannelLayout, chosen: Chosen, axis: Axis) -> np.ndarray:
    """Indices along an axis that stay."""
    places, start = [np.arange(0)], 0
    for segment in axis:
        root = None if segment.group is None else layout.root(segment.group)
        if root is None or root not in chosen:
            places.append(np.arange(start, start + segment.size))
        else:
            channels = layout.channels(root)
            common = math.gcd(channels, segment.size)
            units, places_per_unit = channels // common, segment.size // common
            blocks = chosen[root][::units] // units
            places.append(start + (blocks[:, None] * places_per_unit + np.arange(places_per_unit)).ravel())
        start += segment.size
    return np.concatenate(places)


def _blocks(layout: ChannelLayout, root: int, axis: Axis) -> np.ndarray:
    """The block of the group's channels at each place of an axis, -1 for other channels, [size of the axis]."""
    parts = [np.arange(0)]
    for segment in axis:
        channels = layout.channels(root)
        if segment.group is None or layout.root(segment.group) != root:
            parts.append(np.full(segment.size, -1))
        else:
            parts.append(np.arange(segment.size) * channels // segment.size // layout.granule(root))
    return np.concatenate(parts)


def _slice(layout: ChannelLayout, chosen: Chosen, name: str, array: np.ndarray) -> np.ndarray:
    for index, axis in enumerate(layout.axes(name)):
        array = np.take(array, _places(layout, chosen, axis), axis=index)
    return array


# -- the smaller graph ---------------------------------------------------------------------------------


def _shrunk(layout: ChannelLayout, chosen: Chosen) -> Graph:
    graph = layout.graph
    targets = {node.outputs[0]: target for node in graph.nodes if (target := _new_target(layout, chosen, node))}
    nodes = [_aimed(_resized(layout, chosen, node), targets.get(node.outputs[0])) for node in graph.nodes]
    read = {name for node in nodes for name in node.inputs} | {*graph.outputs}
    return replace(
        graph,
        nodes=tuple(nodes),
        weights=tuple(replace(t, shape=_shape(layout, chosen, t.name)) for t in graph.weights),
        constants=tuple(_constant(layout, chosen, c) for c in graph.constants if c.name in read)
        + tuple(targets.values()),
        values=tuple(replace(t, shape=_shape(layout, chosen, t.name)) for t in graph.values),
        name=f"{graph.name}-pruned",
        source=None,
    )


def _length(layout: ChannelLayout, chosen: Chosen, axis: Axis) -> int:
    return len(_places(layout, chosen, axis))


def _shape(layout: ChannelLayout, chosen: Chosen, name: str) -> tuple[int, ...]:
    return tuple(_length(layout, chosen, axis) for axis in layout.axes(name))


def _constant(layout: ChannelLayout, chosen: Chosen, constant: Constant) -> Constant:
    shape = _shape(layout, chosen, constant.name)
    if shape == constant.shape:
        return constant
    values = _slice(layout, chosen, constant.name, np.reshape(constant.values, constant.shape))
    return replace(constant, shape=shape, values=tuple(values.ravel().tolist()))


def _resized(layout: ChannelLayout, chosen: Chosen, node: Node) -> Node:
    """A convolution whose groups shrank in number, not in size; a recurrence with fewer units."""
    if node.attribute("hidden_size") is not None:
        return _with_attribute(node, "hidden_size", _length(layout, chosen, layout.axes(node.inputs[2])[2]))
    groups: int = node.attribute("group", 1)
    if groups == 1:
        return node
    before = layout.graph.shape(node.inputs[0])[1]
    after = _length(layout, chosen, layout.axes(node.inputs[0])[1])
    return _with_attribute(node, "group", groups * after // before)


def _with_attribute(node: Node, name: str, value: AttributeValue) -> Node:
    """The node with another value of an attribute that it has."""
    return replace(node, attributes=tuple((key, value if key == name else old) for key, old in node.attributes))


def _new_target(layout: ChannelLayout, chosen: Chosen, node: Node) -> Constant | None:
    """The constant that tells a Reshape or Resize its smaller output, where the old one no longer fits."""
    position = _TARGET_SHAPE.get(node.op, len(node.inputs))
    old = next((c for c in layout.graph.constants if node.inputs[position : position + 1] == (c.name,)), None)
    if old is None:
        return None
    shape = _shape(layout, chosen, node.outputs[0])
    values = tuple(size if v > 0 else v for v, size in zip(old.values, shape, strict=True))
    return None if values == old.values else replace(old, name=f"{node.outputs[0]}_shape", values=values)


def _aimed(node: Node, target: Constant | None) -> Node:
    if target is None:
        return node
    position = _TARGET_SHAPE[node.op]
    return replace(node, inputs=(*node.inputs[:position], target.name, *node.inputs[position + 1 :]))
