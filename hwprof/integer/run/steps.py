"""The steps of the kernels' plan for a Program: one or two for each operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatchmethod
from typing import Any

import numpy as np

from hwprof.errors import InputError
from hwprof.integer.lowering.sharing import Shared
from hwprof.integer.numerics import gated, recurrent
from hwprof.integer.program.program import (
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    Embedding,
    Expand,
    Gru,
    Lines,
    Lstm,
    MaxPool,
    Multiply,
    Normalization,
    Operation,
    Pad,
    Pick,
    Product,
    Program,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Table,
    Transpose,
    WideConvolution,
    Window,
)
from hwprof.integer.program.weight_formats import FORMATS, PANEL, is_depthwise
from hwprof.integer.run import memory, moves, packing
from hwprof.integer.run.library import AXES, Step

KINDS = (
    "convolution", "depthwise", "add", "multiply", "table", "max_pool", "average_pool", "copy", "fill", "gates", "lstm",
    "product", "softmax", "normalization", "embedding", "gru", "lines", "wide_convolution",
)  # fmt: skip
_WIDE_X, _WIDE_X2, _WIDE_Y = 1, 2, 4  # flags of the field `wide`: which operands are int16
DIVIDED = len(FORMATS)  # kParts: not one of a program, but how kernels that need it are given int8
_BUCKET = 256  # consecutive 16-bit integers that share an entry in the table of first lines
_NO_BOUND = 2**31 - 1
_KIND = {name: number for number, name in enumerate(KINDS)}  # as kernels/plan.h numbers them


class Steps:
    """The plan of a program. `steps` point to memory that this object keeps; `names`: of their operations, one for each
    step; `ranges`: the steps of each operation.

    `constants`: weights, tables and other arrays that steps read but never write.
    """

    def __init__(self, program: Program, values: memory.Memory, arithmetic: packing.Arithmetic) -> None:
        self.steps: list[Step] = []
        self.names: list[str] = []
        self.ranges: list[tuple[Operation, range]] = []
        self._program = program
        self._values = values
        self._arithmetic = arithmetic
        self._kept: list[np.ndarray] = []
        self.constants = Shared()
        for operation in program.operations:
            begin = len(self.steps)
            self._add(operation)
            self.names += [operation.name] * (len(self.steps) - begin)
            if len(self.steps) > begin:
                self.ranges.append((operation, range(begin, len(self.steps))))

    def _append(self, kind: str, **fields: Any) -> None:
        self.steps.append(Step(kind=_KIND[kind], **{"high": 255, **fields}))

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._program.shape(name)

    def _operand(self, field: str, name: str) -> dict[str, int]:
        array = self._values.arrays[name]
        return {field: array.ctypes.data, f"{field}_bytes": array.nbytes}

    def _wide(self, x: str, y: str, x2: str = "") -> int:
        """Which of the values have 16 bits."""
        places = {_WIDE_X: x, _WIDE_X2: x2, _WIDE_Y: y}
        return sum(bit for bit, name in places.items() if name and self._is_wide(name))

    def _is_wide(self, name: str) -> bool:
        return self._program.values[name].dtype == "int16"

    def _pointer(self, array: np.ndarray, dtype: type) -> int:
        kept = self.constants.keep(np.asarray(array, dtype), memory.aligned_copy)
        return int(kept.ctypes.data)

    def _rescale(self, rescale: Rescale) -> dict[str, int]:
        return {
            "multiplier": self._pointer(rescale.multiplier, np.int32),
            "shift": self._pointer(rescale.shift, np.int32),
            "constants": len(rescale.shift),
            "zero_y": rescale.zero, "low": rescale.low, "high": rescale.high,
        }  # fmt: skip

    def _window(self, x: str, y: str, window: Window) -> dict[str, int]:
        """The sizes of both images, and the operands."""
        batch, height, width, channels = self._shape(x)
        _, out_height, out_width, out_channels = self._shape(y)
        return {
            "batch": batch, "height": height, "width": width, "channels": channels,
            "out_height": out_height, "out_width": out_width, "out_channels": out_channels, "groups": 1,
            "kernel_h": window.kernel[0], "kernel_w": window.kernel[1],
            "stride_h": window.stride[0], "stride_w": window.stride[1],
            "dilation_h": window.dilation[0], "dilation_w": window.dilation[1],
            "pad_top": window.pad[0], "pad_left": window.pad[1],
            **self._operand("x", x), **self._operand("y", y),
        }  # fmt: skip

    @singledispatchmethod
    def _add(self, op: Operation) -> None:
        raise InputError(f"the integer kernels do not support {op.name!r}")

    @_add.register
    def _(self, op: Reshape) -> None:
        """Nothing to do: input and output have the same bytes."""

    @_add.register
    def _(self, op: Convolution) -> None:
        self._append(
            "depthwise" if is_depthwise(op) else "convolution",
            **{**self._window(op.x, op.y, op.window), "groups": op.groups, "format": FORMATS.index(op.weight_format),
               **self._packed(packing.pack(op, self._arithmetic))},
            zero_x=op.zero_x, zero_y=op.rescale.zero, low=op.rescale.low, high=op.rescale.high,
            zero_x2=op.sign_at or 0,
        )  # fmt: skip

    @_add.register
    def _(self, op: WideConvolution) -> None:
        weight = op.weight.reshape(*op.weight.shape[:2], -1)  # the lines of a window
        self._append(
            "wide_convolution",
            **{**self._window(op.x, op.y, op.window), "groups": op.groups, **self._rescale(op.rescale)},
            weight=self._pointer(weight, np.int16), weight_bytes=2 * weight.size,
            table=self._pointer(op.bias, np.int64), wide=self._wide(op.x, op.y),
        )  # fmt: skip

    @_add.register
    def _(self, op: Add) -> None:
        self._append(
            "add", **self._zip(op), factor=op.factors[0], factor2=op.factors[1], from_offset=op.offset,
            places=op.shift, low=op.low, high=op.high,
        )  # fmt: skip

    @_add.register
    def _(self, op: Multiply) -> None:
        self._append(
            "multiply", **self._zip(op), **self._rescale(op.rescale), zero_x=op.zero_a, zero_x2=op.zero_b
        )  # fmt: skip

    def _zip(self, op: Add | Multiply) -> dict[str, Any]:
        extents, strides = moves.broadcast_strides(op.name, self._shape(op.a), self._shape(op.b))
        return {
            **self._operand("x", op.a), **self._operand("x2", op.b), **self._operand("y", op.y),
            "extent": (*extents, *(1,) * (AXES - 3)), "from_": (*strides, *(0,) * (AXES - 3)),
            "wide": self._wide(op.a, op.y, op.b),
        }  # fmt: skip

    @_add.register
    def _(self, op: Table) -> None:
        extent = (math.prod(self._shape(op.x)),)
        table = self._pointer(op.table, op.table.dtype.type)
        self._append(
            "table", **self._operand("x", op.x), **self._operand("y", op.y), extent=extent, table=table,
            wide=self._wide(op.x, op.y),
        )  # fmt: skip

    @_add.register
    def _(self, op: Lines) -> None:
        bounds = np.append(op.lines.bounds, _NO_BOUND)
        starts = np.arange(-(2**15), 2**15, _BUCKET)
        first, last = (np.searchsorted(op.lines.bounds, at, side="right") for at in (starts, starts + _BUCKET - 1))
        self._append(
            "lines", **self._operand("x", op.x), **self._operand("y", op.y), extent=(math.prod(self._shape(op.x)),),
            bias=self._pointer(bounds, np.int32), multiplier=self._pointer(op.lines.slopes, np.int32),
            constants=len(bounds), weight=self._pointer(op.lines.offsets, np.int64), weight_bytes=8 * len(bounds),
            table=self._pointer(first, np.int32), channels=int((last - first).max()), places=op.lines.places,
            low=op.low, high=op.high, wide=self._wide(op.x, op.y),
        )  # fmt: skip

    @_add.register
    def _(self, op: MaxPool) -> None:
        self._append("max_pool", **self._window(op.x, op.y, op.window))

    @_add.register
    def _(self, op: AveragePool) -> None:
        self._append(
            "average_pool", **self._window(op.x, op.y, op.window), **self._rescale(op.rescale), zero_x=op.zero_x,
            counts_padding=op.counts_padding,
        )  # fmt: skip

    @_add.register
    def _(self, op: Lstm) -> None:
        self._recurrence("lstm", op, recurrent.GATES)

    @_add.register
    def _(self, op: Gru) -> None:
        self._recurrence("gru", op, gated.GATES, resets_behind=op.resets_behind)

    def _recurrence(self, kind: str, op: Lstm | Gru, gates: int, **more: int) -> None:
        """Two steps: the contributions of all inputs to the gates, and the recurrence."""
        steps, batch, depth = self._shape(op.x)
        packed = packing.pack_gates(op.from_x, self._arithmetic, gates)
        given = memory.aligned(steps * batch * len(packed.shift) * np.dtype(np.int16).itemsize)
        self._kept.append(given)
        self._append(
            "gates", **self._operand("x", op.x), **self._packed(packed), batch=1, height=steps * batch, width=1,
            channels=depth, out_height=steps * batch, out_width=1, out_channels=len(packed.shift), kernel_h=1,
            kernel_w=1, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, groups=1, zero_x=op.zero_x,
            y=given.ctypes.data, y_bytes=given.nbytes,
        )  # fmt: skip
        self._append(
            kind, **self._operand("y", op.y), **self._packed(packing.pack_gates(op.from_h, self._arithmetic, gates)),
            batch=batch, height=steps, channels=self._shape(op.y)[2], zero_x=op.zero_h, factor=op.factor,
            offset=op.offset, places=op.places, x=given.ctypes.data, x_bytes=given.nbytes,
            table=self._pointer(recurrent.knots(), np.int16), **more,
        )  # fmt: skip

    @_add.register
    def _(self, op: Product) -> None:
        a, b, y = (self._shape(name) for name in (op.a, op.b, op.y))
        batch, from_a, from_b = _batch_strides(op.name, a, b, y[:-2])
        rows, columns = y[-2:]
        whole = Rescale(
            np.repeat(op.rescale.multiplier, PANEL), np.repeat(op.rescale.shift, PANEL),
            op.rescale.zero, op.rescale.low, op.rescale.high,
        )  # fmt: skip
        self._append(
            "product", **self._operand("x", op.a), **self._operand("x2", op.b), **self._operand("y", op.y),
            **self._rescale(whole), zero_x=op.zero_a, zero_x2=op.zero_b, height=rows, channels=a[-1],
            out_channels=columns, extent=(*batch, 1, 1, 1, 1),
            from_=(*from_a, a[-1], batch[1] * rows * columns, rows * columns, columns),
            to=(*from_b, columns, 1, 0, 0),
        )  # fmt: skip

    def _rows(self, op: Softmax | Normalization) -> dict[str, Any]:
        shape = self._shape(op.x)
        extent = (math.prod(shape[:-1]), shape[-1])
        return {**self._operand("x", op.x), **self._operand("y", op.y), "extent": extent}

    @_add.register
    def _(self, op: Softmax) -> None:
        self._append(
            "softmax", **self._rows(op), **self._rescale(op.rescale), table=self._pointer(op.powers, np.uint16)
        )  # fmt: skip

    @_add.register
    def _(self, op: Normalization) -> None:
        padding = (0, -len(op.bias) % PANEL)
        multiplier, bias = np.pad(op.multiplier, padding), np.pad(op.bias, padding)
        self._append(
            "normalization", **self._rows(op), zero_x=op.zero_x, is_centred=op.is_centred,
            from_offset=op.epsilon, multiplier=self._pointer(multiplier, np.int32),
            bias=self._pointer(bias, np.int32), constants=len(bias), low=op.low, high=op.high,
            places=op.result_bits, wide=self._wide(op.x, op.y),
        )  # fmt: skip

    @_add.register
    def _(self, op: Embedding) -> None:
        rows, width = op.table.shape
        self._append(
            "embedding", **self._operand("x", op.x), **self._operand("y", op.y), height=rows, channels=width,
            extent=(math.prod(self._shape(op.x)),), weight=self._pointer(op.table, np.uint8),
            weight_bytes=op.table.nbytes,
        )  # fmt: skip

    def _packed(self, packed: packing.Packed) -> dict[str, int]:
        return {
            **({"format": DIVIDED} if packed.is_divided else {}),
            "weight": self._pointer(packed.weight, np.int8), "weight_bytes": packed.weight.nbytes,
            "bias": self._pointer(packed.bias, np.int32),
            "multiplier": self._pointer(packed.multiplier, np.int32),
            "shift": self._pointer(packed.shift, np.int32),
            "constants": len(packed.shift),
            "x2": self._pointer(packed.more, np.uint8), "x2_bytes": packed.more.nbytes,
        }  # fmt: skip

    @_add.register
    def _(self, op: Transpose | Concatenate | Slice | Expand) -> None:
        self._copy(op)

    @_add.register
    def _(self, op: Pad) -> None:
        size = self._program.values[op.y].size_bytes
        if self._is_wide(op.y) and op.fill:
            raise InputError(f"operator {op.name!r} pads 16-bit values with another number than 0")
        self._append("fill", **self._operand("y", op.y), extent=(size,), zero_y=op.fill)
        self._copy(op)

    @_add.register
    def _(self, op: Pick) -> None:
        """The rows are looked up as in an embedding, whose table is here a value and whose indices are stored."""
        width = op.width * (2 if self._is_wide(op.x) else 1)
        table = self._operand("weight", op.x)
        self._append(
            "embedding", **self._operand("y", op.y), **table, x=self._pointer(op.rows, np.int32),
            x_bytes=op.rows.size * 4, height=table["weight_bytes"] // width, channels=width, extent=(op.rows.size,),
        )  # fmt: skip

    def _copy(self, op: Operation) -> None:
        for copy in moves.copies(op, self._program):
            missing = AXES - len(copy.extents)
            self._append(
                "copy", **self._operand("x", copy.x), **self._operand("y", copy.y), from_offset=copy.from_offset,
                to_offset=copy.to_offset, extent=(*(1,) * missing, *copy.extents),
                from_=(*(0,) * missing, *copy.strides), to=(*(0,) * missing, *copy.to),
            )  # fmt: skip


def _batch_strides(
    name: str, a: Sequence[int], b: Sequence[int], batch: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Two extents that cover the matrices of a batch, and the strides of `a` and `b` along them.

    Raises InputError where two axes are not enough.
    """
    strides = [
        [0 if n == 1 else s for n, s in zip(shape[:-2], moves.dense_strides(shape), strict=False)] for shape in (a, b)
    ]
    extents, *steps = moves.merged(batch, *strides)
    missing = 2 - len(extents)
    if len(extents) > 2:
        raise InputError(f"operator {name!r} multiplies batches of {tuple(a)} and {tuple(b)}, which do not match")
    from_a, from_b = ([*(0,) * missing, *s] for s in steps)
    return [*(1,) * missing, *extents], from_a, from_b
