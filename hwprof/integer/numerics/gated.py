"""The integer GRU cell: 16-bit gates, a 16-bit state, the tanh of `recurrent`.

The GRU is ONNX's. Gates have 12 fractional bits, the state and all functions 15.
"""

from __future__ import annotations

from hwprof.integer.numerics.fixed_point import Integers
from hwprof.integer.numerics.recurrent import GATE_BITS, VALUE_BITS, saturated, sigmoid, tanh

GATES = 3  # update, reset, fresh: ONNX's order
_HALF = 1 << (VALUE_BITS - 1)


def reset(gate: Integers, other: Integers, table: Integers) -> Integers:
    """`other` times the sigmoid of the reset gate. gate, other: [...]; returns int64 [...] with the places of
    `other`."""
    return _half_up(sigmoid(gate, GATE_BITS, table), other)


def step(update: Integers, fresh: Integers, state: Integers, table: Integers) -> Integers:
    """The new state from two gates and the old state. update, fresh, state: [...]; returns int16 [...]."""
    value = tanh(fresh, GATE_BITS, table)
    return saturated(value + _half_up(sigmoid(update, GATE_BITS, table), state - value))


def _half_up(a: Integers, b: Integers) -> Integers:
    product: Integers = (a * b + _HALF) >> VALUE_BITS
    return product
