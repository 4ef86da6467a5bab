"""The integer softmax: powers from a table, and one integer division for each row.

exp(scale * (x - max)) has 256 arguments for 8-bit x, so a table holds it with no error but its rounding. The 2^x of a
few segments, as used for wider arguments, would be neither smaller nor more exact.
"""

from __future__ import annotations

import numpy as np

from hwprof.integer.numerics.fixed_point import Integers, require_integers

LONGEST_ROW = 65_535  # so that the powers sum up to less than 2^31
_ONE = (1 << 15) - 1  # the power of the largest element
_FACTOR_BITS = 16
_WORD_BITS = 31


def powers(scale: float) -> Integers:
    """uint16 [256]: exp(-scale * i), where 32767 represents 1."""
    table: np.ndarray = np.rint(_ONE * np.exp(-scale * np.arange(256.0))).astype(np.uint16)
    return table


def softmax(x: Integers, table: Integers, multiplier: int, shift: int) -> Integers:
    """x: uint8 [rows, n]; table: [256]. Returns int64 [rows, n]: shares of 1 in steps of 2^shift / multiplier, rounded
    half up.

    multiplier is in [2^30, 2^31), shift is at least 16. A row's factor has 16 bits.
    """
    require_integers(x, table)
    held = table.astype(np.int64)[x.max(axis=1, keepdims=True) - x]
    ratio = (np.int64(multiplier) << 31) // held.sum(axis=1, keepdims=True)
    drop = _bit_length(ratio) - _FACTOR_BITS
    places = 31 + shift - drop
    factor = (ratio >> drop) >> np.maximum(places - _WORD_BITS, 0)
    places = np.minimum(places, _WORD_BITS)
    shares: np.ndarray = (held * factor + (np.int64(1) << (places - 1))) >> places
    return shares


def _bit_length(x: Integers) -> Integers:
    """x: int64 [...], not negative."""
    length = np.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        above = (x >> (length + step)) > 0
        length = length + step * above
    return length + 1
