"""Values for inputs that decide what is computed: indices, shapes, scales and lengths, guessed from how they are read.

A wrong guess is not a slow network but a failing one: an index outside of its table, a target shape of another size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from hwprof.graph import Graph, Node, Tensor
from hwprof.onnx_io.proto import bodies_of
from hwprof.onnx_io.tensor_uses import MOVING, Uses

_FACTOR = 2  # by which an input that holds the sizes or the scales of a Resize enlarges
_TO_THE_END = 2**31 - 1  # an end of a Slice that any axis has
_HIDDEN = -1e4
_DEEPEST = 64  # operators between an input and a table


# -- indices -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IndexRange:
    """The values from `low` to `high`, both included, for which every index is inside of its table. `is_counted`: a
    running sum makes the indices, so that the values are the ones of a mask."""

    low: int
    high: int
    is_counted: bool = False

    def draw(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """[shape]: of a mask as much as may be seen, else uniform."""
        if self.is_counted:
            return np.full(shape, min(self.high, 1))
        return np.asarray(rng.integers(self.low, self.high, shape, endpoint=True))


@dataclass(frozen=True, slots=True)
class _Reach:
    """An index that is scale * value + offset. `graphs`: the innermost body that reads it, then those around it."""

    name: str
    graphs: tuple[Graph, ...]
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    is_counted: bool = False
    depth: int = 0

    def at(self, name: str, scale: Fraction | int = 1, offset: Fraction | int = 0) -> _Reach:
        return replace(
            self, name=name, scale=self.scale * scale, offset=self.offset * scale + offset, depth=self.depth + 1
        )

    def shape(self, name: str) -> tuple[int, ...] | None:
        return next((g.shape(name) for g in self.graphs if g.has_type(name)), None)

    def number(self, name: str) -> Fraction | None:
        """The value of a constant that is one number."""
        constant = next((c for g in self.graphs for c in g.constants if c.name == name), None)
        if constant is None or len(constant.values) != 1 or not math.isfinite(constant.values[0]):
            return None
        return Fraction(constant.values[0])


def index_range(graph: Graph, name: str) -> IndexRange | None:
    """The values that the tensor may hold where it indexes tables, directly or after arithmetic, here or in bodies of
    control flow; None where it indexes none."""
    found = [r for reach, rows in _tables(_Reach(name, (graph,))) if (r := _allowed(reach, rows)) is not None]
    if not found:
        return None
    low, high = max(0, *(r.low for r in found)), min(r.high for r in found)
    return IndexRange(min(low, high), high, any(r.is_counted for r in found))


def _allowed(reach: _Reach, rows: int) -> IndexRange | None:
    if not reach.scale:
        return None
    ends = sorted(((0 - reach.offset) / reach.scale, (max(rows, 1) - 1 - reach.offset) / reach.scale))
    return IndexRange(math.ceil(ends[0]), math.floor(ends[1]), reach.is_counted)


def _tables(reach: _Reach) -> Iterator[tuple[_Reach, int]]:
    """Every table that the tensor leads to, by its number of rows."""
    if reach.depth > _DEEPEST:
        return
    for node in reach.graphs[0].consumers().get(reach.name, ()):
        for position, name in enumerate(node.inputs):
            if name != reach.name:
                continue
            rows = _table_rows(reach, node, position)
            if rows is not None:
                yield reach, rows
            for further in _onward(reach, node, position):
                yield from _tables(further)
        for body in bodies_of(node).values():  # captured
            if any(reach.name in n.inputs for n in body.nodes):
                yield from _tables(replace(reach, graphs=(body, *reach.graphs), depth=reach.depth + 1))


def _table_rows(reach: _Reach, node: Node, position: int) -> int | None:
    """Length of the table that the input at the position indexes in the node itself."""
    table, axis = 0, node.attribute("axis", 0)
    if node.op == "EmbedLayerNormalization" and position < 2:
        table, axis = (2 if position == 0 else 4), 0
    elif node.op not in _INDEXING or position != 1:
        return None
    shape = reach.shape(node.inputs[table])
    if not shape:
        return None
    return min(shape) if node.op in ("GatherND", "ScatterND") else shape[axis]


_INDEXING = frozenset({"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter"})


def _onward(reach: _Reach, node: Node, position: int) -> Iterator[_Reach]:
    """Where the values go on: through operators that move them, arithmetic with a number, and into bodies."""
    out = node.outputs[0]
    if node.op in ("Concat", "Where", "Tile") or (position == 0 and node.op in (*MOVING, "Gather")):
        if not (node.op == "Where" and position == 0):
            yield from (reach.at(name) for name in node.outputs if name)
    elif node.op in ("Loop", "Scan"):
        body = bodies_of(node)["body"]
        if position >= (2 if node.op == "Loop" else 0):
            yield replace(reach.at(body.inputs[position].name), graphs=(body, *reach.graphs))
    elif node.op == "CumSum" and position == 0:
        shape = reach.shape(reach.name) or (1,)
        yield replace(reach.at(out, max(*shape, 1)), is_counted=True)
    elif node.op == "Neg":
        yield reach.at(out, -1)
    elif node.op in _ARITHMETIC and len(node.inputs) == 2:
        number = reach.number(node.inputs[1 - position])
        if number is not None and (step := _ARITHMETIC[node.op](number, position)) is not None:
            yield reach.at(out, *step)


_Step = tuple[Fraction, Fraction] | None
_ONE, _NONE = Fraction(1), Fraction(0)
_ARITHMETIC: dict[str, Callable[[Fraction, int], _Step]] = {
    "Add": lambda number, _: (_ONE, number),
    "Sub": lambda number, position: (_ONE, -number) if position == 0 else (-_ONE, number),
    "Mul": lambda number, _: (number, _NONE),
    "Div": lambda number, position: (1 / number, _NONE) if position == 0 and number else None,
}


# -- shapes, scales and lengths ----------------------------------------------------------------------


def structure(uses: Uses, tensor: Tensor) -> np.ndarray | None:
    """[tensor.shape]: what makes sense for an input that holds a shape, scales, bounds or lengths; None for others."""
    use = uses.of(tensor.name)
    if use.node is not None and _hides(use.node, use.position, uses.graph):
        return np.zeros(tensor.shape)
    if use.node is None or len(tensor.shape) > 1:
        return None
    data = use.node.inputs[0]
    shape = uses.graph.shape(data) if uses.graph.has_type(data) else None
    guess = _guess(use.node, use.position, shape, tensor.numel)
    return None if guess is None or len(guess) != tensor.numel else np.array(guess).reshape(tensor.shape)


def _hides(node: Node, position: int, graph: Graph) -> bool:
    """Whether the input is a mask whose true elements put a very low number in the place of others: if all were hidden,
    a Softmax would give NaN."""
    if node.op != "Where" or position != 0:
        return False
    values = graph.constant_values.get(node.inputs[1], ())
    return len(values) == 1 and values[0] <= _HIDDEN


def _guess(node: Node, position: int, shape: tuple[int, ...] | None, n: int) -> Sequence[float] | None:
    """The values, [n], for the input at the position of a node whose data have this shape."""
    if node.op in ("LSTM", "GRU", "RNN") and position == 4 and shape:
        return (shape[0],) * n
    if node.op == "Slice" and position in (1, 2, 4):
        return ((0,) if position == 1 else (_TO_THE_END,) if position == 2 else (1,)) * n
    if node.op in ("Resize", "Upsample") and n > 2:
        scales = (1,) * 2 + (_FACTOR,) * (n - 2)
        is_sizes = node.op == "Resize" and position == 3
        return (
            [d * s for d, s in zip(shape, scales, strict=False)] if is_sizes and shape else None if is_sizes else scales
        )
    if node.op == "Reshape" and position == 1 and shape is not None and n:
        kept = (*shape, *(1,) * n)[: n - 1]
        return (*kept, math.prod(shape) // max(1, math.prod(kept)))
    if node.op == "Expand" and position == 1 and shape is not None:
        return (*(1,) * n, *shape)[-n:] if n >= len(shape) else (1,) * n
    return None
