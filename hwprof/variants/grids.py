"""Scales and zero points from data: for activations a range that holds 0, for weights one scale for each row.

The integers are those that `hwprof.integer` wants: activations uint8, weights symmetric int8 in
[-127, 127] (Jacob et al., CVPR 2018, section 3, with rows as in Krishnamoorthi, arXiv 1806.08342).
"""

from __future__ import annotations

import math

import numpy as np

from hwprof.errors import InputError
from hwprof.integer.numerics.grid import Grid

_STEPS, _WIDE_STEPS = 255, 2**15 - 1
LARGEST_WEIGHT = 127  # of its integers
REDUCED_WEIGHT = 64  # two products of it and 255 fit into the 16 bits of a processor without VNNI
_LEAST_SCALE = float(np.finfo(np.float32).tiny)  # below it, float32 loses digits
_LEAST_SHARE = 2.0**-10  # of the largest row's scale: the scale of a row of zeros
_BIAS_STEPS = 2.0**26  # a bias takes at most as many: sums of 28 bits hold it and the products


def largest_weight(bits: int) -> int:
    """The largest integer of a weight of 8 bits, or of 7. Raises InputError for others."""
    if bits not in (7, 8):
        raise InputError(f"weights have 7 or 8 bits, not {bits}")
    return LARGEST_WEIGHT if bits == 8 else REDUCED_WEIGHT


def of_range(low: float, high: float) -> Grid:
    """The grid of 256 steps that holds low, high and 0. Raises InputError where low to high is not a finite range."""
    _require_range(low, high)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(float(np.float32((high - low) / _STEPS)), _LEAST_SCALE) if low < high else 1.0
    return Grid(scale, min(max(round(-low / scale), 0), _STEPS))


def of_wide_range(low: float, high: float) -> Grid:
    """The 16-bit grid around 0 that holds low and high. Raises InputError where low to high is not a finite range."""
    _require_range(low, high)
    scale = max(float(np.float32(max(-low, high) / _WIDE_STEPS)), _LEAST_SCALE) if low or high else 1.0
    return Grid(scale, 0, dtype="int16")


def _require_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"activations from {low} to {high} have no scale")


def weight_scales(
    rows: np.ndarray, bias: np.ndarray | None = None, x_scale: float = 1.0, largest: int = LARGEST_WEIGHT
) -> np.ndarray:
    """rows: [n, k]; bias: [n], added to the sums of products with an operand of scale `x_scale`; largest: integer.

    Returns float32 [n], above 0: rows of zeros, and rows whose bias is much larger than they are, get a coarser
    scale than their values need, on which the sum still fits. Raises InputError for values that are not finite.
    """
    if not np.isfinite(rows).all() or (bias is not None and not np.isfinite(bias).all()):
        raise InputError("a weight or bias that is not finite cannot be quantized")
    scale = np.abs(rows).max(axis=1, initial=0.0) / largest
    scale = np.maximum(scale, scale.max(initial=0.0) * _LEAST_SHARE)
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias) / (x_scale * _BIAS_STEPS))
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


def weight_integers(rows: np.ndarray, scales: np.ndarray, largest: int = LARGEST_WEIGHT) -> np.ndarray:
    """rows: [n, k]; scales: [n]. Returns int8 [n, k] in [-largest, largest], half to even."""
    steps = np.rint(rows.astype(np.float64) / scales.astype(np.float64)[:, None])
    limited: np.ndarray = np.clip(steps, -largest, largest).astype(np.int8)
    return limited
