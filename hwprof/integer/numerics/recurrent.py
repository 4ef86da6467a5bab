"""The integer LSTM cell: 16-bit gates, 16-bit cell states, a piecewise-linear tanh.

iRNN (Sari, Courville & Partovi Nia, arXiv 2109.09828) computes recurrent networks this way. The paper places knots
where the function bends; here they are at even distances, so that a shift finds the segment. Fractional bits are fixed:
12 for gates, 11 for cell states, 15 for the values of tanh and sigmoid. The LSTM is ONNX's, without peepholes.
"""

from __future__ import annotations

import numpy as np

from hwprof.integer.numerics.fixed_point import Integers, require_integers

SEGMENTS = 64  # of tanh on [0, 4)
GATE_BITS, CELL_BITS, VALUE_BITS = 12, 11, 15
UNITS = 32  # whose gates are stored together
GATES = 4  # input, output, forget, cell: ONNX's order
_END = 4.0
_SAMPLES = 32  # per segment
_HALF = 1 << (VALUE_BITS - 1)


def knots() -> Integers:
    """int16 [2, SEGMENTS]: the value at the start of each segment, and its increase over the segment.

    These are not the function's own values, whose chords are below the function, but the least-squares ones.
    """
    x = (np.arange(_SAMPLES * SEGMENTS) + 0.5) / _SAMPLES  # in segments
    hats = np.maximum(0.0, 1.0 - np.abs(x[:, None] - np.arange(1, SEGMENTS + 1)))  # the function is odd: 0 at 0
    fitted, *_ = np.linalg.lstsq(hats, np.tanh(x * _END / SEGMENTS), rcond=None)
    values = np.rint(np.array([0.0, *fitted]) * (1 << VALUE_BITS)).astype(np.int64)
    table: np.ndarray = np.stack([values[:-1], np.diff(values)]).astype(np.int16)
    return table


def tanh(x: Integers, bits: int, table: Integers) -> Integers:
    """x: [...], with `bits` fractional bits. Returns int64 [...] with VALUE_BITS fractional bits."""
    places = bits - (SEGMENTS.bit_length() - 1) + 2  # a segment is 4 / 64 wide
    at = np.minimum(np.abs(x.astype(np.int64)), (SEGMENTS << places) - 1)
    share, segment = (at & ((1 << places) - 1)) << (VALUE_BITS - places), at >> places
    value = table[0].astype(np.int64)[segment] + _half_up(table[1].astype(np.int64)[segment], share)
    signed: Integers = np.where(x < 0, -value, value)
    return signed


def sigmoid(x: Integers, bits: int, table: Integers) -> Integers:
    """(1 + tanh(x / 2)) / 2; x and result [...] as in `tanh`."""
    return (tanh(x, bits + 1, table) >> 1) + _HALF


def step(gates: Integers, cell: Integers, table: Integers) -> tuple[Integers, Integers]:
    """gates: int16 [..., GATES, n]; cell: int16 [..., n]. Returns h, with VALUE_BITS fractional bits, and the new cell
    state."""
    require_integers(gates, cell, table)
    in_, out, forget = (sigmoid(gates[..., i, :], GATE_BITS, table) for i in range(3))
    fresh = _half_up(in_, tanh(gates[..., 3, :], GATE_BITS, table))
    rounded = (fresh + (1 << (VALUE_BITS - CELL_BITS - 1))) >> (VALUE_BITS - CELL_BITS)
    state = saturated(_half_up(forget, cell.astype(np.int64)) + rounded)
    return _half_up(out, tanh(state, CELL_BITS, table)), state


def saturated(x: Integers) -> Integers:
    """The values [...], clipped to int16."""
    limited: Integers = np.clip(x, -(1 << 15), (1 << 15) - 1).astype(np.int16)
    return limited


def _half_up(a: Integers, b: Integers) -> Integers:
    product: Integers = (a * b + _HALF) >> VALUE_BITS
    return product
