"""The integer LayerNorm and RMSNorm: a 64-bit variance, an integer square root, one integer division for each row."""

from __future__ import annotations

import math

import numpy as np

from hwprof.backends.integer.fixed_point import Integers, require_integers

LONGEST_ROW = 16_384
ROOT_BITS = 8  # behind the point of the square root
VALUE_BITS = 14  # of a normalized value
BIAS_BITS = 16  # of the bias, in steps of the result
_INVERSE_BITS = 62
_FACTOR_BITS = 31


def normalized(
    x: Integers, zero: int, is_centred: bool, epsilon: int, multiplier: Integers, bias: Integers, places: int
) -> Integers:
    """x: uint8 [rows, n]; multiplier, bias: int32 [n]. Returns int64 [rows, n], rounded half up.

    The result is (z * multiplier + (bias << (places - BIAS_BITS))) >> places, z being the distance from the row's
    mean, or from `zero`, over its root mean square, with VALUE_BITS. epsilon is added to n^2 times the mean square.
    """
    require_integers(x, multiplier, bias)
    n, wide = x.shape[1], x.astype(np.int64)
    origin = wide.sum(axis=1, keepdims=True) if is_centred else np.full((len(x), 1), n * zero)
    around = 2 * wide.sum(axis=1, keepdims=True) * origin - origin * origin
    square = n * (wide * wide).sum(axis=1, keepdims=True) - around + epsilon
    rows = [_factor_and_shift(int(v)) for v in square.ravel()]
    factor, shift = (np.array(column, np.int64).reshape(-1, 1) for column in zip(*rows, strict=True))
    z = ((n * wide - origin) * factor + (np.int64(1) << (shift - 1))) >> shift
    offset = (bias.astype(np.int64) << (places - BIAS_BITS)) + (1 << (places - 1))
    result: np.ndarray = (z * multiplier.astype(np.int64) + offset) >> places
    return result


def _factor_and_shift(square: int) -> tuple[int, int]:
    """With which a distance is divided by the root of the square, VALUE_BITS being behind the point then."""
    root = math.isqrt(square << (2 * ROOT_BITS))
    inverse = (1 << _INVERSE_BITS) // max(root, 1)
    drop = inverse.bit_length() - _FACTOR_BITS
    return inverse >> drop, _INVERSE_BITS - ROOT_BITS - VALUE_BITS - drop
