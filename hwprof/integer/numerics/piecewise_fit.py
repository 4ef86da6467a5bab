"""Any float function of one 16-bit tensor as lines between adaptive knots, computed when a network is loaded."""

from __future__ import annotations

import numpy as np

from hwprof.integer.numerics import piecewise
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.numerics.piecewise import Knots, Piecewise

SEGMENTS = (1, 16, 64)  # tried in order until the error is below a step of the result
_ROUNDS = 8  # as many again would gain only a tenth
_LARGEST_ERROR = 0.01  # share of the result's range


def of_function(reals: np.ndarray, x: Grid, y: Grid) -> Piecewise | None:
    """reals: float32 [65536], the function of each integer on the grid x. None where lines do not fit it."""
    limited = np.clip(reals.astype(np.float64), (y.low - y.zero) * y.scale, (y.high - y.zero) * y.scale)
    points = x.reals().astype(np.float64)
    low, high = _inside(reals, limited)
    for segments in SEGMENTS:
        knots = piecewise.adaptive(
            lambda at: np.interp(at, points, limited), float(points[low]), float(points[high]), segments, _ROUNDS
        )
        lines = piecewise.in_integers(knots, x.scale, y.scale, y.zero)
        held = np.clip(lines(np.arange(x.low, x.high + 1)), y.low, y.high)
        off = np.abs((held - y.zero) * y.scale - limited).max()
        if off <= y.scale:
            return lines
    return lines if off <= _LARGEST_ERROR * np.ptp(limited) else None


def _inside(reals: np.ndarray, limited: np.ndarray) -> tuple[int, int]:
    """The first and the last index that need knots: beyond them the function has left the result's grid."""
    places = np.flatnonzero(np.abs(reals - limited) <= np.abs(limited) * np.finfo(np.float32).eps)
    first, last = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
    return (first, last) if first < last else (0, len(reals) - 1)


def of_rescaling(x: Grid, y: Grid) -> Piecewise:
    """One line from grid to grid; the operation's bounds clip to the ends of y."""
    ends = np.array([x.low, x.high]) * x.scale
    return piecewise.in_integers(Knots(ends, ends), x.scale, y.scale, y.zero)
