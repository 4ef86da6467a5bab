"""Runs a Program with NumPy, in integers only: the slow and plain definition of the kernels' results, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from itertools import product

import numpy as np

from hwprof.integer.numerics import gated, normalize, recurrent, softmax, wide_product
from hwprof.integer.numerics.fixed_point import Integers, requantize, require_integers
from hwprof.integer.program.program import (
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    Embedding,
    Expand,
    Gates,
    Gru,
    IntegerType,
    Lines,
    Lstm,
    MaxPool,
    Multiply,
    Normalization,
    Operation,
    Pad,
    Pick,
    Product,
    Program,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Table,
    Transpose,
    WideConvolution,
    Window,
    reads,
)
from hwprof.integer.run import border

Shape = tuple[int, ...]


def run(program: Program, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """inputs: the network's, by name, in their own types and ONNX shapes [...]. Returns its outputs, [...].

    Raises TypeError where a float array occurs between them.
    """
    entered = {e.value: border.quantize(e, inputs[e.input]) for e in program.entries}
    values = evaluate(program, entered)
    return {e.output: border.dequantize(e, values[e.value]) for e in program.exits}


def evaluate(program: Program, entered: Mapping[str, Integers]) -> dict[str, Integers]:
    """entered: the quantized inputs [...], by the name of their value. Returns every value, of its shape in memory
    [...]."""
    values = {**program.constants, **entered}
    require_integers(*values.values())
    for operation in program.operations:
        y = program.values[operation.y]
        result = apply(operation, [values[name] for name in reads(operation)], y.shape, y.dtype)
        require_integers(result)
        values[operation.y] = result
    return values


def apply(operation: Operation, operands: list[Integers], shape: Shape, dtype: IntegerType = "uint8") -> Integers:
    """The result, of the given shape [...] and type, of one operation. Raises TypeError for a float operand."""
    require_integers(*operands)
    result = _apply(operation, operands, shape)
    return np.ascontiguousarray(result, dtype).reshape(shape)


@singledispatch
def _apply(operation: Operation, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    raise TypeError(f"no rule for {operation}")


def _rescaled(accumulator: Integers, rescale: Rescale) -> Integers:
    scaled = requantize(accumulator, rescale.multiplier, rescale.shift)
    return _clipped(rescale.zero + scaled, rescale.low, rescale.high)


def _clipped(values: Integers, low: int, high: int) -> Integers:
    limited: Integers = np.clip(values, low, high)
    return limited


@_apply.register
def _convolution(op: Convolution, operands: list[Integers], shape: Shape) -> Integers:
    pixels = _windows(operands[0], op.window, shape[1:3], op.zero_x).astype(np.int32)  # [n, oh, ow, taps, c]
    if op.sign_at is not None:
        pixels = np.where(pixels >= op.sign_at, 1, -1).astype(np.int32)
    groups = np.split(pixels, op.groups, axis=-1)
    weights = np.split(op.weight.astype(np.int32), op.groups, axis=0)
    sums = [g.reshape(*shape[:3], -1) @ w.reshape(len(w), -1).T for g, w in zip(groups, weights, strict=True)]
    return _rescaled(np.concatenate(sums, axis=-1) + op.bias, op.rescale)


@_apply.register
def _wide_convolution(op: WideConvolution, operands: list[Integers], shape: Shape) -> Integers:
    pixels = _windows(operands[0], op.window, shape[1:3], 0).astype(np.int64)
    groups = np.split(pixels, op.groups, axis=-1)
    weights = np.split(op.weight.astype(np.int64), op.groups, axis=0)
    sums = [g.reshape(*shape[:3], -1) @ w.reshape(len(w), -1).T for g, w in zip(groups, weights, strict=True)]
    scaled = wide_product.scaled(np.concatenate(sums, axis=-1) + op.bias, op.rescale.multiplier, op.rescale.shift)
    return _clipped(op.rescale.zero + scaled, op.rescale.low, op.rescale.high)


@_apply.register
def _add(op: Add, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001 - the signature of all rules
    a, b = (x.astype(np.int64) for x in operands)
    total = a * op.factors[0] + b * op.factors[1] + op.offset
    return _clipped(total >> op.shift, op.low, op.high)


@_apply.register
def _multiply(op: Multiply, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    a, b = (x.astype(np.int64) for x in operands)
    return _rescaled((a - op.zero_a) * (b - op.zero_b), op.rescale)


@_apply.register
def _table(op: Table, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    looked_up: Integers = op.table[operands[0]]
    return looked_up


@_apply.register
def _lines(op: Lines, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    return _clipped(op.lines(operands[0]), op.low, op.high)


@_apply.register
def _max_pool(op: MaxPool, operands: list[Integers], shape: Shape) -> Integers:
    most: Integers = _windows(operands[0], op.window, shape[1:3], 0).max(axis=3)
    return most


@_apply.register
def _average_pool(op: AveragePool, operands: list[Integers], shape: Shape) -> Integers:
    x = operands[0].astype(np.int64) - op.zero_x
    sums = _windows(x, op.window, shape[1:3], 0).sum(axis=3)
    inside = _windows(np.ones((1, *x.shape[1:3], 1), np.int64), op.window, shape[1:3], 0).sum(axis=3)
    count = np.full_like(inside, len(op.rescale.shift) - 1) if op.counts_padding else inside
    scaled = requantize(sums, op.rescale.multiplier[count], op.rescale.shift[count])
    return _clipped(op.rescale.zero + scaled, op.rescale.low, op.rescale.high)


@_apply.register
def _lstm(op: Lstm, operands: list[Integers], shape: Shape) -> Integers:
    table, batch, units = recurrent.knots(), shape[1], shape[2]
    given = _gates(op.from_x, operands[0])
    h, cell = np.full((batch, units), op.zero_h, np.uint8), np.zeros((batch, units), np.int16)
    result = np.zeros(shape, np.uint8)
    for t in range(shape[0]):
        gates = recurrent.saturated(given[t].astype(np.int64) + _gates(op.from_h, h))
        value, cell = recurrent.step(gates.reshape(batch, recurrent.GATES, units), cell, table)
        h = _state_bytes(op, value)
        result[t] = h
    return result


def _gates(gates: Gates, x: Integers) -> Integers:
    """x: uint8 [..., depth]. Returns int16 [..., n * units], of n gates."""
    sums = x.astype(np.int32) @ gates.weight.astype(np.int32).T + gates.bias
    return recurrent.saturated(requantize(sums, gates.multiplier, gates.shift))


@_apply.register
def _gru(op: Gru, operands: list[Integers], shape: Shape) -> Integers:
    table, given = recurrent.knots(), _gates(op.from_x, operands[0])
    split = (shape[1], gated.GATES, shape[2])
    byte, state = np.full(shape[1:], op.zero_h, np.uint8), np.zeros(shape[1:], np.int16)
    result = np.zeros(shape, np.uint8)
    for t in range(shape[0]):
        of_x, of_h = given[t].reshape(split).astype(np.int64), _gates(op.from_h, byte).reshape(split)
        update, reset = (recurrent.saturated(of_x[:, i] + of_h[:, i]) for i in range(2))
        if op.resets_behind:
            fresh = gated.reset(reset, of_h[:, 2].astype(np.int64), table)
        else:
            kept = _state_bytes(op, gated.reset(reset, state.astype(np.int64), table))
            fresh = _gates(op.from_h, kept).reshape(split)[:, 2].astype(np.int64)
        state = gated.step(update, recurrent.saturated(of_x[:, 2] + fresh), state, table)
        byte = _state_bytes(op, state.astype(np.int64))
        result[t] = byte
    return result


def _state_bytes(op: Lstm | Gru, state: Integers) -> Integers:
    return _clipped((state * op.factor + op.offset) >> op.places, 0, 255).astype(np.uint8)


@_apply.register
def _product(op: Product, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    a, b = (x.astype(np.int64) for x in operands)
    return _rescaled((a - op.zero_a) @ (b - op.zero_b), op.rescale)


@_apply.register
def _softmax(op: Softmax, operands: list[Integers], shape: Shape) -> Integers:
    rescale = op.rescale
    shares = softmax.softmax(
        operands[0].reshape(-1, shape[-1]), op.powers, int(rescale.multiplier[0]), int(rescale.shift[0])
    )
    return _clipped(rescale.zero + shares, rescale.low, rescale.high)


@_apply.register
def _normalization(op: Normalization, operands: list[Integers], shape: Shape) -> Integers:
    rows = operands[0].reshape(-1, shape[-1])
    values = normalize.normalized(
        rows, op.zero_x, op.is_centred, op.epsilon, op.multiplier, op.bias, op.result_bits
    )  # fmt: skip
    return _clipped(values, op.low, op.high)


@_apply.register
def _embedding(op: Embedding, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    rows: Integers = op.table[operands[0]]
    return rows


@_apply.register
def _transpose(op: Transpose, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    return operands[0].transpose(op.order)


@_apply.register
def _reshape(op: Reshape, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    return operands[0].reshape(shape)


@_apply.register
def _concatenate(op: Concatenate, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    return np.concatenate(operands, op.axis)


@_apply.register
def _slice(op: Slice, operands: list[Integers], shape: Shape) -> Integers:
    picked = [start + step * np.arange(n) for start, step, n in zip(op.starts, op.steps, shape, strict=True)]
    return operands[0][np.ix_(*picked)]


@_apply.register
def _pad(op: Pad, operands: list[Integers], shape: Shape) -> Integers:
    x = operands[0]
    padded = np.full(shape, op.fill, x.dtype)
    steps = op.steps or (1,) * x.ndim
    padded[tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(op.before, x.shape, steps, strict=True))] = x
    return padded


@_apply.register
def _pick(op: Pick, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    rows: Integers = operands[0].reshape(-1, op.width)[op.rows]
    return rows


@_apply.register
def _expand(op: Expand, operands: list[Integers], shape: Shape) -> Integers:  # noqa: ARG001
    return np.broadcast_to(operands[0], shape)


def _windows(x: Integers, window: Window, size: tuple[int, ...], fill: int) -> Integers:
    """x: [n, h, w, c]. Returns [n, *size, kernel_h * kernel_w, c], with `fill` in the padding."""
    rows, row_inside = _positions(window, 0, size[0], x.shape[1])
    columns, column_inside = _positions(window, 1, size[1], x.shape[2])
    taps = []
    for i, j in product(range(window.kernel[0]), range(window.kernel[1])):
        inside = row_inside[i][:, None] & column_inside[j][None, :]
        tap = x[:, rows[i][:, None], columns[j][None, :], :]
        taps.append(np.where(inside[None, :, :, None], tap, x.dtype.type(fill)))
    return np.stack(taps, axis=3)


def _positions(window: Window, axis: int, size: int, length: int) -> tuple[Integers, np.ndarray]:
    """[kernel, size]: source positions, clipped to the image, and whether they are inside of it."""
    at = np.arange(size)[None, :] * window.stride[axis] - window.pad[axis]
    at = at + np.arange(window.kernel[axis])[:, None] * window.dilation[axis]
    return at.clip(0, length - 1), (at >= 0) & (at < length)
