"""Piecewise-linear functions with adaptive knots, evaluated with integers: tanh, sigmoid and exp as in iRNN.

Sari, Courville & Partovi Nia, arXiv 2109.09828, place knots where a function bends. A line over a segment of width w
errs by w^2 |f''| / 8, so knots whose density is proportional to the square root of |f''| share the error evenly (de
Boor, "A Practical Guide to Splines", chapter XII). Here an iteration starts from those knots and evens out the actual
errors of the segments. The values at the knots are shifted so that each segment errs by half as much as a line through
the function's own values.

2026-11-21, why `recurrent` keeps even knots. With as many segments, adaptive knots err a ninth on its range, but its 64
even ones already err by only a tenth of a step of the 8-bit state that a cell returns, and reports/integer-training
shows that a network computes no better with tanh itself. 16 adaptive knots would do as well, but even knots are found
by a shift, adaptive ones by a search in every kernel, and a table of 64 costs nothing. 8-bit unary activations need
neither: they are tables of 256 entries. 16-bit ones have adaptive knots (`lines`): a table of 256 entries finds the
segment for any function, and few segments are few bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwprof.errors import InputError
from hwprof.integer.numerics.fixed_point import Integers, require_integers

_SLOPE_BITS = 30  # of the steepest line's slope
Function = Callable[[np.ndarray], np.ndarray]
_SAMPLES = 8192  # points at which the function is evaluated while knots are placed
_INSIDE = 64  # points of a segment at which the error is measured
_ROUNDS = 60
_CAUTION = 0.25  # share of the correction made per round: all of it would overshoot
_FLOOR = 1e-3  # share of the mean density, so that straight parts get knots, too


@dataclass(frozen=True, slots=True, eq=False)
class Knots:
    """x: [n + 1], ascending; y: [n + 1], the values at the knots, joined by lines."""

    x: np.ndarray
    y: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x: [...], within the knots. Returns the interpolated values, [...]."""
        return np.asarray(np.interp(x, self.x, self.y))


@dataclass(frozen=True, slots=True, eq=False)
class Piecewise:
    """Lines on integers: (x * slopes[i] + offsets[i]) >> places, where i is the number of bounds that x has reached.

    bounds: int64 [n - 1], ascending; slopes, within int32, and offsets: int64 [n]. The offsets include the rounding.
    """

    bounds: Integers
    slopes: Integers
    offsets: Integers
    places: int

    def __call__(self, x: Integers) -> Integers:
        """x: [...]. Returns int64 [...]. Raises TypeError for floats."""
        require_integers(x, self.bounds, self.slopes, self.offsets)
        line = np.searchsorted(self.bounds, x, side="right")
        result: Integers = (x.astype(np.int64) * self.slopes[line] + self.offsets[line]) >> self.places
        return result


def even(function: Function, low: float, high: float, segments: int) -> Knots:
    """Knots on the function at even distances. Raises InputError as `adaptive` does."""
    _require(low, high, segments)
    x = np.linspace(low, high, segments + 1)
    return Knots(x, function(x))


def adaptive(function: Function, low: float, high: float, segments: int, rounds: int = _ROUNDS) -> Knots:
    """Knots whose largest error on [low, high] is nearly the smallest possible; more rounds bring it nearer.

    Raises InputError for an empty range, no segment, more segments than `_SAMPLES / 8`, or a function that is not
    finite on the range.
    """
    _require(low, high, segments)
    x = np.linspace(low, high, _SAMPLES + 1)
    y = function(x)
    if not np.isfinite(y).all():
        raise InputError(f"the function is not finite everywhere on [{low}, {high}]")
    bends = np.sqrt(np.abs(np.diff(y, 2)))
    density = np.concatenate([bends[:1], bends, bends[-1:]])
    density += _FLOOR * density.mean() or 1.0
    best, least = None, np.inf
    for _ in range(rounds):
        knots = _shifted(function, _of_density(x, density, segments))
        off = _errors(function, knots)
        if off.max() < least:
            best, least = knots, float(off.max())
        if not off.max() > 0:
            break
        segment = np.clip(np.searchsorted(knots.x, x, side="right") - 1, 0, segments - 1)
        density *= np.maximum(off / off.max(), _FLOOR)[segment] ** _CAUTION
    assert best is not None
    return best


def largest_error(function: Function, knots: Knots) -> float:
    """The largest absolute error between the knots."""
    return float(_errors(function, knots).max())


def in_integers(knots: Knots, x_scale: float, y_scale: float, zero: int = 0) -> Piecewise:
    """The same function from the grid of x to the grid of y, where `zero` represents 0; constant outside of the knots.

    Where several knots round to one integer, the first is kept. Raises InputError where all of them do.
    """
    starts, kept = np.unique(np.rint(knots.x / x_scale).astype(np.int64), return_index=True)
    if len(starts) < 2:
        raise InputError(f"steps of {x_scale:.3g} cannot tell the {len(knots.x)} knots apart")
    values = knots.y[kept] / y_scale + zero
    steep = np.concatenate([[0.0], np.diff(values) / np.diff(starts), [0.0]])
    places = _SLOPE_BITS - max(math.frexp(np.abs(steep).max())[1], 0)
    slopes = np.rint(np.ldexp(steep, places)).astype(np.int64)
    begin = np.concatenate([starts[:1], starts])
    ends = np.concatenate([values[:1], values])
    offsets = np.rint(np.ldexp(ends, places)).astype(np.int64) - begin * slopes + (1 << (places - 1))
    return Piecewise(starts, slopes, offsets, places)


def _require(low: float, high: float, segments: int) -> None:
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"[{low}, {high}] is not a range")
    if not 1 <= segments <= _SAMPLES // 8:
        raise InputError(f"a function must have 1 to {_SAMPLES // 8} segments, not {segments}")


def _of_density(x: np.ndarray, density: np.ndarray, segments: int) -> np.ndarray:
    """[segments + 1]: knots between which the density has equal integrals."""
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    knots: np.ndarray = np.interp(np.linspace(0.0, mass[-1], segments + 1), mass, x)
    knots[0], knots[-1] = x[0], x[-1]
    return knots


def _shifted(function: Function, x: np.ndarray) -> Knots:
    """Knots at x whose values halve the error: a line through the function's own values errs to one side only."""
    off = _differences(function, Knots(x, function(x)))
    middle = (off.max(axis=1) + off.min(axis=1)) / 2
    beside = np.concatenate([middle[:1], (middle[:-1] + middle[1:]) / 2, middle[-1:]])
    return Knots(x, function(x) + beside)


def _errors(function: Function, knots: Knots) -> np.ndarray:
    """[n]: the largest error of each segment."""
    return np.asarray(np.abs(_differences(function, knots)).max(axis=1))


def _differences(function: Function, knots: Knots) -> np.ndarray:
    """[n, _INSIDE + 1]: the function minus the lines."""
    share = np.linspace(0.0, 1.0, _INSIDE + 1)
    points = knots.x[:-1, None] + np.diff(knots.x)[:, None] * share
    lines = knots.y[:-1, None] + np.diff(knots.y)[:, None] * share
    return np.asarray(function(points) - lines)
