"""Element-wise operators of two or more tensors: sums, products, quotients and extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Node
from hwprof.integer.lowering import mask_rule, picking, product_rule, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Rule, Target
from hwprof.integer.numerics import fixed_point
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import Add, Concatenate, Expand, MaxPool, Multiply, Table, Window
from hwprof.integer.run import reference
from hwprof.integer.run.moves import broadcast_strides

_FACTOR_BITS, _LARGEST_ADD_SHIFT = 15, 22  # for adding 8-bit values: their products fit into int32
_WIDE_FACTOR_BITS, _LARGEST_WIDE_SHIFT = 30, 44  # for adding where a value has 16 bits
_WIDE = 2**15 - 1  # the largest integer of 16 bits
_ROW = 64  # elements of a row in which extremes are taken

# -- sums ----------------------------------------------------------------------------------------------


def add(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An Add. Raises InputError where the operation does not support the node, as all rules do."""
    if (linear := product_rule.biased_matrix_product(symbols, node)) is not None:
        inner, more = linear
        return product_rule.with_more_bias(symbols, inner, target.covering(inner), more)
    if (split := _with_stored(symbols, node)) is not None:
        x, numbers, _ = split
        return product_rule.by_element(symbols, node, target, x, np.ones(()), numbers)
    a, b = _operands(symbols, node)
    return summed(symbols, node, *paired(symbols, node, a, b), target)


def subtract(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Sub."""
    if (split := _with_stored(symbols, node)) is not None:
        x, numbers, is_first = split
        sign = 1.0 if is_first else -1.0
        return product_rule.by_element(symbols, node, target, x, np.array(sign), -sign * numbers)
    a, b = _operands(symbols, node)
    first, second = paired(symbols, node, a, b)
    is_swapped = a.shape != symbols.graph.shape(node.outputs[0])
    return summed(symbols, node, first, second, target, (-1, 1) if is_swapped else (1, -1))


def where(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Where that masks elements, or selects by a stored condition."""
    if node.inputs[0] in symbols.weights and not mask_rule.masks(symbols, node):
        return picking.merged(symbols, node, target)
    target.require_bytes(node)
    return summed(symbols, node, *paired(symbols, node, *mask_rule.summands(symbols, node, target)), target)


def summed(
    symbols: SymbolTable, node: Node, a: Held, b: Held, target: Target, signs: tuple[int, int] = (1, 1)
) -> Held:  # fmt: skip
    """signs[0] * a + signs[1] * b; b is broadcast to a."""
    real = [held.grid.scale / target.grid.scale for held in (a, b)]
    is_wide = any(grid.dtype != "uint8" for grid in (a.grid, b.grid, target.grid))
    bits, most = (_WIDE_FACTOR_BITS, _LARGEST_WIDE_SHIFT) if is_wide else (_FACTOR_BITS, _LARGEST_ADD_SHIFT)
    exponent = math.frexp(max(real))[1]  # the larger one is below 2^exponent
    shift = min(bits - exponent, most)
    if shift < 1:
        raise refuse(node, f"one step of an operand is {max(real):.3g} steps of its result: the scales do not fit")
    factors = [sign * min(round(r * 2**shift), 2**bits - 1) for sign, r in zip(signs, real, strict=True)]
    offset = (target.grid.zero << shift) + (1 << (shift - 1))
    offset -= a.grid.zero * factors[0] + b.grid.zero * factors[1]
    value = symbols.new_value(target.name, symbols.values[a.value].shape, target.grid.dtype)
    operation = Add(
        node.label, target.members, a.value, b.value, value, (factors[0], factors[1]), offset, shift, target.low,
        target.high,
    )  # fmt: skip
    _append_of_two(symbols, operation)
    return Held(value, target.grid, a.shape, a.is_image)


def total(is_mean: bool) -> Rule:
    """A Sum or Mean of any number of tensors: partial sums have 16 bits."""

    def rule(symbols: SymbolTable, node: Node, target: Target) -> Held:
        operands = _operands(symbols, node)
        share = 1 / len(operands) if is_mean else 1.0
        scaled = [replace(x, grid=replace(x.grid, scale=x.grid.scale * share)) for x in operands]
        return added(symbols, node, target, scaled)

    return rule


def added(symbols: SymbolTable, node: Node, target: Target, operands: Sequence[Held]) -> Held:
    """The sum of any number of tensors, each of which is broadcast."""
    if len(operands) == 1:
        return tables.bounded(symbols, tables.requantized(symbols, operands[0], target.grid, target.name), target)
    shapes = [x.shape for x in operands]
    partial = operands[0]
    for i, x in enumerate(operands[1:-1], start=1):
        whole = sum(reach(held.grid) for held in operands[: i + 1])
        grid = Grid(whole / _WIDE, 0, dtype="int16")
        inner = Target(f"{target.name} of {i + 1}", grid, grid.low, grid.high, ())
        size = np.broadcast_shapes(*shapes[: i + 1])
        partial = summed(symbols, node, *paired(symbols, node, partial, x, size), inner)
    return summed(symbols, node, *paired(symbols, node, partial, operands[-1]), target)


def reach(grid: Grid) -> float:
    """The largest absolute value on the grid."""
    return grid.scale * max(grid.high - grid.zero, grid.zero - grid.low)


# -- products ------------------------------------------------------------------------------------------


def multiply(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Mul."""
    if (split := _with_stored(symbols, node)) is not None:
        x, numbers, _ = split
        return product_rule.by_element(symbols, node, target, x, numbers, np.zeros(()))
    a, b = _operands(symbols, node)
    return product(symbols, node, *paired(symbols, node, a, b), target)


def product(symbols: SymbolTable, node: Node, a: Held, b: Held, target: Target) -> Held:
    """A * b, where b is broadcast to a."""
    multiplier, shift = fixed_point.multiplier_and_shift(a.grid.scale * b.grid.scale / target.grid.scale)
    rescale = target.rescale(np.array([multiplier], np.int32), np.array([shift], np.int32))
    value = symbols.new_value(target.name, symbols.values[a.value].shape, target.grid.dtype)
    _append_of_two(
        symbols, Multiply(node.label, target.members, a.value, b.value, value, a.grid.zero, b.grid.zero, rescale)
    )
    return Held(value, target.grid, a.shape, a.is_image)


def divide(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Div of an 8-bit divisor: the product with its reciprocal, which a table holds in 16 bits.

    Reciprocals that would take one step of the dividend beyond the result's range are cut there. 1 / 0 counts as one
    of them, and 0 / 0 is 0.
    """
    if (split := _with_stored(symbols, node)) is not None and split[2]:
        x, numbers, _ = split
        if not numbers.all():
            raise refuse(node, "its stored divisor holds 0")
        return product_rule.by_element(symbols, node, target, x, 1 / numbers, np.zeros(()))
    a, divisor = _operands(symbols, node)
    if divisor.grid.dtype != "uint8":
        raise refuse(node, "its divisor has 16 bits; quantize it to 8 bits")
    reach = max(target.grid.high - target.grid.zero, target.grid.zero - target.grid.low) + 1
    most = reach * target.grid.scale / a.grid.scale
    reals = divisor.grid.reals().astype(np.float64)
    with np.errstate(divide="ignore"):
        inverse = np.clip(1 / reals, -most, most)
    grid = Grid(float(np.abs(inverse).max()) / _WIDE, 0, dtype="int16")
    value = symbols.new_value(f"{target.name} reciprocal", symbols.values[divisor.value].shape, "int16")
    table = np.rint(inverse / grid.scale).astype(np.int16)
    source, inner = symbols.function(divisor.value)
    symbols.operations.append(Table(value, (), source, value, table[inner]))
    reciprocal = Held(value, grid, divisor.shape, divisor.is_image)
    return product(symbols, node, *paired(symbols, node, a, reciprocal), target)


def _append_of_two(symbols: SymbolTable, operation: Add | Multiply) -> None:
    """Appends the operation, or a table of its results where both operands are functions of one tensor."""
    (source, of_a), (other, of_b) = symbols.function(operation.a), symbols.function(operation.b)
    names = (operation.a, operation.b, source)
    if source != other or any(symbols.values[name].dtype != "uint8" for name in names):
        symbols.operations.append(operation)
        return
    table = reference.apply(operation, [of_a, of_b], of_a.shape, symbols.values[operation.y].dtype)
    symbols.tabulate(Table(operation.name, operation.members, source, operation.y, table))


# -- extremes ------------------------------------------------------------------------------------------


def extreme(is_largest: bool) -> Rule:
    """A Max or Min of any number of tensors, on the grid of the result: the maximum over as many rows."""

    def rule(symbols: SymbolTable, node: Node, target: Target) -> Held:
        size = symbols.graph.shape(node.outputs[0])
        names = list(dict.fromkeys(node.inputs))
        held = [_on_grid(symbols, node, name, target.grid, size) for name in names]
        return extreme_of(symbols, node, target, held, is_largest)

    return rule


def extreme_of(symbols: SymbolTable, node: Node, target: Target, operands: Sequence[Held], is_largest: bool) -> Held:
    """The largest or smallest of tensors on the target's grid that have one shape."""
    held = list(operands) if is_largest else [tables.reflected(symbols, x) for x in operands]
    if len(held) > 1:
        held = [_largest(symbols, node, target, held)]
    y = replace(held[0] if is_largest else tables.reflected(symbols, held[0]), grid=target.grid)
    return tables.bounded(symbols, y, target) if target.is_bounded else y


def _largest(symbols: SymbolTable, node: Node, target: Target, operands: Sequence[Held]) -> Held:
    """The maximum of tensors with the same shape and grid."""
    is_image = all(x.is_image for x in operands)
    flat = [x if is_image else symbols.plain(x) for x in operands]
    memory = symbols.values[flat[0].value].shape
    count = math.prod(memory)
    width = math.gcd(count, _ROW) if count % _ROW else _ROW
    rows = [symbols.reshaped(x, (1, 1, count // width, width), f"{x.value} row").value for x in flat]
    joined = symbols.new_value(f"{target.name} operands", (1, len(rows), count // width, width), flat[0].grid.dtype)
    symbols.operations.append(Concatenate(joined, (), tuple(rows), joined, 1))
    value = symbols.new_value(f"{target.name} extremes", (1, 1, count // width, width), flat[0].grid.dtype)
    symbols.operations.append(MaxPool(node.label, target.members, joined, value, Window((len(rows), 1))))
    y = symbols.reshaped(Held(value, flat[0].grid, ()), memory, target.name)
    return replace(y, shape=operands[0].shape, is_image=is_image)


def _on_grid(symbols: SymbolTable, node: Node, name: str, grid: Grid, size: tuple[int, ...]) -> Held:
    """The operand, stored or computed, on the grid and in the shape of the result."""
    if (reals := _floats(symbols, name)) is not None:
        return symbols.keep(f"{name} on {grid.scale:g}", grid.quantized(np.broadcast_to(reals, size)), grid)
    x = tables.requantized(symbols, symbols.view(node, name), grid, f"{name} rescaled")
    return x if x.shape == size else expanded(symbols, x, size)


def expanded(symbols: SymbolTable, x: Held, size: tuple[int, ...]) -> Held:
    """The tensor broadcast to the shape."""
    value = symbols.new_value(f"{x.value} expanded", size, x.grid.dtype)
    symbols.operations.append(Expand(value, (), symbols.plain(x).value, value))
    return Held(value, x.grid, size)


# -- slopes --------------------------------------------------------------------------------------------


def p_relu(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A PRelu with stored slopes: what is above 0, plus what is below times its slope. One of both is always 0."""
    x, slopes = symbols.view(node, node.inputs[0]), symbols.reals(node.inputs[1])
    if slopes is None:
        raise refuse(node, f"its slope {node.inputs[1]!r} is not stored")
    reals = x.grid.reals()
    above = tables.tabulated(
        symbols, x, target.grid.quantized(np.maximum(reals, 0)), target.grid, f"{target.name} above", ()
    )
    below = tables.tabulated(
        symbols, x, np.minimum(np.arange(256), x.grid.zero).astype(np.uint8), x.grid, f"{target.name} below", ()
    )
    grid = replace(target, name=f"{target.name} sloped", low=target.grid.low, high=target.grid.high, members=())
    sloped = product_rule.by_element(symbols, node, grid, below, slopes, np.zeros(()))
    return summed(symbols, node, *paired(symbols, node, above, sloped), target)


# -- operands ------------------------------------------------------------------------------------------


def _operands(symbols: SymbolTable, node: Node) -> list[Held]:
    """The tensors that the node reads; stored floats on a grid of 16 bits of their own."""
    return [operand(symbols, node, name) for name in node.inputs]


def operand(symbols: SymbolTable, node: Node, name: str) -> Held:
    """A tensor that the node reads; stored floats on a grid of 16 bits of their own."""
    reals = _floats(symbols, name)
    if name in symbols.views or reals is None:
        return symbols.any_view(node, name)
    largest = float(np.abs(reals).max(initial=0)) or 1.0
    grid = Grid(largest / _WIDE, 0, dtype="int16")
    return symbols.keep(f"{name} stored", np.rint(reals / grid.scale).astype(np.int16), grid)


def _floats(symbols: SymbolTable, name: str) -> np.ndarray | None:
    """float64 [...]: a stored tensor that cannot be an activation: floats, or integers of several scales."""
    stored = symbols.stored.get(name)
    if stored is not None and stored.axis is None and stored.values.dtype.itemsize == 1:
        return None
    return symbols.reals(name)


def _with_stored(symbols: SymbolTable, node: Node) -> tuple[Held, np.ndarray, bool] | None:
    """The computed operand, the stored numbers [...] that belong to its elements, and whether it is the first; None
    where both are computed, or the result is larger than the operand."""
    size = symbols.graph.shape(node.outputs[0])
    first, second = node.inputs
    for name, other, is_first in ((first, second, True), (second, first, False)):
        numbers = _floats(symbols, other)
        if numbers is None or _floats(symbols, name) is not None or other in symbols.views:
            continue
        x = symbols.any_view(node, name)
        if x.shape == size and np.broadcast_shapes(size, numbers.shape) == size:
            return x, numbers, is_first
    return None


def paired(
    symbols: SymbolTable, node: Node, a: Held, b: Held, size: tuple[int, ...] | None = None
) -> tuple[Held, Held]:
    """Both in one order of axes; the first has the shape of the result, the second is broadcast to it."""
    size = symbols.graph.shape(node.outputs[0]) if size is None else size
    if a.shape != size:
        a, b = b, a
    if a.shape != size:
        a = expanded(symbols, a, size)
    if len(b.shape) < len(size):
        b = symbols.reshaped(symbols.plain(b), (1,) * (len(size) - len(b.shape)) + b.shape, f"{b.value} broadcast")
    if len(size) > 2 and (a.is_image or b.is_image):
        a, b = symbols.image(a), symbols.image(b)
    try:
        broadcast_strides(node.label, *(symbols.values[x.value].shape for x in (a, b)))
    except InputError:  # too many axes in turn for the kernels: written out
        b = expanded(symbols, b, size)
        b = symbols.image(b) if a.is_image else b
    return a, b
