"""Convolutions and matrix products with stored weights, as integer operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import attention_rule
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import fixed_point
from hwprof.integer.program import weight_formats
from hwprof.integer.program.program import Concatenate, Convolution, Window

_WEIGHT_LIMIT = 127
_SMALLEST_SHIFT = 32  # the kernels of convolutions read results from the upper half of a product


@dataclass(frozen=True, slots=True)
class _Product:
    """The operands of a convolution or matrix product. weight: int32 [out, ...], in +-255, minus its zero point;
    scale: [out] of the weight; bias: float64 [out]; bits: width of the weight as it was stored."""

    node: Node
    x: Held
    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    bits: int = 8


def convolution(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Conv on images. Raises InputError where the operation does not support the node, as all rules do."""
    work = _product(symbols, node, axis=0)
    x = work.x
    if len(x.shape) != 4:
        raise refuse(node, f"only two-dimensional images are supported, not {len(x.shape) - 2} dimensions")
    work = replace(work, x=symbols.image(x), bias=_bias(symbols, node, len(work.weight)))
    size = symbols.graph.shape(node.outputs[0])
    window = window_of(node, work.weight.shape[2:], x.shape[2:], size[2:])
    return _linear(symbols, work, target, window, size)


def matrix_product(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A MatMul with a stored weight, or of two computed tensors."""
    if node.inputs[1] not in symbols.stored:
        return attention_rule.product(symbols, node, target)
    return _dense(symbols, _product(symbols, node, axis=1), target)


def gemm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Gemm with a stored weight."""
    if node.attribute("transA", 0):
        raise refuse(node, "transA is not supported")
    axis = 0 if node.attribute("transB", 0) else 1
    work = _product(symbols, node, axis)
    bias = _bias(symbols, node, len(work.weight)) * float(node.attribute("beta", 1.0))
    scale = work.scale * float(node.attribute("alpha", 1.0))
    if not (scale > 0).all():
        raise refuse(node, "its alpha is not above 0")
    return _dense(symbols, replace(work, scale=scale, bias=bias), target)


def batch_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A BatchNormalization that could not be folded into a convolution: a depthwise filter of one pixel."""
    x = symbols.view(node, node.inputs[0])
    if len(x.shape) != 4:
        raise refuse(node, "only two-dimensional images are supported")
    found = [reals for name in node.inputs[1:5] if (reals := symbols.reals(name)) is not None]
    if len(found) < 4 or node.attribute("training_mode", 0):
        raise refuse(node, "its statistics are not stored")
    gain, shift, mean, variance = (reals.ravel() for reals in found)
    factor = gain / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
    weight = (np.sign(factor) * _WEIGHT_LIMIT).astype(np.int8).reshape(-1, 1, 1, 1)
    scale = np.where(factor, np.abs(factor), 1.0) / _WEIGHT_LIMIT
    apart = replace(node, attributes=(("group", len(factor)),))
    work = _Product(apart, symbols.image(x), weight, scale, shift - mean * factor)
    return _linear(symbols, work, target, Window(), x.shape)


def _dense(symbols: SymbolTable, work: _Product, target: Target) -> Held:
    x = symbols.plain(work.x)
    if work.weight.ndim != 2:
        raise refuse(work.node, f"its weight {work.node.inputs[1]!r} is not a matrix")
    rows, depth = math.prod(x.shape[:-1]), x.shape[-1]
    size = (*x.shape[:-1], len(work.weight))
    as_image = symbols.reshaped(x, (1, rows, 1, depth), f"{target.name} rows")
    work = replace(work, x=as_image, weight=work.weight.reshape(*work.weight.shape[:2], 1, 1))
    flat = _linear(symbols, work, replace(target, name=f"{target.name} product"), Window(), (1, size[-1], rows, 1))
    return symbols.reshaped(flat, size, target.name)


def _linear(symbols: SymbolTable, work: _Product, target: Target, window: Window, size: Sequence[int]) -> Held:
    """size: the ONNX shape of the result, which is an image."""
    work = _fine_enough(_of_eight_bits(symbols, work), target)
    node, x, groups = work.node, work.x, int(work.node.attribute("group", 1))
    factors = x.grid.scale * work.scale / target.grid.scale
    multiplier, shift = fixed_point.multipliers_and_shifts(factors)
    if shift.min() < _SMALLEST_SHIFT:
        raise refuse(
            node, f"one step of its accumulator is {factors.max():.3g} steps of its result: the scales do not fit"
        )
    weight = symbols.shared.keep(np.moveaxis(work.weight, 1, -1).astype(np.int8))
    value = symbols.new_value(target.name, (size[0], size[2], size[3], size[1]))
    operation = Convolution(
        node.label,
        target.members,
        x.value,
        value,
        weight,
        _folded_bias(work),
        target.rescale(multiplier, shift),
        x.grid.zero,
        window,
        groups,
    )
    if work.bits <= weight_formats.INT4_BITS:
        operation = weight_formats.in_few_bits(operation, work.bits)
    symbols.operations.append(operation)
    return Held(value, target.grid, tuple(size), is_image=True)


def _fine_enough(work: _Product, target: Target) -> _Product:
    """With a weight of few bits on half the scale as often as the kernels need it to rescale the sums."""
    while np.abs(work.weight).max(initial=0) <= _WEIGHT_LIMIT // 2:
        _, shift = fixed_point.multipliers_and_shifts(work.x.grid.scale * work.scale / target.grid.scale)
        if shift.min() >= _SMALLEST_SHIFT or not work.weight.any():
            break
        work = replace(work, weight=2 * work.weight, scale=work.scale / 2)
    return work


def _folded_bias(work: _Product) -> np.ndarray:
    """int32 [out]: the bias on the accumulator's grid, minus the contribution of the zero point of x to each sum."""
    weight = work.weight.reshape(len(work.weight), -1).astype(np.int64)
    bias = np.rint(work.bias / (work.x.grid.scale * work.scale))
    if not np.isfinite(bias).all() or np.abs(bias).max() > fixed_point.LARGEST_SUM:
        raise refuse(work.node, "its bias does not fit into 32 bits")
    folded = bias.astype(np.int64) - work.x.grid.zero * weight.sum(axis=1)
    if (np.abs(folded) + 255 * np.abs(weight).sum(axis=1)).max() > fixed_point.LARGEST_SUM:
        raise refuse(work.node, "its sums do not fit into 32 bits")
    return np.asarray(folded, np.int32)


def _product(symbols: SymbolTable, node: Node, axis: int) -> _Product:
    """The first two inputs of the node, without a bias. axis: the weight's output axis, which is moved to the front."""
    name = node.inputs[1]
    x = symbols.view(node, node.inputs[0])
    if name not in symbols.stored:
        raise refuse(node, f"its weight {name!r} is not stored as integers")
    stored = symbols.stored[name]
    if stored.values.dtype.itemsize != 1:
        raise refuse(node, f"its weight {name!r} has type {stored.values.dtype}; only 8 and 4 bits are supported")
    if stored.axis not in (None, axis):
        raise refuse(
            node, f"its weight {name!r} has one scale per position of axis {stored.axis}; only axis {axis} is supported"
        )
    if not stored.zero.any() and stored.values.min(initial=0) < -_WEIGHT_LIMIT:
        raise refuse(node, f"its weight {name!r} holds -128; quantize to [-127, 127]")
    if not (np.isfinite(stored.scale).all() and (stored.scale > 0).all()):
        raise refuse(node, f"its weight {name!r} has a scale that is not above 0")
    weight = np.moveaxis(stored.centered(), axis, 0)
    scale = np.broadcast_to(stored.scale, (len(weight),))
    return _Product(node, x, weight, scale, np.zeros(len(weight)), stored.bits)


def _of_eight_bits(symbols: SymbolTable, work: _Product) -> _Product:
    """Splits a weight outside +-127 into a sum of several inside it, each multiplied by all of x."""
    rest = work.weight
    weights: list[np.ndarray] = []
    while rest.any() or not weights:
        weights.append(np.clip(rest, -_WEIGHT_LIMIT, _WEIGHT_LIMIT))
        rest = rest - weights[-1]
    if len(weights) == 1:
        return work
    if int(work.node.attribute("group", 1)) > 1:
        raise refuse(
            work.node, "its weight minus its zero point does not fit into 8 bits, which grouped convolutions need"
        )
    count = len(weights)
    *pixels, channels = symbols.values[work.x.value].shape
    name = f"{work.x.value} {count} times"
    value = symbols.new_value(name, (*pixels, channels * count))
    symbols.operations.append(Concatenate(name, (), (work.x.value,) * count, value, len(pixels)))
    return replace(work, x=replace(work.x, value=value), weight=np.concatenate(weights, axis=1))


def _bias(symbols: SymbolTable, node: Node, channels: int) -> np.ndarray:
    """float64 [channels]; zeros where the operator has none."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros(channels)
    reals = symbols.reals(node.inputs[2])
    if reals is None:
        raise refuse(node, f"its bias {node.inputs[2]!r} is not stored")
    return np.broadcast_to(reals.reshape(-1), (channels,))


def biased_matrix_product(symbols: SymbolTable, node: Node) -> tuple[Node, np.ndarray] | None:
    """The MatMul before this Add, and the stored row, float64 [out], that the Add adds to it."""
    for one, other in (node.inputs, node.inputs[::-1]):
        inner, row = symbols.pending.get(one), symbols.reals(other)
        if inner and inner.op == "MatMul" and row is not None and row.size in (1, row.shape[-1] if row.ndim else 1):
            return inner, row.ravel()
    return None


def with_more_bias(symbols: SymbolTable, node: Node, target: Target, more: np.ndarray) -> Held:
    """The MatMul plus the row `more`, float64 [out]."""
    work = _product(symbols, node, axis=1)
    return _dense(symbols, replace(work, bias=np.broadcast_to(more, (len(work.weight),))), target)


def window_of(node: Node, kernel: Sequence[int], source: Sequence[int], size: Sequence[int]) -> Window:
    """The window of an operator. kernel, source, size: (vertical, horizontal), of the operator, its input and its
    output."""
    strides = tuple(node.attribute("strides", (1, 1)))
    dilations = tuple(node.attribute("dilations", (1, 1)))
    pads = tuple(node.attribute("pads", (0, 0, 0, 0)))[:2]
    kind = node.attribute("auto_pad", "NOTSET")
    if kind.startswith("SAME"):
        reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(size, strides, kernel, dilations, strict=True)]
        total = [max(0, r - n) for r, n in zip(reach, source, strict=True)]
        pads = tuple(t // 2 if kind == "SAME_UPPER" else t - t // 2 for t in total)
    elif kind == "VALID":
        pads = (0, 0)
    return Window((kernel[0], kernel[1]), (strides[0], strides[1]), (dilations[0], dilations[1]), (pads[0], pads[1]))
