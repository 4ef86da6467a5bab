"""Weights and constants in the order in which the kernels read them, which is the same for every instruction set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hwprof.errors import InputError
from hwprof.integer.numerics.recurrent import GATES, UNITS
from hwprof.integer.program import weight_formats
from hwprof.integer.program.program import Convolution, Gates
from hwprof.integer.program.weight_formats import PANEL, QUAD, is_depthwise
from hwprof.integer.run import parts

BLOCK = 64  # channels of a depthwise convolution that are stored together
_NO_SHIFT = parts.SMALLEST_SHIFT  # of the columns that pad a panel
_SIGN = 128
_COLUMN_TAPS = 3  # of a depthwise window whose taps the kernels want by columns
_LIFT = 4  # bits by which the kernels raise the sums of gates
_INT4_FACTOR = 16  # by which the kernels raise the sums of int4


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How kernels multiply. is_signed: activations minus 128, which the bias corrects. sums_parts: in 16 bits where
    weights are divided for it (`hwprof.integer.run.parts`), and there with unchanged activations."""

    is_signed: bool
    sums_parts: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """weight: int8, bias, multiplier, shift: int32, more: uint8, for some weight formats; all [n]. is_divided: in the
    kernels' format kParts."""

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    more: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    is_divided: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """weight: int8 [rows, depth]; bias: int64, multiplier, shift: int32 [rows]. lines: of the window, which divide the
    depth evenly."""

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    lines: int = 1

    def signed(self, where: np.ndarray | bool = True) -> _Rows:
        """With the bias of activations that are 128 less in the rows `where`, bool [rows]."""
        return replace(self, bias=self.bias + _SIGN * self.weight.sum(axis=1, dtype=np.int64) * where)


def pack(op: Convolution, arithmetic: Arithmetic) -> Packed:
    """The weights of a convolution. Raises InputError where they do not fit the format that the operation asks for."""
    if not weight_formats.fits(op, op.weight_format):
        raise InputError(f"the weight of {op.name!r} does not fit the format {op.weight_format!r}")
    rows = _Rows(_flat(op), op.bias.astype(np.int64), op.rescale.multiplier, op.rescale.shift, op.weight.shape[1])
    if is_depthwise(op):
        return _depthwise(rows, arithmetic)
    if op.weight_format == "int8":
        return _panels(rows, op.groups, arithmetic)
    if op.sign_at is not None:  # the kernels count the signs that differ; each reduces the sum by two
        rows = replace(rows, bias=rows.bias + rows.weight.shape[1])
    elif arithmetic.is_signed:
        rows = rows.signed()
    if op.weight_format == "int4":
        rows = replace(rows, bias=rows.bias * _INT4_FACTOR)
    weight, more = weight_formats.stored(rows.weight, op.groups, op.weight_format)
    return Packed(weight, *_constants(rows, op.groups), more)


def _flat(op: Convolution) -> np.ndarray:
    """[out_channels, depth]. Each row of an int8 window is padded to whole quads."""
    lines = op.weight.reshape(*op.weight.shape[:2], -1)
    if op.weight_format == "int8" and not is_depthwise(op):
        lines = np.pad(lines, ((0, 0), (0, 0), (0, -lines.shape[2] % QUAD)))
    return lines.reshape(len(op.weight), -1)


def pack_gates(gates: Gates, arithmetic: Arithmetic, count: int = GATES) -> Packed:
    """Every UNITS units have one panel for each of their `count` gates; missing units have gates of 0."""
    units = len(gates.weight) // count
    blocks = -(-units // UNITS)

    def ordered(values: np.ndarray, fill: int) -> np.ndarray:
        whole = np.full((count, blocks * UNITS, *values.shape[1:]), fill, values.dtype)
        whole[:, :units] = values.reshape(count, units, *values.shape[1:])
        split = whole.reshape(count, blocks, UNITS, *values.shape[1:])
        return np.moveaxis(split, 0, 1).reshape(-1, *values.shape[1:])

    shift = ordered((gates.shift + _LIFT).astype(np.int32), _NO_SHIFT)
    bias = ordered(gates.bias.astype(np.int64), 0)
    rows = _Rows(ordered(gates.weight, 0), bias, ordered(gates.multiplier, 0), shift)
    return _panels(rows, 1, arithmetic)


def _panels(rows: _Rows, groups: int, arithmetic: Arithmetic) -> Packed:
    """rows: groups * columns of them. The weight becomes [groups][panels][quads][PANEL][QUAD]."""
    if not arithmetic.sums_parts:
        weight, _ = weight_formats.stored(rows.weight, groups, "int8")
        return Packed(weight, *_constants(rows.signed() if arithmetic.is_signed else rows, groups))
    weight = weight_formats.quads(rows.weight, groups)
    divided = parts.divided(weight.reshape(len(weight), rows.lines, -1, PANEL, QUAD), _by_column(rows.shift, groups))
    is_exact = divided.modes == parts.EXACT
    if arithmetic.is_signed and is_exact.any():
        columns = np.repeat(is_exact, PANEL).reshape(groups, -1)
        rows = rows.signed(columns[:, : len(rows.weight) // groups].ravel())
    return Packed(divided.weight, *_constants(rows, groups), divided.table.view(np.uint8), is_divided=True)


def _constants(rows: _Rows, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bias, multiplier and shift of each column, int32 [n]."""
    bias = _by_column(rows.bias.astype(np.int32), groups, 0).ravel()
    return bias, _by_column(rows.multiplier, groups, 0).ravel(), _by_column(rows.shift, groups).ravel()


def _by_column(values: np.ndarray, groups: int, fill: int = _NO_SHIFT) -> np.ndarray:
    """values: int32 [groups * columns]. Returns int32 [panels, PANEL], with columns that pad the panels of a group."""
    columns = len(values) // groups
    whole = np.full((groups, -(-columns // PANEL) * PANEL), fill, np.int32)
    whole[:, :columns] = values.reshape(groups, columns)
    return whole.reshape(-1, PANEL)


def _depthwise(rows: _Rows, arithmetic: Arithmetic) -> Packed:
    """rows: of channels and their taps. The weight becomes [blocks][quads of taps][4][4][4][QUAD]: channel
    16 i + 4 q + e of a block is at [q][i][e], where unpacking four rows of a vector register puts it."""
    taps = _in_quads(rows)
    channels, quads = taps.shape[:2]
    blocks = -(-channels // BLOCK)
    weight = np.zeros((blocks * BLOCK, quads, QUAD), np.int8)
    weight[:channels] = taps
    ordered = weight.reshape(blocks, 4, 4, 4, quads, QUAD).transpose(0, 4, 2, 1, 3, 5)
    modes = np.full(blocks, parts.EXACT, np.int32)
    if arithmetic.sums_parts:
        shift = _by_block(rows.shift, _NO_SHIFT)
        for i in range(blocks):
            if (shift[i] >= parts.SMALLEST_SHIFT).all() and parts.are_summed_singly(ordered[i]):
                modes[i] = parts.SINGLY
    if arithmetic.is_signed:
        rows = rows.signed(np.repeat(modes == parts.EXACT, BLOCK)[:channels])

    def placed(values: np.ndarray, fill: int) -> np.ndarray:
        in_blocks = _by_block(values, fill).reshape(blocks, 4, 4, 4)
        return np.ascontiguousarray(in_blocks.transpose(0, 2, 1, 3)).ravel()

    constants = placed(rows.bias.astype(np.int32), 0), placed(rows.multiplier, 0), placed(rows.shift, _NO_SHIFT)
    packed = Packed(np.ascontiguousarray(ordered).ravel(), *constants)
    return replace(packed, more=modes.view(np.uint8), is_divided=True) if arithmetic.sums_parts else packed


def _in_quads(rows: _Rows) -> np.ndarray:
    """int8 [channels, quads, QUAD]: the taps in sequence, or, of a window of 3 x 3, each of its columns and a 0."""
    channels, taps = rows.weight.shape
    window = rows.weight.reshape(channels, rows.lines, -1)
    if window.shape[1:] == (_COLUMN_TAPS, _COLUMN_TAPS):
        return np.pad(window.swapaxes(1, 2), ((0, 0), (0, 0), (0, QUAD - _COLUMN_TAPS)))
    return np.pad(rows.weight, ((0, 0), (0, -taps % QUAD))).reshape(channels, -1, QUAD)


def _by_block(values: np.ndarray, fill: int) -> np.ndarray:
    """values: int32 [channels]. Returns int32 [blocks, BLOCK]."""
    whole = np.full(-(-len(values) // BLOCK) * BLOCK, fill, np.int32)
    whole[: len(values)] = values
    return whole.reshape(-1, BLOCK)
