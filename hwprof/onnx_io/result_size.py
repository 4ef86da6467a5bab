"""Bounds the size of a result before it is computed, where the values of inputs decide it: Range, Expand, Pad, ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hwprof.graph import Node

# Results of what graphs keep as constants are shapes, masks and positions; a mask of 2048 x 2048 is below this.
MOST_ELEMENTS = 1 << 22

Operands = Sequence[np.ndarray | None]  # None for an optional one that is omitted


def is_moderate(node: Node, values: Mapping[str, np.ndarray]) -> bool:
    """Whether the node's result has at most `MOST_ELEMENTS`. values: its inputs [...] by name."""
    operands = [values.get(name) for name in node.inputs]
    try:
        return _RULES.get(node.op, _broadcast)(operands) <= MOST_ELEMENTS
    except (ArithmeticError, IndexError, TypeError, ValueError):  # not the operands of such an operator
        return True


def _product(sizes: np.ndarray) -> float:
    return math.prod(map(float, np.ravel(sizes)))


def _given(operand: np.ndarray | None) -> np.ndarray:
    if operand is None:
        raise ValueError("an operand is missing")
    return operand


def _broadcast(operands: Operands) -> float:
    return math.prod(map(float, np.broadcast_shapes(*(o.shape for o in operands if o is not None))))


def _range(operands: Operands) -> float:
    start, limit, delta = (float(_given(o)) for o in operands)
    return max(0.0, (limit - start) / delta)


def _expanded(operands: Operands) -> float:
    shape = np.broadcast_shapes(_given(operands[0]).shape, tuple(int(size) for size in _given(operands[1])))
    return math.prod(map(float, shape))


def _padded(operands: Operands) -> float:
    """An upper bound: every axis is taken to grow by the largest padding."""
    data, pads = _given(operands[0]), _given(operands[1])
    most = 2.0 * max(0, int(pads.max(initial=0)))
    return math.prod(size + most for size in data.shape) if pads.any() else float(data.size)


def _resized(operands: Operands) -> float:
    by_scale = [o for o in operands[1:-1] if o is not None and o.size == _given(operands[0]).ndim]
    last = _given(operands[-1])
    if len(operands) == 4 and last.dtype == np.int64:
        return _product(last)
    return _given(operands[0]).size * max(map(_product, [last, *by_scale]))


def _size_of(*positions: int) -> Callable[[Operands], float]:
    """The product of the values of these operands."""
    return lambda operands: math.prod(_product(_given(operands[i])) for i in positions)


def _times(position: int) -> Callable[[Operands], float]:
    """The elements of the first operand times the values of another."""
    return lambda operands: _given(operands[0]).size * _product(_given(operands[position]))


_RULES: Mapping[str, Callable[[Operands], float]] = {
    "Range": _range,
    "Expand": _expanded,
    "Pad": _padded,
    "Tile": _times(1),
    "OneHot": _times(1),
    "DFT": _times(1),
    "Resize": _resized,
    "Upsample": _times(1),
    "MelWeightMatrix": _size_of(0, 1),
    "AffineGrid": _size_of(1),
    "CenterCropPad": _times(1),
    "Einsum": lambda operands: math.prod(float(o.size) for o in operands if o is not None),
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), _size_of(0)),
}
