"""A real factor as an integer multiplier and a shift, and the one rounding with which the pair is applied.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 2.2; here with a 64-bit product and a single rounding, half up:

    requantized = (accumulator * multiplier + 2^(shift - 1)) >> shift
"""

from __future__ import annotations

import math

import numpy as np

from hwprof.errors import InputError

LARGEST_SUM = 2**31 - 1  # of an int32 accumulator
MULTIPLIER_BITS = 31  # a normalized multiplier is in [2^30, 2^31)
LARGEST_SHIFT = 54  # an 8-bit zero point, shifted left by it, plus a 62-bit product still fits into int64
Integers = np.ndarray  # of an integer type, which `require_integers` checks


def multiplier_and_shift(factor: float) -> tuple[int, int]:
    """The pair with multiplier / 2^shift nearest to the factor, which must be in [0, 2^30); 1 <= shift <=
    LARGEST_SHIFT.

    Factors below 2^-24 lose digits; their results are 0 or nearly 0. Raises InputError for another factor.
    """
    if not 0 <= factor < 2.0 ** (MULTIPLIER_BITS - 1):
        raise InputError(f"a factor of {factor} cannot be written as a multiplier and a shift")
    fraction, exponent = math.frexp(factor)
    shift = min(MULTIPLIER_BITS - exponent, LARGEST_SHIFT)
    multiplier = round(math.ldexp(fraction, exponent + shift))
    if multiplier == 1 << MULTIPLIER_BITS:
        multiplier, shift = multiplier >> 1, shift - 1
    return multiplier, shift


def multipliers_and_shifts(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """factors: [n]. Returns int32 [n] each. Raises as `multiplier_and_shift` does."""
    pairs = np.array([multiplier_and_shift(float(f)) for f in factors], np.int32).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def requantize(accumulator: Integers, multiplier: Integers | int, shift: Integers | int) -> Integers:
    """accumulator, multiplier, shift: of shapes [...] that broadcast. Returns int64 of the common shape."""
    product = accumulator.astype(np.int64) * np.asarray(multiplier, np.int64)
    places = np.asarray(shift, np.int64)
    return (product + (np.int64(1) << (places - 1))) >> places


def require_integers(*arrays: np.ndarray) -> None:
    """Checks arrays of any shape [...]. Raises TypeError for one whose type is not an integer type."""
    for array in arrays:
        if array.dtype.kind not in "iu":
            raise TypeError(f"an array of {array.dtype} in an integer-only network")
