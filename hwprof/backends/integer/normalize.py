"""The integer LayerNorm and RMSNorm: a 64-bit variance, an integer square root, one integer division for each row."""

from __future__ import annotations

import math

import numpy as np

from hwprof.backends.integer.fixed_point import Integers, require_integers

LONGEST_ROW = 16_384  # in which no value is farther from the mean than 128 times the deviation
ROOT_BITS = 8  # behind the point of the square root
VALUE_BITS = 21  # of a normalized value
RESULT_BITS = 10  # of the result and the bias, in steps of its grid
GAIN_BITS = 32 + RESULT_BITS - VALUE_BITS  # of the multiplier, in steps of the result's grid
_INVERSE_BITS = 62
_FACTOR_BITS = 31


def normalized(
    x: Integers, zero: int, is_centred: bool, epsilon: int, multiplier: Integers, bias: Integers
) -> Integers:  # fmt: skip
    """x: uint8 [rows, n]; multiplier, with GAIN_BITS, and bias: int32 [n]. Returns int64 [rows, n], rounded half up.

    That is z * multiplier + bias, z being the distance from the row's mean, or from `zero`, over its root mean square.
    epsilon is added to n^2 times the mean square. Products are rounded to their upper 32 bits.
    """
    require_integers(x, multiplier, bias)
    n, wide = x.shape[1], x.astype(np.int64)
    origin = wide.sum(axis=1, keepdims=True) if is_centred else np.full((len(x), 1), n * zero)
    around = 2 * wide.sum(axis=1, keepdims=True) * origin - origin * origin
    square = n * (wide * wide).sum(axis=1, keepdims=True) - around + epsilon
    rows = [_factor_and_lift(int(v)) for v in square.ravel()]
    factor, lift = (np.array(column, np.int64).reshape(-1, 1) for column in zip(*rows, strict=True))
    scaled = _upper_half(_upper_half((n * wide - origin) << lift, factor), multiplier)
    result: np.ndarray = (scaled + bias + (1 << (RESULT_BITS - 1))) >> RESULT_BITS
    return result


def _upper_half(a: Integers, b: Integers) -> Integers:
    half: np.ndarray = (a * b + (1 << 31)) >> 32
    return half


def _factor_and_lift(square: int) -> tuple[int, int]:
    """By how many bits a distance is raised, and the factor whose product's upper half has VALUE_BITS then."""
    root = math.isqrt(square << (2 * ROOT_BITS))
    inverse = (1 << _INVERSE_BITS) // max(root, 1)
    drop = inverse.bit_length() - _FACTOR_BITS
    return inverse >> drop, 32 - (_INVERSE_BITS - ROOT_BITS - VALUE_BITS - drop)
