"""Equal arrays kept once: a loop that is written out uses each of its weights at every step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np


class Shared:
    """Arrays that are kept, of which the first stands for all that are equal to it in type, shape and values."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, tuple[int, ...], bytes], np.ndarray] = {}

    def keep(self, array: np.ndarray, placed: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
        """The array as `placed` puts it, or the equal one that is kept already; contiguous, and nobody may write into
        it."""
        dense = np.ascontiguousarray(array)
        key = dense.dtype.str, dense.shape, hashlib.blake2b(dense.data).digest()
        if key not in self._arrays:
            self._arrays[key] = placed(dense)
        return self._arrays[key]

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())
