"""How each float operator before a QuantizeLinear becomes one integer operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import (
    attention_rule,
    code_rule,
    gru_rule,
    lstm_rule,
    mask_rule,
    norm_rule,
    product_rule,
    tables,
)
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Rule, Target
from hwprof.integer.numerics import fixed_point
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import (
    Add,
    AveragePool,
    Concatenate,
    Multiply,
    Operation,
    Table,
    Window,
)
from hwprof.integer.run import reference

_FACTOR_BITS, _LARGEST_ADD_SHIFT = 15, 22  # for adding 8-bit values: their products fit into int32
_WIDE_FACTOR_BITS, _LARGEST_WIDE_SHIFT = 30, 44  # for adding where a value has 16 bits
_WITH_16_BITS = {"Add", "Mul", "LayerNormalization", "RMSNormalization", "Concat"}


def quantized(symbols: SymbolTable, name: str, grid: Grid, node: Node) -> Held:
    """The float tensor `name` on the grid that the QuantizeLinear `node` gives it. Raises InputError."""
    if name in symbols.views and symbols.views[name].grid == grid:
        return symbols.views[name]
    if name in symbols.weights:
        return symbols.keep(name, grid.quantized(symbols.weights[name]), grid)
    target = Target(name, grid, grid.low, grid.high, (node.label,))
    if name in symbols.codes:
        target.require_bytes(node)
        return code_rule.quantized(symbols, node, symbols.codes[name], name, grid)
    inner, bounded = _without_bounds(symbols, name, target)
    rule = _RULES.get(inner.op) if inner else None
    if inner and rule and not (inner.op in ("Add", "Mul") and tables.source(symbols, name)):
        if inner.op not in _WITH_16_BITS:
            target.require_bytes(inner)
        return rule(symbols, inner, bounded.covering(inner))
    return tables.lookup(symbols, name, grid, target.members, node)


def _without_bounds(symbols: SymbolTable, name: str, target: Target) -> tuple[Node | None, Target]:
    """The operator before any Relu and Clip, and the target that includes their bounds."""
    node = symbols.pending.get(name)
    while node and node.op in ("Relu", "Clip"):
        low, high = bounds(symbols, node)
        target = replace(
            target.covering(node),
            low=max(target.low, target.grid.nearest(low)),
            high=min(target.high, target.grid.nearest(high)),
        )
        node = symbols.pending.get(node.inputs[0])
    return node, target


def bounds(symbols: SymbolTable, node: Node) -> tuple[float, float]:
    """The lower and upper bound of a Relu or Clip."""
    if node.op == "Relu":
        return 0.0, math.inf
    low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    if len(node.inputs) > 1 and node.inputs[1]:
        low = _stored_scalar(symbols, node, node.inputs[1])
    if len(node.inputs) > 2 and node.inputs[2]:
        high = _stored_scalar(symbols, node, node.inputs[2])
    return float(low), float(high)


def _stored_scalar(symbols: SymbolTable, node: Node, name: str) -> float:
    array = symbols.reals(name)
    if array is None or array.size != 1:
        raise refuse(node, f"its bound {name!r} is not a stored number")
    return float(array.ravel()[0])


# -- two operands --------------------------------------------------------------------------------------


def _add(symbols: SymbolTable, node: Node, target: Target) -> Held:
    if (linear := product_rule.biased_matrix_product(symbols, node)) is not None:
        inner, more = linear
        target.require_bytes(inner)
        return product_rule.with_more_bias(symbols, inner, target.covering(inner), more)
    return _sum(symbols, node, *_paired(symbols, node, *(symbols.any_view(node, name) for name in node.inputs)), target)


def _where(symbols: SymbolTable, node: Node, target: Target) -> Held:
    return _sum(symbols, node, *_paired(symbols, node, *mask_rule.summands(symbols, node, target)), target)


def _sum(symbols: SymbolTable, node: Node, a: Held, b: Held, target: Target) -> Held:
    real = [held.grid.scale / target.grid.scale for held in (a, b)]
    is_wide = any(grid.dtype != "uint8" for grid in (a.grid, b.grid, target.grid))
    bits, most = (_WIDE_FACTOR_BITS, _LARGEST_WIDE_SHIFT) if is_wide else (_FACTOR_BITS, _LARGEST_ADD_SHIFT)
    exponent = math.frexp(max(real))[1]  # the larger one is below 2^exponent
    shift = min(bits - exponent, most)
    if shift < 1:
        raise refuse(node, f"one step of an operand is {max(real):.3g} steps of its result: the scales do not fit")
    factors = [min(round(r * 2**shift), 2**bits - 1) for r in real]
    offset = (target.grid.zero << shift) + (1 << (shift - 1))
    offset -= a.grid.zero * factors[0] + b.grid.zero * factors[1]
    value = symbols.new_value(target.name, symbols.values[a.value].shape, target.grid.dtype)
    operation = Add(
        node.label, target.members, a.value, b.value, value, (factors[0], factors[1]), offset, shift, target.low,
        target.high,
    )  # fmt: skip
    _append_of_two(symbols, operation)
    return Held(value, target.grid, a.shape, a.is_image)


def _append_of_two(symbols: SymbolTable, operation: Add | Multiply) -> None:
    """Appends the operation, or a table of its results where both operands are functions of one tensor."""
    (source, of_a), (other, of_b) = symbols.function(operation.a), symbols.function(operation.b)
    if source != other or symbols.values[source].dtype != "uint8":
        symbols.operations.append(operation)
        return
    table = reference.apply(operation, [of_a, of_b], of_a.shape, symbols.values[operation.y].dtype)
    symbols.tabulate(Table(operation.name, operation.members, source, operation.y, table))


def _multiply(symbols: SymbolTable, node: Node, target: Target) -> Held:
    a, b = _paired(symbols, node, *(symbols.any_view(node, name) for name in node.inputs))
    multiplier, shift = fixed_point.multiplier_and_shift(a.grid.scale * b.grid.scale / target.grid.scale)
    rescale = target.rescale(np.array([multiplier], np.int32), np.array([shift], np.int32))
    value = symbols.new_value(target.name, symbols.values[a.value].shape, target.grid.dtype)
    _append_of_two(
        symbols, Multiply(node.label, target.members, a.value, b.value, value, a.grid.zero, b.grid.zero, rescale)
    )
    return Held(value, target.grid, a.shape, a.is_image)


def _paired(symbols: SymbolTable, node: Node, a: Held, b: Held) -> tuple[Held, Held]:
    """Both in one order of axes; the first has the shape of the result, the second is broadcast to it."""
    size = symbols.graph.shape(node.outputs[0])
    if a.shape != size:
        a, b = b, a
    if a.shape != size:
        raise refuse(node, f"neither operand has the shape of the result, {size}")
    if len(b.shape) < len(size):
        b = symbols.reshaped(symbols.plain(b), (1,) * (len(size) - len(b.shape)) + b.shape, f"{b.value} broadcast")
    if a.is_image or (b.is_image and len(size) == 4):
        return symbols.image(a), symbols.image(b)
    return a, b


def _recurrent(lower: lstm_rule.RecurrentRule) -> Rule:
    def rule(symbols: SymbolTable, node: Node, target: Target) -> Held:
        if target.is_bounded:
            raise refuse(node, "its result must be quantized directly, without an operator in between")
        if node.label not in symbols.layers:
            states = node.outputs[0] or f"{target.name} of all steps"
            symbols.layers[node.label] = lower(symbols, node, target.grid, states, target.members)
        held = symbols.layers[node.label]
        if held.grid != target.grid:
            raise refuse(node, "its states and its last state must be quantized with the same scale")
        return held if target.name == node.outputs[0] else lstm_rule.last(symbols, node, held, target.name)

    return rule


def concatenation(
    symbols: SymbolTable, node: Node, operands: Sequence[Held], grid: Grid, members: tuple[str, ...]
) -> Held:
    """The operands, which are on the grid, concatenated."""
    size = symbols.graph.shape(node.outputs[0])
    axis = node.attribute("axis") % len(size)
    is_image = any(held.is_image for held in operands)
    turned = [symbols.image(held) if is_image else held for held in operands]
    shape = (size[0], size[2], size[3], size[1]) if is_image else size
    value = symbols.new_value(node.outputs[0], shape, grid.dtype)
    at = (0, 3, 1, 2)[axis] if is_image else axis
    names = tuple(held.value for held in turned)
    symbols.operations.append(Concatenate(node.label, members, names, value, at))
    return Held(value, grid, size, is_image)


def _concatenate(symbols: SymbolTable, node: Node, target: Target) -> Held:
    moved = [
        tables.requantized(symbols, symbols.any_view(node, name), target.grid, f"{name} for {target.name}")
        for name in node.inputs
    ]
    joined = concatenation(symbols, node, moved, target.grid, target.members)
    return tables.bounded(symbols, joined, target) if target.is_bounded else joined


# -- averages ------------------------------------------------------------------------------------------


def _average_pool(symbols: SymbolTable, node: Node, target: Target) -> Held:
    x = symbols.view(node, node.inputs[0])
    if len(x.shape) != 4:
        raise refuse(node, "only two-dimensional images are supported")
    size = symbols.graph.shape(node.outputs[0])
    window = product_rule.window_of(node, node.attribute("kernel_shape"), x.shape[2:], size[2:])
    counts_padding = bool(node.attribute("count_include_pad", 0))
    if counts_padding and node.attribute("ceil_mode", 0):
        raise refuse(node, "count_include_pad together with ceil_mode is not supported where a window is cut off")
    return _averaged(symbols, node, target, symbols.image(x), window, size, counts_padding)


def _global_average(symbols: SymbolTable, node: Node, target: Target) -> Held:
    x = symbols.view(node, node.inputs[0])
    if len(x.shape) != 4:
        raise refuse(node, "only two-dimensional images are supported")
    n, c, h, w = x.shape
    return _averaged(symbols, node, target, symbols.image(x), Window(kernel=(h, w)), (n, c, 1, 1), counts_padding=True)


def _mean(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceMean over the pixels of an image."""
    x = symbols.view(node, node.inputs[0])
    axes = node.attribute("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] in symbols.weights:
        axes = tuple(int(a) for a in np.ravel(symbols.weights[node.inputs[1]]))
    if len(x.shape) != 4 or {a % 4 for a in axes or ()} != {2, 3}:
        raise refuse(node, "only a mean over the pixels of an image is supported")
    pooled = _global_average(symbols, node, target)
    if node.attribute("keepdims", 1):
        return pooled
    return symbols.reshaped(pooled, x.shape[:2], f"{target.name} flat")


def _averaged(
    symbols: SymbolTable, node: Node, target: Target, x: Held, window: Window, size: Sequence[int], counts_padding: bool
) -> Held:
    counts = range(1, math.prod(window.kernel) + 1)
    real = x.grid.scale / target.grid.scale
    if 255 * counts[-1] > fixed_point.LARGEST_SUM or real >= 2**20:
        raise refuse(node, "its sums do not fit into 32 bits")
    # Index 0, a window without a pixel, never occurs.
    multiplier, shift = fixed_point.multipliers_and_shifts(np.array([0.0, *(real / n for n in counts)]))
    value = symbols.new_value(target.name, (size[0], size[2], size[3], size[1]))
    operation: Operation = AveragePool(
        node.label, target.members, x.value, value, window, x.grid.zero, target.rescale(multiplier, shift),
        counts_padding,
    )  # fmt: skip
    symbols.operations.append(operation)
    return Held(value, target.grid, tuple(size), is_image=True)


_RULES: dict[str, Rule] = {
    "Conv": product_rule.convolution,
    "MatMul": product_rule.matrix_product,
    "Gemm": product_rule.gemm,
    "Add": _add,
    "Mul": _multiply,
    "Where": _where,
    "LSTM": _recurrent(lstm_rule.lower),
    "GRU": _recurrent(gru_rule.lower),
    "Softmax": attention_rule.softmax_of_rows,
    "LayerNormalization": norm_rule.layer_norm,
    "RMSNormalization": norm_rule.rms_norm,
    "Concat": _concatenate,
    "BatchNormalization": product_rule.batch_norm,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _mean,
}
