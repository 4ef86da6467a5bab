"""The integer LayerNorm and RMSNorm: a 64-bit variance, an integer square root, one integer division for each row."""

from __future__ import annotations

import math

import numpy as np

from hwprof.integer.numerics.fixed_point import Integers, require_integers

LONGEST_ROW = 16_384  # so that no value is farther from the mean than 128 deviations
ROOT_BITS = 8  # fractional bits of the square root, or as many as 62 bits leave
VALUE_BITS = 21  # fractional bits of a normalized value
RESULT_BITS = 10  # fractional bits of the result and the bias, in steps of an 8-bit grid
WIDE_RESULT_BITS = 2  # the same, in steps of a 16-bit grid
_INVERSE_BITS = 62
_FACTOR_BITS = 31


def normalized(
    x: Integers, zero: int, is_centred: bool, epsilon: int, multiplier: Integers, bias: Integers,
    result_bits: int = RESULT_BITS,
) -> Integers:  # fmt: skip
    """x: uint8 or int16 [rows, n]; multiplier with `gain_bits`, bias with `result_bits` fractional bits: int32 [n].
    Returns int64 [rows, n], rounded half up.

    That is z * multiplier + bias, where z is the distance from the row's mean, or from `zero`, over its root mean
    square. epsilon is added to n^2 times the mean square. Products are rounded to their upper 32 bits.
    """
    require_integers(x, multiplier, bias)
    n, wide = x.shape[1], x.astype(np.int64)
    origin = wide.sum(axis=1, keepdims=True) if is_centred else np.full((len(x), 1), n * zero)
    around = 2 * wide.sum(axis=1, keepdims=True) * origin - origin * origin
    square = n * (wide * wide).sum(axis=1, keepdims=True) - around + epsilon
    rows = [_factor_and_lift(int(v)) for v in square.ravel()]
    factor, lift = (np.array(column, np.int64).reshape(-1, 1) for column in zip(*rows, strict=True))
    lifted = ((n * wide - origin) << np.maximum(lift, 0)) >> np.maximum(-lift, 0)
    scaled = _upper_half(_upper_half(lifted, factor), multiplier)
    result: np.ndarray = (scaled + bias + (1 << (result_bits - 1))) >> result_bits
    return result


def gain_bits(result_bits: int) -> int:
    """Fractional bits of a multiplier, in steps of the result's grid."""
    return 32 + result_bits - VALUE_BITS


def _upper_half(a: Integers, b: Integers) -> Integers:
    half: np.ndarray = (a * b + (1 << 31)) >> 32
    return half


def _factor_and_lift(square: int) -> tuple[int, int]:
    """The factor whose product's upper half has VALUE_BITS, and how many bits a distance is shifted left before."""
    root_bits = min(ROOT_BITS, (_INVERSE_BITS - square.bit_length()) // 2)
    root = math.isqrt(square << (2 * root_bits))
    inverse = (1 << _INVERSE_BITS) // max(root, 1)
    drop = inverse.bit_length() - _FACTOR_BITS
    return inverse >> drop, 32 - (_INVERSE_BITS - root_bits - VALUE_BITS - drop)
