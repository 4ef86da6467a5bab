"""The staircase of latency over numeric attributes: forward takes the step, backward the secant of the step.

Latency jumps where a kernel needs another tile. Interpolating between grid points under-estimates it and
breaks budgets; the step's own slope (zero) teaches nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from hwprof.errors import InputError

# A sum of 32-bit gates that means 16 may be 16.00002: this share of a step still belongs to the grid point.
_SNAP = 1e-3


@dataclass(frozen=True, slots=True)
class NumericAttribute:
    """An attribute that a network can vary: channels, bits, rank, sparsity, groups.

    With a `granule` the steps end at its multiples, and a multiple that was not measured is a missing key; without one
    they end at the measured values. `rounds` is the direction that never under-estimates: "up" where latency grows with
    the attribute, "down" where it falls (sparsity, groups).
    """

    name: str
    granule: float | None = None
    rounds: Literal["up", "down"] = "up"


@dataclass(frozen=True, slots=True)
class Axis:
    """A numeric attribute with the values that a group of rows was measured at, ascending."""

    attribute: NumericAttribute
    points: tuple[float, ...]

    def grid_point(self, value: float) -> float:
        """The grid point whose latency `value` has. Raises InputError outside of the measured range."""
        name, rounds = self.attribute.name, self.attribute.rounds
        low, high = self.points[0], self.points[-1]
        below, above = self._reach()
        tolerance = _SNAP * self._smallest_step()
        if not below - tolerance <= value <= above + tolerance or not math.isfinite(value):
            raise InputError(f"{name}={value:g} is out of the table's range, {low:g} to {high:g}")
        if self.attribute.granule:
            return self._multiple(value)
        if rounds == "up":
            return self.points[min(bisect_left(self.points, value - tolerance), len(self.points) - 1)]
        return self.points[max(bisect_left(self.points, value + tolerance) - 1, 0)]

    def neighbour(self, point: float) -> float:
        """The grid point at the other end of the step that ends in `point`.

        Raises InputError when the axis has a single point: its slope is unknown, not zero.
        """
        if len(self.points) == 1:
            raise InputError(
                f"the table holds one value of {self.attribute.name}, {point:g}: "
                "the slope is unknown; measure a second one or pass a number instead of a tensor"
            )
        index = self.points.index(point)
        other = index - 1 if self.attribute.rounds == "up" else index + 1
        if not 0 <= other < len(self.points):  # the first step is not in the table: take the next one instead
            other = 2 * index - other
        return self.points[other]

    def _reach(self) -> tuple[float, float]:
        """Lowest and highest value that may round to a measured point."""
        granule = self.attribute.granule or 0.0
        low, high = self.points[0], self.points[-1]
        if self.attribute.rounds == "up":
            return low - granule, high
        return low, high + granule

    def _multiple(self, value: float) -> float:
        granule = self.attribute.granule or 1.0
        steps = value / granule
        point = (math.ceil(steps - _SNAP) if self.attribute.rounds == "up" else math.floor(steps + _SNAP)) * granule
        nearest = min(self.points, key=lambda p: abs(p - point))
        if abs(nearest - point) > _SNAP * granule:
            raise InputError(
                f"{self.attribute.name}={value:g} rounds to {point:g}, which was not measured; nearest: {nearest:g}"
            )
        return nearest

    def _smallest_step(self) -> float:
        return min((b - a for a, b in pairwise(self.points)), default=self.attribute.granule or 1.0)


@dataclass(frozen=True, slots=True)
class Staircase:
    """Rows of one operator that differ in numeric attributes only. `ms`: latency by a value for each axis."""

    title: str
    axes: tuple[Axis, ...]
    ms: Mapping[tuple[float, ...], float]

    def step_ms(self, values: Sequence[float]) -> float:
        """values: one per axis. The latency, ms, of the step that they are on. Raises InputError off the table."""
        return self._at(self._points(values))

    def secants(self, values: Sequence[float]) -> tuple[float, ...]:
        """values: one per axis. For each axis the slope of the step, ms per unit of the attribute, while the others
        keep their steps; nan where it is unknown: one value on the axis, or the other end of the step not measured.
        """
        points = self._points(values)
        return tuple(self._secant(points, i) for i in range(len(self.axes)))

    def evaluate(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """values: for each axis an array [...], broadcast together. Returns ms, [...]."""
        arrays = np.broadcast_arrays(*values) if values else [np.zeros(())]
        flat = [self.step_ms(v) for v in zip(*(a.ravel() for a in arrays), strict=True)] if values else [self.ms[()]]
        return np.asarray(flat, float).reshape(arrays[0].shape)

    def _points(self, values: Sequence[float]) -> tuple[float, ...]:
        try:
            return tuple(axis.grid_point(float(v)) for axis, v in zip(self.axes, values, strict=True))
        except InputError as error:
            raise InputError(f"{self.title}: {error}") from None

    def _at(self, points: tuple[float, ...]) -> float:
        try:
            return self.ms[points]
        except KeyError:
            names = ", ".join(f"{a.attribute.name}={p:g}" for a, p in zip(self.axes, points, strict=True))
            raise InputError(f"{self.title}: {names} was not measured") from None

    def _secant(self, points: tuple[float, ...], i: int) -> float:
        if len(self.axes[i].points) == 1:
            return math.nan
        other = self.axes[i].neighbour(points[i])
        moved = self.ms.get((*points[:i], other, *points[i + 1 :]), math.nan)
        return (self._at(points) - moved) / (points[i] - other)
