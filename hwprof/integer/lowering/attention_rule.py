"""The parts of attention as integer operations: the product of two activations, and the softmax of one."""

from __future__ import annotations

import math

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import fixed_point, softmax
from hwprof.integer.program.program import Expand, Product, Softmax

LARGEST_DEPTH = 16384  # of a product: its sums and their corrections fit into 32 bits
_SMALLEST_SHIFT = 32
_ONE_AXIS_OPSET = 13  # before it, a softmax is over all axes from one on
_BATCH_AXES = 2  # that an operation may have
COARSEST, FINEST = 2.0**10, 2.0**-15  # limits of the scale of a softmax's result


def product(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A MatMul of two tensors, of which one may be stored with one scale. Raises InputError where the operation does
    not support the node."""
    a, b = (symbols.plain(symbols.view(node, name)) for name in node.inputs)
    return product_of(symbols, node, target, a, b)


def product_of(symbols: SymbolTable, node: Node, target: Target, a: Held, b: Held, alpha: float = 1.0) -> Held:
    """Alpha times the product of two tensors in ONNX's order of axes, which may be vectors."""
    size = symbols.graph.shape(node.outputs[0])
    if len(a.shape) == 1:
        a = symbols.reshaped(a, (1, *a.shape), f"{a.value} row")
    if len(b.shape) == 1:
        b = symbols.reshaped(b, (*b.shape, 1), f"{b.value} column")
    if a.shape[-1] > LARGEST_DEPTH:
        raise refuse(node, f"it sums up {a.shape[-1]} products, but at most {LARGEST_DEPTH} fit into 32 bits")
    rank = max(len(a.shape), len(b.shape))
    a, b = (_with_axes(symbols, held, rank) for held in (a, b))
    outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    whole = (*outer, a.shape[-2], b.shape[-1])
    if len(outer) > _BATCH_AXES:
        a, b, whole = _in_one_batch(symbols, a, b, outer)
    factor = alpha * a.grid.scale * b.grid.scale / target.grid.scale
    if factor < 0:
        a, factor = tables.reflected(symbols, a), -factor
    multiplier, shift = fixed_point.multipliers_and_shifts(np.array([factor]))
    if shift.min() < _SMALLEST_SHIFT:
        raise refuse(node, f"one step of its accumulator is {factor:.3g} steps of its result: the scales do not fit")
    value = symbols.new_value(target.name, whole)
    rescale = target.rescale(multiplier, shift)
    symbols.operations.append(
        Product(node.label, target.members, a.value, b.value, value, a.grid.zero, b.grid.zero, rescale)
    )
    return symbols.with_shape(Held(value, target.grid, whole), size, target.name)


def _in_one_batch(
    symbols: SymbolTable, a: Held, b: Held, outer: tuple[int, ...]
) -> tuple[Held, Held, tuple[int, ...]]:  # fmt: skip
    """Both operands with all their batches along one axis, and the shape of the product; a batch that only one of them
    has is written out for the other."""
    flat = []
    for held in (a, b):
        x = held
        if held.shape[:-2] != outer and math.prod(held.shape[:-2]) > 1:
            value = symbols.new_value(f"{held.value} batches", (*outer, *held.shape[-2:]), held.grid.dtype)
            symbols.operations.append(Expand(value, (), held.value, value))
            x = Held(value, held.grid, (*outer, *held.shape[-2:]))
        flat.append(symbols.with_shape(x, (math.prod(x.shape[:-2]), *x.shape[-2:]), f"{x.value} in one batch"))
    return flat[0], flat[1], (math.prod(outer), a.shape[-2], b.shape[-1])


def _with_axes(symbols: SymbolTable, held: Held, axes: int) -> Held:
    """The same tensor with leading axes of size 1."""
    missing = axes - len(held.shape)
    return symbols.reshaped(held, (1,) * missing + held.shape, f"{held.value} batched") if missing else held


def softmax_of_rows(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Softmax over one axis, or before opset 13 over all from one on. Raises InputError where the operation does not
    support the node."""
    x = symbols.view(node, node.inputs[0])
    rank, opset = len(x.shape), dict(symbols.graph.opsets).get("", 0)
    axis = node.attribute("axis", -1 if opset >= _ONE_AXIS_OPSET else 1) % rank
    if opset >= _ONE_AXIS_OPSET or axis == rank - 1:
        order = (*(i for i in range(rank) if i != axis), axis)
        y = _softmax(symbols, node, target, symbols.transposed(x, order, f"{target.name} turned"))
        return symbols.transposed(y, [int(i) for i in np.argsort(order)], target.name)
    rows = symbols.with_shape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), f"{target.name} rows")
    return symbols.with_shape(_softmax(symbols, node, target, symbols.plain(rows)), x.shape, target.name)


def _softmax(symbols: SymbolTable, node: Node, target: Target, x: Held) -> Held:
    """Over the last axis of x, which is in ONNX's order of axes."""
    if x.shape[-1] > softmax.LONGEST_ROW:
        raise refuse(node, f"rows of more than {softmax.LONGEST_ROW} elements are not supported")
    if not FINEST < target.grid.scale < COARSEST:
        raise refuse(node, f"the scale of its result, {target.grid.scale}, does not fit values in [0, 1]")
    multiplier, shift = fixed_point.multipliers_and_shifts(np.array([1 / target.grid.scale]))
    value = symbols.new_value(target.name, x.shape)
    operation = Softmax(
        node.label, target.members, x.value, value, softmax.powers(x.grid.scale), target.rescale(multiplier, shift)
    )
    symbols.operations.append(operation)
    return Held(value, target.grid, x.shape)
