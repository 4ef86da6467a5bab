"""Keeps equal arrays once: an unrolled loop uses each of its weights at every step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np


class Shared:
    """Stored arrays, in which the first one replaces all that are equal to it in type, shape and values."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, tuple[int, ...], bytes], np.ndarray] = {}

    def keep(self, array: np.ndarray, placed: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
        """The array [...] as `placed` stores it, or the equal one that is stored already; contiguous.

        Callers must not write to it.
        """
        dense = np.ascontiguousarray(array)
        key = dense.dtype.str, dense.shape, hashlib.blake2b(dense.data).digest()
        if key not in self._arrays:
            self._arrays[key] = placed(dense)
        return self._arrays[key]

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())
