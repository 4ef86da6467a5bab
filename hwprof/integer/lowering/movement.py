"""Operators that move quantized values without changing them: the result has the grid of the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import embedding_rule, picking, pooling, resizing, rules
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, image_axes, refuse
from hwprof.integer.program.program import Expand, Pad, Slice

Move = Callable[[SymbolTable, Node, Held], list[Held]]


def apply(symbols: SymbolTable, node: Node) -> bool:
    """Applies the operator if it only moves values and its input is quantized. Returns whether it did."""
    if node.op == "Concat":
        return _concatenated(symbols, node)
    if node.op == "Gather" and embedding_rule.apply(symbols, node):
        return True
    move = _MOVES.get(node.op)
    if move is None or not node.inputs or node.inputs[0] not in symbols.views:
        return False
    if node.op in ("Cast", "CastLike") and not symbols.graph.type_of(node.outputs[0]).dtype.startswith("float"):
        return False
    if node.op in _RESIZES and not resizing.is_nearest(node):
        return False
    for name, held in zip(node.outputs, move(symbols, node, symbols.views[node.inputs[0]]), strict=False):
        symbols.views[name] = held
    return True


def apply_to_integers(symbols: SymbolTable, node: Node) -> bool:
    """Applies the operator if it moves integers that stand for no float tensor yet, as in files of the format
    QOperator. Returns whether it did."""
    names = [name for name in node.inputs if name in symbols.integers and name not in symbols.views]
    if not names or node.op in _BY_VALUE:
        return False
    symbols.views |= {name: symbols.integers[name] for name in names}
    was_moved = apply(symbols, node)
    for name in names:
        del symbols.views[name]
    if was_moved:
        symbols.integers |= {name: symbols.views.pop(name) for name in node.outputs if name in symbols.views}
    return was_moved


def _concatenated(symbols: SymbolTable, node: Node) -> bool:
    operands = [symbols.views.get(name) for name in node.inputs]
    known = [held for held in operands if held is not None]
    if len(known) < len(operands) or len({held.grid for held in known}) > 1:
        return False
    symbols.views[node.outputs[0]] = rules.concatenation(symbols, node, known, known[0].grid, (node.label,))
    return True


def _same(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:  # noqa: ARG001 - the signature of all moves
    return [held]


def _reshape(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    size = symbols.graph.shape(node.outputs[0])
    if held.is_image and max(held.shape[2:]) == 1:  # with one pixel, both orders are the same
        return [symbols.reshaped(held, size, node.outputs[0], (node.label,))]
    return [symbols.reshaped(symbols.plain(held), size, node.outputs[0], (node.label,))]


def _transpose(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    rank = len(held.shape)
    order = tuple(node.attribute("perm", tuple(reversed(range(rank)))))
    if held.is_image and order == image_axes(rank):  # the order in memory
        return [replace(held, shape=tuple(held.shape[i] for i in order), is_image=False)]
    return [symbols.transposed(held, order, node.outputs[0], (node.label,))]


def _max_pool(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:  # noqa: ARG001
    return [pooling.max_pool(symbols, node, symbols.view(node, node.inputs[0]))]


def _global_max_pool(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:  # noqa: ARG001
    return [pooling.global_max_pool(symbols, node, symbols.view(node, node.inputs[0]))]


def _resize(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    return [resizing.nearest(symbols, node, held)]


def _pick(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    return [picking.apply(symbols, node, held)]


def _dropout(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    read = {name for reader in symbols.graph.nodes for name in reader.inputs} | set(symbols.graph.outputs)
    if any(name in read for name in node.outputs[1:]):
        raise refuse(node, "its mask is read; only the values are supported")
    ratio, trains = (symbols.weights.get(name) if name else None for name in (*node.inputs[1:3], "", "")[:2])
    may_train = len(node.inputs) > 2 and node.inputs[2] and (trains is None or bool(np.any(trains)))
    if may_train and (ratio is None or np.any(ratio)):
        raise refuse(node, "it drops elements at random, as in training; export the network for inference")
    return [held]


def _split(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    axis = node.attribute("axis", 0) % len(held.shape)
    at, parts = 0, []
    for name in node.outputs:
        size = symbols.graph.shape(name)
        starts = tuple(at if i == axis else 0 for i in range(len(size)))
        parts.append(_part(symbols, node, held, size, name, starts, (1,) * len(size)))
        at += size[axis]
    return parts


def _slice(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    arguments = [_integers(symbols, node, name) for name in node.inputs[1:]]
    first, axes = arguments[0], arguments[2] if len(arguments) > 2 else list(range(len(arguments[0])))
    strides = arguments[3] if len(arguments) > 3 else [1] * len(first)
    starts, steps = [0] * len(held.shape), [1] * len(held.shape)
    for start, axis, step in zip(first, axes or range(len(first)), strides or [1] * len(first), strict=True):
        length = held.shape[axis]
        begin = start + length if start < 0 else start
        starts[axis], steps[axis] = min(max(begin, 0), length - 1 if step < 0 else length), step
    name = node.outputs[0]
    return [_part(symbols, node, held, symbols.graph.shape(name), name, tuple(starts), tuple(steps))]


def _picked(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    """A Gather at one stored index, such as one step of a sequence in an unrolled loop."""
    indices = _integers(symbols, node, node.inputs[1])
    if len(indices) != 1:
        return _pick(symbols, node, held)
    axis, size = node.attribute("axis", 0) % len(held.shape), symbols.graph.shape(node.outputs[0])
    kept = tuple(1 if i == axis else n for i, n in enumerate(held.shape))
    starts = tuple(indices[0] % n if i == axis else 0 for i, n in enumerate(held.shape))
    part = _part(symbols, node, held, kept, node.outputs[0], starts, (1,) * len(kept))
    return [part if size == kept else symbols.reshaped(symbols.plain(part), size, node.outputs[0], (node.label,))]


def _expand(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    size = symbols.graph.shape(node.outputs[0])
    value = symbols.new_value(node.outputs[0], size, held.grid.dtype)
    symbols.operations.append(Expand(node.label, (node.label,), symbols.plain(held).value, value))
    return [Held(value, held.grid, size)]


def _part(
    symbols: SymbolTable, node: Node, held: Held, size: tuple[int, ...], name: str, starts: tuple[int, ...],
    steps: tuple[int, ...],
) -> Held:  # fmt: skip
    """size, starts, steps: in ONNX's order of axes."""
    axes = image_axes(len(size)) if held.is_image else tuple(range(len(size)))
    value = symbols.new_value(name, tuple(size[a] for a in axes), held.grid.dtype)
    moved = Slice(
        node.label, (node.label,), held.value, value, tuple(starts[a] for a in axes), tuple(steps[a] for a in axes)
    )  # fmt: skip
    symbols.operations.append(moved)
    return Held(value, held.grid, size, held.is_image)


def _pad(symbols: SymbolTable, node: Node, held: Held) -> list[Held]:
    given = node.attribute("pads") or _integers(symbols, node, node.inputs[1])
    rank, size = len(held.shape), symbols.graph.shape(node.outputs[0])
    along = _integers(symbols, node, node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else list(range(rank))
    pads = [0] * 2 * rank
    for i, axis in enumerate(along):
        pads[axis % rank], pads[axis % rank + rank] = given[i], given[i + len(along)]
    real = symbols.reals(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1)
    if real is None:
        raise refuse(node, f"its value {node.inputs[2]!r} is not stored")
    number = float(real.ravel()[0]) if real.size else float(node.attribute("value", 0.0))
    fill = held.grid.nearest(number)
    if node.attribute("mode", "constant") != "constant" or min(pads) < 0 or (held.grid.dtype != "uint8" and fill):
        numbers = _padded(picking.numbered(held.shape), pads, str(node.attribute("mode", "constant")))
        return [picking.picked(symbols, node, held, numbers, number)]
    axes = image_axes(rank) if held.is_image else tuple(range(rank))
    value = symbols.new_value(node.outputs[0], tuple(size[a] for a in axes), held.grid.dtype)
    before = tuple(pads[a] for a in axes)
    symbols.operations.append(Pad(node.label, (node.label,), held.value, value, before, fill))
    return [Held(value, held.grid, size, held.is_image)]


def _padded(numbers: np.ndarray, pads: list[int], mode: str) -> np.ndarray:
    """numbers: [...], with what the mode of a Pad puts around them, 0 where it is a constant; negative pads cut."""
    ends = list(zip(pads, pads[len(pads) // 2 :], strict=False))
    inner = tuple(slice(max(0, -low), n - max(0, -high)) for (low, high), n in zip(ends, numbers.shape, strict=True))
    around = [(max(0, low), max(0, high)) for low, high in ends]
    if mode == "constant":
        return np.pad(numbers[inner], around)
    padded: np.ndarray = np.pad(numbers[inner], around, mode=mode)  # type: ignore[call-overload]  # ONNX's names
    return padded


def _integers(symbols: SymbolTable, node: Node, name: str) -> list[int]:
    if not name:
        return []
    if name not in symbols.weights:
        raise refuse(node, f"its input {name!r} is not stored")
    return [int(v) for v in np.ravel(symbols.weights[name])]


_BY_VALUE = {"Cast", "CastLike", "Pad"}  # they read more than the order of the integers
_RESIZES = ("Resize", "Upsample")
_MOVES: dict[str, Move] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _same,
    "CastLike": _same,
    "GlobalMaxPool": _global_max_pool,
    "Resize": _resize,
    "Upsample": _resize,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "MaxPool": _max_pool,
    "Split": _split,
    "Slice": _slice,
    "Expand": _expand,
    "Gather": _picked,
    "Pad": _pad,
    **dict.fromkeys(picking.OPERATORS - {"Gather"}, _pick),
}
