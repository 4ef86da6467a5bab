"""Scales and zero points: which real numbers the integers of a quantized tensor represent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

SIGN = 128  # added to int8 values, which are held as uint8
HeldType: TypeAlias = Literal["uint8", "int16"]
LIMITS: dict[HeldType, tuple[int, int]] = {"uint8": (0, 255), "int16": (-(2**15), 2**15 - 1)}


@dataclass(frozen=True, slots=True)
class Grid:
    """real = scale * (held - zero), held in `LIMITS` of its type. `is_signed`: the network's own type is int8.

    16-bit integers have the zero point 0.
    """

    scale: float
    zero: int
    is_signed: bool = False
    dtype: HeldType = "uint8"

    @property
    def low(self) -> int:
        return LIMITS[self.dtype][0]

    @property
    def high(self) -> int:
        return LIMITS[self.dtype][1]

    def nearest(self, real: float) -> int:
        """The held integer nearest to the real number; infinities map to the ends."""
        return int(self.quantized(np.array([real]))[0])

    def quantized(self, real: np.ndarray) -> np.ndarray:
        """real: [...]. Returns integers of the grid's type, [...], rounded half to even as QuantizeLinear does."""
        with np.errstate(over="ignore"):  # an overflow is beyond an end, too
            steps = np.rint(real.astype(np.float32) / np.float32(self.scale))
        held: np.ndarray = np.clip(steps + np.float32(self.zero), self.low, self.high).astype(self.dtype)
        return held

    def reals(self) -> np.ndarray:
        """float32, [256] or [65536]: the real number that each held integer represents, from the lowest on."""
        held = np.arange(self.low, self.high + 1, dtype=np.float32)
        return (held - np.float32(self.zero)) * np.float32(self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A weight that a DequantizeLinear reads: integers, and scale and zero point per position of `axis`.

    scale, zero: [n], where n is 1 if `axis` is None. bits: width in the file; fewer than 8 are held in 8.
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    axis: int | None
    bits: int = 8

    def real(self) -> np.ndarray:
        """float64 [...], of the shape of `values`."""
        real: np.ndarray = (self.values.astype(np.float64) - self._along(self.zero)) * self._along(self.scale)
        return real

    def centered(self) -> np.ndarray:
        """int32 [...], of the shape of `values`: minus the zero point."""
        less: np.ndarray = self.values.astype(np.int32) - self._along(self.zero).astype(np.int32)
        return less

    def _along(self, of_axis: np.ndarray) -> np.ndarray:
        """[n] in the shape that broadcasts along the axis."""
        shape = [1] * self.values.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        return of_axis.reshape(shape) if self.values.ndim else of_axis.reshape(())

    def held(self) -> tuple[np.ndarray, Grid]:
        """The weight as an activation: uint8 [...] and its grid. Only for 8 bits and one scale."""
        is_signed = self.values.dtype == np.int8
        move = SIGN if is_signed else 0
        held = (self.values.astype(np.int16) + move).astype(np.uint8)
        return held, Grid(float(self.scale[0]), int(self.zero[0]) + move, is_signed)


def held_zero(zero: int, is_signed: bool) -> int:
    """The zero point of an 8-bit type in the held representation."""
    return zero + SIGN if is_signed else zero
