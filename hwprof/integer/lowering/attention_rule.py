"""The parts of attention as integer operations: the product of two activations, and the softmax of one."""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import fixed_point, softmax
from hwprof.integer.program.program import Product, Softmax

LARGEST_DEPTH = 16384  # of a product: its sums and their corrections fit into 32 bits
_SMALLEST_SHIFT = 32
COARSEST, FINEST = 2.0**10, 2.0**-15  # limits of the scale of a softmax's result


def product(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A MatMul of two computed tensors. Raises InputError where the operation does not support the node."""
    a, b = (symbols.plain(symbols.view(node, name)) for name in node.inputs)
    if min(len(a.shape), len(b.shape)) < 2:
        raise refuse(node, "products with a vector are not supported")
    if a.shape[-1] > LARGEST_DEPTH:
        raise refuse(node, f"it sums up {a.shape[-1]} products, but at most {LARGEST_DEPTH} fit into 32 bits")
    size = symbols.graph.shape(node.outputs[0])
    a, b = (_with_axes(symbols, held, len(size)) for held in (a, b))
    factor = a.grid.scale * b.grid.scale / target.grid.scale
    multiplier, shift = fixed_point.multipliers_and_shifts(np.array([factor]))
    if shift.min() < _SMALLEST_SHIFT:
        raise refuse(node, f"one step of its accumulator is {factor:.3g} steps of its result: the scales do not fit")
    value = symbols.new_value(target.name, size)
    rescale = target.rescale(multiplier, shift)
    symbols.operations.append(
        Product(node.label, target.members, a.value, b.value, value, a.grid.zero, b.grid.zero, rescale)
    )
    return Held(value, target.grid, size)


def _with_axes(symbols: SymbolTable, held: Held, axes: int) -> Held:
    """The same tensor with leading axes of size 1."""
    missing = axes - len(held.shape)
    return symbols.reshaped(held, (1,) * missing + held.shape, f"{held.value} batched") if missing else held


def softmax_of_rows(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Softmax over the last axis. Raises InputError where the operation does not support the node."""
    x = symbols.plain(symbols.view(node, node.inputs[0]))
    opset = dict(symbols.graph.opsets).get("", 0)
    if node.attribute("axis", -1 if opset >= 13 else 1) % len(x.shape) != len(x.shape) - 1:
        raise refuse(node, "only the last axis is supported")
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
