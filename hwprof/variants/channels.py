"""Which channels of a network can only be removed together.

Every axis of every tensor is a row of segments; a segment is fixed, or belongs to a group of channels.
An operator passes segments on (Relu, pooling), ties them (a residual Add), lines them up (Concat),
scales them (Flatten, grouped convolution) or starts a group (the output channels of a convolution).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hwprof.errors import UnknownOperatorError
from hwprof.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class Segment:
    """`size` consecutive places of an axis; `group` is None where they are fixed.

    `size` may be a multiple of the group's channels (Flatten) or a fraction of them (grouped convolution).
    """

    size: int
    group: int | None = None


Axis = tuple[Segment, ...]


@dataclass(slots=True)
class _Group:
    channels: int
    granule: int = 1  # channels are removed in blocks of this many
    whole: bool = False  # something needs all of them


@dataclass(frozen=True, slots=True)
class Producer:
    """A weight whose axis `axis` makes the channels of a group; in a recurrence once for each gate."""

    node: Node
    weight: str
    axis: int


@dataclass(frozen=True, slots=True)
class Reader:
    """A weight that sums over the channels along its axis `axis`: 0 in all of its places there removes a channel."""

    weight: str
    axis: int


class ChannelLayout:
    """The axes of every tensor of a graph. Raises UnknownOperatorError for an operator without a rule."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers: list[Producer] = []
        self.readers: list[Reader] = []
        self._groups: list[_Group] = []
        self._parents: list[int] = []
        self._axes: dict[str, list[Axis | None]] = {}  # None: an axis of a weight that nothing claimed yet
        floats = (c for c in graph.constants if c.dtype.startswith(("float", "bfloat")))
        self._weights = {t.name for t in (*graph.weights, *floats)}  # a small bias is a constant of a loaded file
        for tensor in (*graph.weights, *graph.constants, *graph.inputs):
            unclaimed = tensor.name in self._weights
            self._axes[tensor.name] = [None if unclaimed else (Segment(size),) for size in tensor.shape]
        for node in graph.nodes:
            self._visit(node)
        for name in graph.outputs:
            self._freeze(*self.axes(name))

    # -- the result ---------------------------------------------------------------------------------

    def axes(self, name: str) -> list[Axis]:
        """One axis for each dimension; those of a weight that nothing claimed so far are fixed from now on."""
        shape = self.graph.shape(name)
        known = self._axes.setdefault(name, [None] * len(shape))
        fixed = [axis or (Segment(size),) for axis, size in zip(known, shape, strict=True)]
        known[:] = fixed
        return fixed

    def root(self, group: int) -> int:
        """The group that represents all groups tied to it."""
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def channels(self, group: int) -> int:
        return self._groups[self.root(group)].channels

    def granule(self, group: int) -> int:
        return self._groups[self.root(group)].granule

    def prunable(self) -> list[int]:
        """Groups of which channels can be removed, in the order of the network."""
        roots = dict.fromkeys(self.root(g) for g in range(len(self._groups)))
        return [g for g in roots if not self._groups[g].whole and self._groups[g].granule < self._groups[g].channels]

    # -- groups --------------------------------------------------------------------------------------

    def _freeze(self, *axes: Axis) -> None:
        for segment in (s for axis in axes for s in axis):
            if segment.group is not None:
                self._groups[self.root(segment.group)].whole = True

    def _tie(self, a: Axis, b: Axis) -> Axis:
        """Makes two axes shrink alike; where they cannot, both stay whole."""
        if [s.size for s in a] != [s.size for s in b]:
            self._freeze(a, b)
            return a
        for p, q in zip(a, b, strict=True):
            if p.group is None or q.group is None or self.channels(p.group) != self.channels(q.group):
                self._freeze((p,), (q,))
            else:
                self._unite(self.root(p.group), self.root(q.group))
        return a

    def _unite(self, first: int, second: int) -> None:
        first, second = min(first, second), max(first, second)
        if first == second:
            return
        kept, other = self._groups[first], self._groups[second]
        kept.granule = math.lcm(kept.granule, other.granule)
        kept.whole |= other.whole
        self._parents[second] = first

    def _scaled(self, axis: Axis, numerator: int, denominator: int = 1, block: int = 1) -> Axis:
        """Each segment times numerator / denominator; it shrinks by multiples of `block` of its places."""
        if any(s.size % block or s.size * numerator % denominator for s in axis):
            self._freeze(axis)
            return (Segment(sum(s.size for s in axis) * numerator // denominator),)
        for s in axis:
            if s.group is not None:
                group = self._groups[self.root(s.group)]
                units = block * group.channels // math.gcd(block * group.channels, s.size)
                group.granule = math.lcm(group.granule, units)
        return tuple(Segment(s.size * numerator // denominator, s.group) for s in axis)

    # -- tensors -------------------------------------------------------------------------------------

    def _write(self, node: Node, axes: Sequence[Axis], output: int = 0) -> None:
        self._axes[node.outputs[output]] = list(axes)

    def _follow(self, name: str, index: int, axis: Axis) -> None:
        """The axis of a weight (or of any tensor) shrinks with `axis`."""
        known = self._axes[name][index]
        self._axes[name][index] = axis if known is None else self._tie(known, axis)

    def _read(self, name: str, index: int, axis: Axis) -> None:
        """The axis of a weight (or of any tensor), over which an operator sums, shrinks with `axis`."""
        if name in self._weights:
            self.readers.append(Reader(name, index % len(self._axes[name])))
        self._follow(name, index, axis)

    def _source(self, node: Node, name: str, index: int, copies: int = 1) -> Axis:
        """The axis of a weight as one that makes channels, `copies` times: a new group, unless the weight is used
        elsewhere too."""
        index %= len(self._axes[name])
        known = self._axes[name][index]
        if known is None:
            self._groups.append(_Group(self.graph.shape(name)[index] // copies))
            self._parents.append(len(self._parents))
            self.producers.append(Producer(node, name, index))
            known = (Segment(self._groups[-1].channels, len(self._groups) - 1),) * copies
            self._axes[name][index] = known
        return known

    def _broadcast(self, names: Iterable[str], skip: int = 0) -> list[Axis]:
        """The axes, without the last `skip`, of an element-wise result. Weights follow the other operands."""
        names = sorted(names, key=lambda name: name in self._weights)
        ranks = {name: len(self.graph.shape(name)) - skip for name in names}
        result: list[Axis] = []
        for back in range(max(ranks.values()), 0, -1):
            axis: Axis = (Segment(1),)
            for name in (n for n in names if ranks[n] >= back):
                index = ranks[name] - back
                size = self.graph.shape(name)[index]
                if size == 1:
                    continue
                if _length(axis) == 1:
                    axis = self._axes[name][index] or (Segment(size),)
                self._follow(name, index, axis)
            result.append(axis)
        return result

    # -- operators -----------------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        rule = RULES.get(node.op) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise UnknownOperatorError(
                f"no rule describes how channels pass through operator {node.op!r} ({node.name!r})"
            )
        rule(self, node)

    def same(self, node: Node) -> None:
        for i, name in enumerate(node.outputs):
            if name:
                self._write(node, self.axes(node.inputs[0]), i)

    def elementwise(self, node: Node) -> None:
        self._write(node, self._broadcast(node.inputs))

    def resized(self, node: Node) -> None:
        """Axes that keep their length pass; others (pooled, padded, cut) are fixed."""
        axes = self.axes(node.inputs[0])
        for i, name in enumerate(node.outputs):
            if name:
                self._write(node, [self._or_fixed(a, n) for a, n in zip(axes, self.graph.shape(name), strict=True)], i)

    def _or_fixed(self, axis: Axis, size: int) -> Axis:
        if _length(axis) == size:
            return axis
        self._freeze(axis)
        return (Segment(size),)

    def whole(self, node: Node) -> None:
        for name in filter(None, node.inputs):
            self._freeze(*self.axes(name))
        for i, name in enumerate(node.outputs):
            if name:
                self._write(node, [(Segment(size),) for size in self.graph.shape(name)], i)

    def convolution(self, node: Node) -> None:
        x, w, *bias = node.inputs
        batch, channels = self.axes(x)[:2]
        inner, outer = (1, 0) if node.op == "Conv" else (0, 1)
        groups = node.attribute("group", 1)
        if groups == 1:
            self._read(w, inner, channels)
            made = self._source(node, w, outer)
        else:
            made = self._grouped(node, channels, groups)
        for name in filter(None, bias):
            self._follow(name, 0, made)
        self._write(node, [batch, made, *self.axes(node.outputs[0])[2:]])

    def _grouped(self, node: Node, channels: Axis, groups: int) -> Axis:
        """Whole groups go: their inputs, their filters and their outputs together."""
        c_in, c_out = _length(channels), self.graph.shape(node.outputs[0])[1]
        made = self._scaled(channels, c_out, c_in, block=c_in // groups)
        self._follow(node.inputs[1], 0, made if node.op == "Conv" else channels)
        return made

    def matmul(self, node: Node) -> None:
        a, b = node.inputs
        if min(len(self.graph.shape(a)), len(self.graph.shape(b))) < 2:
            return self.whole(node)
        rows, columns = self._outer(node, a, -2), self._outer(node, b, -1)
        if b in self._weights:
            self._read(b, -2, self.axes(a)[-1])
        else:
            self._read(a, -1, self.axes(b)[-2])
        return self._write(node, [*self._broadcast(node.inputs, skip=2), rows, columns])

    def _outer(self, node: Node, name: str, index: int) -> Axis:
        return self._source(node, name, index) if name in self._weights else self.axes(name)[index]

    def gemm(self, node: Node) -> None:
        a, b, *c = node.inputs
        row, inner = (1, 0) if node.attribute("transA", 0) else (0, 1)
        shared, column = (1, 0) if node.attribute("transB", 0) else (0, 1)
        self._read(b, shared, self.axes(a)[inner])
        self._write(node, [self.axes(a)[row], self._outer(node, b, column)])
        for name in filter(None, c):
            self._broadcast([node.outputs[0], name])

    def normalization(self, node: Node) -> None:
        x, *weights = node.inputs
        for name in filter(None, weights):
            self._follow(name, 0, self.axes(x)[1])
        self._write(node, self.axes(x))

    def layer_norm(self, node: Node) -> None:
        x, *weights = node.inputs
        first = node.attribute("axis", -1) % len(self.graph.shape(x))
        for name in filter(None, weights):
            for index, axis in enumerate(self.axes(x)[first:]):
                self._follow(name, index, axis)
        self._write(node, self.axes(x))

    def recurrence(self, node: Node) -> None:
        """The width of the input follows. The units are a group: they make the gates, in which each has as many rows as
        there are gates, and they read the state."""
        x, w, r, *rest = node.inputs
        self._read(w, 2, self.axes(x)[2])
        units = self._units(node, _GATES[node.op])
        self._read(r, 2, units)
        bias, _lengths, hidden, cell, peepholes = (*rest, *[""] * 5)[:5]
        for name, index, copies in (
            (bias, 1, 2 * _GATES[node.op]), (peepholes, 1, _PEEPHOLES), (hidden, 2, 1), (cell, 2, 1)
        ):  # fmt: skip
            if name:
                self._follow(name, index, units * copies)
        for i, name in enumerate(node.outputs):
            if name:
                fixed: list[Axis] = [(Segment(size),) for size in self.graph.shape(name)[:-1]]
                self._write(node, [*fixed, units], i)

    def _units(self, node: Node, gates: int) -> Axis:
        """Fixed where another operator uses a weight in another way."""
        made = [self._source(node, name, 1, gates) for name in node.inputs[1:3]]
        if any(len(axis) != gates for axis in made):
            self._freeze(*made)
            return (Segment(self.graph.shape(node.inputs[2])[2]),)
        return self._tie(*made)[:1]

    def concat(self, node: Node) -> None:
        parts = [self.axes(name) for name in node.inputs]
        axis = node.attribute("axis") % len(parts[0])
        joined = list(parts[0])
        for part in parts[1:]:
            joined = [
                p + q if i == axis else self._tie(p, q) for i, (p, q) in enumerate(zip(joined, part, strict=True))
            ]
        self._write(node, joined)

    def transpose(self, node: Node) -> None:
        axes = self.axes(node.inputs[0])
        order = node.attribute("perm") or range(len(axes) - 1, -1, -1)
        self._write(node, [axes[i] for i in order])

    def gather(self, node: Node) -> None:
        data, indices = node.inputs
        axis = node.attribute("axis", 0) % len(self.graph.shape(data))
        axes = [
            self._outer(node, data, i) if i != axis else (Segment(n),) for i, n in enumerate(self.graph.shape(data))
        ]
        self._freeze(self.axes(data)[axis])
        self._write(node, [*axes[:axis], *self.axes(indices), *axes[axis + 1 :]])

    def reduce(self, node: Node) -> None:
        """Axes that stay keep their segments; the attributes or the second input name the others."""
        axes = self.axes(node.inputs[0])
        given = node.attribute("axes")
        if given is None and len(node.inputs) > 1 and node.inputs[1]:
            given = self.graph.constant_values.get(node.inputs[1])
            if given is None:
                return self.whole(node)
        if node.op.startswith("Arg"):
            given = (node.attribute("axis", 0),)
        gone = {int(i) % len(axes) for i in given} if given is not None else set(range(len(axes)))
        keep_axes = node.attribute("keepdims", 1)
        left = [(Segment(1),) if i in gone else axis for i, axis in enumerate(axes) if keep_axes or i not in gone]
        return self._write(node, left)

    def reshape(self, node: Node) -> None:
        """Flatten, Reshape, Squeeze, Unsqueeze: an axis passes alone, merged with fixed axes after it, or split: then
        the first part shrinks, such as the heads of an attention."""
        if node.op == "Reshape" and node.inputs[1] not in self.graph.constant_values:
            return self.whole(node)
        axes = self.axes(node.inputs[0])
        result: list[Axis] = [(Segment(size),) for size in self.graph.shape(node.outputs[0])]
        for old, new in _chunks(self.graph.shape(node.inputs[0]), self.graph.shape(node.outputs[0])):
            wide = [i for i in old if _length(axes[i]) > 1]
            target = [j for j in new if _length(result[j]) > 1]
            if wide and len(target) == 1:
                self._freeze(*(axes[i] for i in wide[1:]))
                result[target[0]] = self._scaled(axes[wide[0]], math.prod(_length(axes[i]) for i in wide[1:]))
            elif len(wide) == 1 and target:
                each = math.prod(_length(result[j]) for j in target[1:])
                result[target[0]] = self._scaled(axes[wide[0]], 1, each, block=each)
            else:
                self._freeze(*(axes[i] for i in wide))
        return self._write(node, result)


def _length(axis: Axis) -> int:
    return sum(s.size for s in axis)


def _chunks(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of old and new axes that hold the same number of elements."""
    chunks: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        run: tuple[list[int], list[int]] = ([i], [j])
        p, q = old[i], new[j]
        i, j = i + 1, j + 1
        while p != q:
            if p < q:
                p, i = p * old[i], i + 1
                run[0].append(i - 1)
            else:
                q, j = q * new[j], j + 1
                run[1].append(j - 1)
        chunks.append(run)
    return chunks


_SAME = """Relu Clip Sigmoid Tanh HardSwish HardSigmoid LeakyRelu Elu Selu Celu Gelu Mish Swish Softplus Softsign
ThresholdedRelu Erf Exp Log Sqrt Neg Abs Reciprocal Floor Ceil Round Sign Sin Cos Not IsNaN Identity Dropout Cast
Softmax LogSoftmax LRN LpNormalization"""
_ELEMENTWISE = """Add Sub Mul Div Pow Mod Min Max Sum Mean PRelu Where And Or Xor Equal Greater GreaterOrEqual Less
LessOrEqual"""
_RESIZED = """MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool Pad Slice Split Resize Upsample"""
_REDUCED = """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp
ArgMax ArgMin"""
_WHOLE = """DepthToSpace SpaceToDepth Expand Tile Shape Size GroupNormalization MeanVarianceNormalization TopK CumSum
GatherElements GatherND ScatterElements ScatterND OneHot Range ConstantOfShape Trilu"""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_PEEPHOLES = 3

RULES: dict[str, Callable[[ChannelLayout, Node], None]] = {
    **dict.fromkeys(_SAME.split(), ChannelLayout.same),
    **dict.fromkeys(_ELEMENTWISE.split(), ChannelLayout.elementwise),
    **dict.fromkeys(_RESIZED.split(), ChannelLayout.resized),
    **dict.fromkeys(_REDUCED.split(), ChannelLayout.reduce),
    **dict.fromkeys(_WHOLE.split(), ChannelLayout.whole),
    **dict.fromkeys(("Conv", "ConvTranspose"), ChannelLayout.convolution),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), ChannelLayout.normalization),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), ChannelLayout.reshape),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), ChannelLayout.recurrence),
    "MatMul": ChannelLayout.matmul,
    "Gemm": ChannelLayout.gemm,
    "LayerNormalization": ChannelLayout.layer_norm,
    "Concat": ChannelLayout.concat,
    "Transpose": ChannelLayout.transpose,
    "Gather": ChannelLayout.gather,
}
