"""How the sums of products of 16-bit values are rescaled: they may need more than the 32 bits that others have."""

from __future__ import annotations

import numpy as np

from hwprof.integer.numerics.fixed_point import Integers, require_integers

LARGEST_SUM = 2**46  # so that the product with half a multiplier stays in 62 bits
_HALF_BITS = 15
SMALLEST_SHIFT = 16  # above the places that the two halves share


def scaled(sums: Integers, multiplier: Integers, shift: Integers) -> Integers:
    """sums: int64 [..., n], within LARGEST_SUM; multiplier, shift: int32 [n] or [1]. Returns int64 [..., n]: sums *
    multiplier / 2^shift, rounded half up.

    The multiplier, below 2^31, is applied in two parts of 16 and 15 bits, whose products fit into 64 bits; the lower
    one loses its fraction before they are added.
    """
    require_integers(sums, multiplier, shift)
    upper, lower = multiplier.astype(np.int64) >> _HALF_BITS, multiplier.astype(np.int64) & (2**_HALF_BITS - 1)
    product = sums * upper + ((sums * lower) >> _HALF_BITS)
    places = shift.astype(np.int64) - _HALF_BITS
    result: np.ndarray = (product + (np.int64(1) << (places - 1))) >> places
    return result
