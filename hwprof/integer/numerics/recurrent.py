"""The integer LSTM cell: gates of 16 bits, cell states of 16 bits, a piecewise-linear tanh.

iRNN (Sari, Courville & Partovi Nia, arXiv 2109.09828) computes recurrent networks so; here with knots at even
distances, whose index is a shift, where the paper places them by need. Points are fixed: gates have 12 bits behind
it, cell states 11, the values of tanh and sigmoid 15. The LSTM is that of ONNX, without peepholes.
"""

from __future__ import annotations

import numpy as np

from hwprof.integer.numerics.fixed_point import Integers, require_integers

SEGMENTS = 64  # of tanh on [0, 4)
GATE_BITS, CELL_BITS, VALUE_BITS = 12, 11, 15
UNITS = 32  # whose gates lie together in memory
GATES = 4  # input, output, forget, cell: ONNX's order
_END = 4.0
_SAMPLES = 32  # of each segment
_HALF = 1 << (VALUE_BITS - 1)


def knots() -> Integers:
    """int16 [2, SEGMENTS]: the value at the beginning of each segment, and what it grows by in it.

    Not the function's own values there, between which its chords lie below it, but those of the least squared error.
    """
    x = (np.arange(_SAMPLES * SEGMENTS) + 0.5) / _SAMPLES  # in segments
    hats = np.maximum(0.0, 1.0 - np.abs(x[:, None] - np.arange(1, SEGMENTS + 1)))  # the function is odd: 0 at 0
    fitted, *_ = np.linalg.lstsq(hats, np.tanh(x * _END / SEGMENTS), rcond=None)
    values = np.rint(np.array([0.0, *fitted]) * (1 << VALUE_BITS)).astype(np.int64)
    table: np.ndarray = np.stack([values[:-1], np.diff(values)]).astype(np.int16)
    return table


def tanh(x: Integers, bits: int, table: Integers) -> Integers:
    """Of x with `bits` behind the point; int64 with VALUE_BITS behind the point."""
    places = bits - (SEGMENTS.bit_length() - 1) + 2  # a segment is 4 / 64 wide
    at = np.minimum(np.abs(x.astype(np.int64)), (SEGMENTS << places) - 1)
    share, segment = (at & ((1 << places) - 1)) << (VALUE_BITS - places), at >> places
    value = table[0].astype(np.int64)[segment] + _half_up(table[1].astype(np.int64)[segment], share)
    signed: Integers = np.where(x < 0, -value, value)
    return signed


def sigmoid(x: Integers, bits: int, table: Integers) -> Integers:
    """(1 + tanh(x / 2)) / 2."""
    return (tanh(x, bits + 1, table) >> 1) + _HALF


def step(gates: Integers, cell: Integers, table: Integers) -> tuple[Integers, Integers]:
    """gates: int16 [..., GATES, n]; cell: int16 [..., n]. Returns h, with VALUE_BITS, and the new cell state."""
    require_integers(gates, cell, table)
    in_, out, forget = (sigmoid(gates[..., i, :], GATE_BITS, table) for i in range(3))
    fresh = _half_up(in_, tanh(gates[..., 3, :], GATE_BITS, table))
    rounded = (fresh + (1 << (VALUE_BITS - CELL_BITS - 1))) >> (VALUE_BITS - CELL_BITS)
    state = saturated(_half_up(forget, cell.astype(np.int64)) + rounded)
    return _half_up(out, tanh(state, CELL_BITS, table)), state


def saturated(x: Integers) -> Integers:
    """int16."""
    limited: Integers = np.clip(x, -(1 << 15), (1 << 15) - 1).astype(np.int16)
    return limited


def _half_up(a: Integers, b: Integers) -> Integers:
    product: Integers = (a * b + _HALF) >> VALUE_BITS
    return product
