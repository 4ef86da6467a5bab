"""The float borders: quantizes a network's inputs and dequantizes its outputs, with NumPy."""

from __future__ import annotations

import numpy as np

from hwprof.errors import InputError
from hwprof.integer.numerics.fixed_point import Integers
from hwprof.integer.numerics.grid import LIMITS, SIGN
from hwprof.integer.program.program import Entry, Exit


def quantize(entry: Entry, array: np.ndarray) -> Integers:
    """array: of the entry's ONNX shape [...]. Returns uint8 or int16, as [batch, *spatial, channels] for an image, or
    int32 for indices.

    Raises InputError for an index that is outside of its table.
    """
    if entry.rows is not None:
        return _indices(entry, array, entry.rows)
    if entry.scale is None:
        quantized = array.astype(np.int16) + (SIGN if entry.is_signed else 0)
    else:
        # float32 throughout, as QuantizeLinear is defined
        steps = np.rint(array.astype(np.float32) / np.float32(entry.scale))
        quantized = np.clip(steps + np.float32(entry.zero), *LIMITS[entry.dtype])
    image = np.moveaxis(quantized, 1, -1) if entry.is_image else quantized
    return np.ascontiguousarray(image.astype(entry.dtype))


def _indices(entry: Entry, array: np.ndarray, rows: int) -> Integers:
    least, most = int(array.min(initial=0)), int(array.max(initial=0))
    if least < 0 or most >= rows:
        wrong = least if least < 0 else most
        raise InputError(f"input {entry.input!r} holds {wrong}; it takes integers from 0 to {rows - 1}")
    return np.ascontiguousarray(array, np.int32)


def dequantize(leaving: Exit, array: Integers) -> np.ndarray:
    """array: of the value's shape [...]. Returns the ONNX shape [...]: float32, or integers where there is no scale."""
    plain = np.moveaxis(array, -1, 1) if leaving.is_image else array
    if leaving.reals is not None:
        reals: np.ndarray = leaving.reals[plain.astype(np.int32) - LIMITS[leaving.dtype][0]]
        return reals
    if leaving.scale is not None:
        return (plain.astype(np.int32) - leaving.zero).astype(np.float32) * np.float32(leaving.scale)
    return (plain.astype(np.int16) - SIGN).astype(np.int8) if leaving.is_signed else plain.copy()
