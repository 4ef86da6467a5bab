"""Weights and constants in the order in which the kernels read them, which is the same for every instruction set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwprof.errors import InputError
from hwprof.integer.numerics.recurrent import GATES, UNITS
from hwprof.integer.program import weight_formats
from hwprof.integer.program.program import Convolution, Gates, WeightFormat
from hwprof.integer.program.weight_formats import PANEL, QUAD, is_depthwise

BLOCK = 64  # channels of a depthwise convolution that are stored together
_NO_SHIFT = 32  # shift of the columns that pad a panel
_SIGN = 128
_LIFT = 4  # bits by which the kernels raise the sums of gates
_INT4_FACTOR = 16  # by which the kernels raise the sums of int4


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """weight: int8, bias, multiplier, shift: int32, more: uint8, for some weight formats; all [n]."""

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    more: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))


def pack(op: Convolution, is_signed: bool) -> Packed:
    """The weights of a convolution. is_signed: the kernels multiply activations minus 128, which the bias corrects.

    Raises InputError where the weight does not fit the format that the operation asks for.
    """
    if not weight_formats.fits(op, op.weight_format):
        raise InputError(f"the weight of {op.name!r} does not fit the format {op.weight_format!r}")
    flat = _flat(op)
    bias = op.bias.astype(np.int64)
    if op.sign_at is not None:
        bias += flat.shape[1]  # the kernels count the signs that differ; each reduces the sum by two
    elif is_signed:
        bias += _SIGN * flat.sum(axis=1, dtype=np.int64)
    if op.weight_format == "int4":
        bias *= _INT4_FACTOR
    constants = (bias.astype(np.int32), op.rescale.multiplier, op.rescale.shift)
    if is_depthwise(op):
        return _depthwise(flat, *constants)
    return _panels(flat, op.groups, *constants, op.weight_format)


def _flat(op: Convolution) -> np.ndarray:
    """[out_channels, depth]. Each row of an int8 window is padded to whole quads."""
    lines = op.weight.reshape(*op.weight.shape[:2], -1)
    if op.weight_format == "int8" and not is_depthwise(op):
        lines = np.pad(lines, ((0, 0), (0, 0), (0, -lines.shape[2] % QUAD)))
    return lines.reshape(len(op.weight), -1)


def pack_gates(gates: Gates, is_signed: bool, count: int = GATES) -> Packed:
    """Every UNITS units have one panel for each of their `count` gates; missing units have gates of 0."""
    units = len(gates.weight) // count
    blocks = -(-units // UNITS)

    def ordered(values: np.ndarray, fill: int) -> np.ndarray:
        whole = np.full((count, blocks * UNITS, *values.shape[1:]), fill, values.dtype)
        whole[:, :units] = values.reshape(count, units, *values.shape[1:])
        split = whole.reshape(count, blocks, UNITS, *values.shape[1:])
        return np.moveaxis(split, 0, 1).reshape(-1, *values.shape[1:])

    bias = gates.bias.astype(np.int64) + (_SIGN * gates.weight.sum(axis=1, dtype=np.int64) if is_signed else 0)
    shift = (gates.shift + _LIFT).astype(np.int32)
    constants = ordered(bias.astype(np.int32), 0), ordered(gates.multiplier, 0), ordered(shift, _NO_SHIFT)
    return _panels(ordered(gates.weight, 0), 1, *constants)


def _panels(
    flat: np.ndarray, groups: int, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray,
    weight_format: WeightFormat = "int8",
) -> Packed:  # fmt: skip
    """flat: [groups * columns, depth]. An int8 weight becomes [groups][panels][quads][PANEL][QUAD]."""
    columns = len(flat) // groups
    panels = -(-columns // PANEL)

    def padded(values: np.ndarray, fill: int) -> np.ndarray:
        whole = np.full((groups, panels * PANEL), fill, np.int32)
        whole[:, :columns] = values.reshape(groups, columns)
        return whole.ravel()

    weight, more = weight_formats.stored(flat, groups, weight_format)
    return Packed(weight, padded(bias, 0), padded(multiplier, 0), padded(shift, _NO_SHIFT), more)


def _depthwise(flat: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> Packed:
    """flat: [channels, taps]. The weight becomes [blocks][quads of taps][4][4][4][QUAD]: channel 16 i + 4 q + e of a
    block is at [q][i][e], where unpacking four rows of a vector register puts it."""
    channels, taps = flat.shape
    blocks, quads = -(-channels // BLOCK), -(-taps // QUAD)
    weight = np.zeros((blocks * BLOCK, quads * QUAD), np.int8)
    weight[:channels, :taps] = flat
    ordered = weight.reshape(blocks, 4, 4, 4, quads, QUAD).transpose(0, 4, 2, 1, 3, 5)

    def placed(values: np.ndarray, fill: int) -> np.ndarray:
        whole = np.full(blocks * BLOCK, fill, np.int32)
        whole[:channels] = values
        return np.ascontiguousarray(whole.reshape(blocks, 4, 4, 4).transpose(0, 2, 1, 3)).ravel()

    return Packed(
        np.ascontiguousarray(ordered).ravel(), placed(bias, 0), placed(multiplier, 0), placed(shift, _NO_SHIFT)
    )
