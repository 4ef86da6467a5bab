"""The work of a program's kernels: which loop runs for each operation, how much it computes and how much it moves.

Predictors learn from this what a loop costs (`hwprof.predictors.kernels`). Amounts are those that are executed, with
the padding of panels and vectors. Nothing is packed or run. The conditions are those of kernels/plan.h and of the .inl
files.

2026-11-29, an AMD EPYC with AVX2: by these loops of 1,005 operators and networks the error on families left out is
6 %, by their operators, each in the operation that it became, 36 % (of 434). Most of the difference is what quantizes
inputs and dequantizes outputs, which inside of a network costs nothing: it was counted for every pair of them.
"""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np

from hwprof.integer.numerics import gated, recurrent
from hwprof.integer.program.program import (
    Add,
    AveragePool,
    Convolution,
    Embedding,
    Entry,
    Exit,
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
    Softmax,
    Table,
    WideConvolution,
    Window,
)
from hwprof.integer.program.weight_formats import PANEL, QUAD, is_depthwise
from hwprof.integer.run import moves
from hwprof.interfaces import Work

_HALF = PANEL // 2  # columns of the narrowest tile
_VECTOR = 32  # channels, or elements, at once
_GATHERED_BYTES = 256 * 1024  # kGatheredBytes: what a stripe of lines may take
_LONG = 1024  # kLong: elements of a line that is made of short ones
_CELL_ROWS = 16  # kCellRows
_LINE, _PERIOD = 64, 64 * 1024  # bytes of a line of the cache, and after which two share a place in the second level
_FIRST_LEVEL = 32 * 1024  # bytes of the cache
_BYTES_PER_MISS = 8  # copied in the time of one for whose line the cache waits: 3 and 0.4 ns on Zen 3, 2026-11-29
_BLOCK = 256  # kBlock: pixels that are quantized together
_ELEMENTS_PER_PIXEL = 128  # elements in whose time a pool finds a window
_SHORT_SHIFT = 32  # below it, Multiply takes 64 bits
_FLOAT_BYTES = 4


def of_ends(program: Program) -> list[Work]:
    """Returns the quantization of each input and the dequantization of each output that takes time."""
    ends: tuple[Entry | Exit, ...] = (*program.entries, *program.exits)
    return [_end(end) for end in ends if end.scale is not None or _is_looked_up(end)]


@singledispatch
def of(op: Operation, program: Program) -> list[Work]:
    """Returns the loops that run for the operation, the one with its arithmetic first; those whose kind ends in
    "inserted" prepare what it reads. Empty where nothing runs."""
    return [_moved(copy) for copy in moves.copies(op, program)]


def _is_looked_up(end: Entry | Exit) -> bool:
    return isinstance(end, Exit) and end.reals is not None


def _end(end: Entry | Exit) -> Work:
    """Images change their layout, so that a loop over pixels steps over the channels."""
    channels = end.shape[1] if end.is_image else 1
    elements, size = math.prod(end.shape), _size_of(end.dtype)
    real, held = elements * _FLOAT_BYTES, elements * size
    is_entry = isinstance(end, Entry)
    kind = "quantization" if is_entry else "look-up of reals" if _is_looked_up(end) else "dequantization"
    kind += " of an image" if channels > 1 else ""
    return _work(
        f"{kind}{_wide(size > 1)} inserted", elements=elements, read=real if is_entry else held,
        written=held if is_entry else real, columns=channels,
        cached=_cached(min(elements // channels, _BLOCK if is_entry else elements), channels * size),
    )  # fmt: skip


# -- sums of products ----------------------------------------------------------------------------------------------


@of.register
def _(op: Convolution, program: Program) -> list[Work]:
    """Returns the product of rows of activations by panels of weights. The rows are read from a line of the image, or
    they belong to a group of channels and are gathered unless memory holds them already."""
    if is_depthwise(op):
        return _depthwise(op, program)
    (n, height, width, channels), (_, out_height, out_width, outputs) = program.shape(op.x), program.shape(op.y)
    kernel, inputs, columns = op.window.kernel, channels // op.groups, outputs // op.groups
    is_plain, taps = op.weight_format == "int8", kernel[1] * inputs
    depth, rows = kernel[0] * (_up(taps, QUAD) if is_plain else taps), n * out_height * out_width
    is_direct = _is_direct(op, (height, width), (out_height, out_width), inputs)
    is_lined = not is_direct and is_plain and op.groups == 1 and _is_lined(op.window, channels, out_width)
    found = [
        _multiplied(
            "convolution of lines" if is_lined else "matrix product" + (" of one row" if rows == 1 else ""),
            out_width if is_lined else rows, columns, depth, calls=n * out_height if is_lined else op.groups,
            read=math.prod(program.shape(op.x)), window=kernel[0] if is_lined else 0,
            suffix="" if is_plain else f" {op.weight_format}", weights=op.groups * _up(columns, PANEL) * depth,
        )
    ]  # fmt: skip
    if not is_direct and not is_lined:
        runs_across = op.groups == 1 and op.window.dilation[1] == 1
        found.append(_gathering(rows * op.groups * kernel[0] * taps, taps if runs_across else inputs))
    return found


def _multiplied(
    kind: str, rows: int, columns: int, depth: int, calls: int, read: int, weights: int, window: int = 0,
    suffix: str = "", written: int = 1,
) -> Work:  # fmt: skip
    """`calls` products of rows, [rows, depth], by weights, [depth, columns]. written: bytes of a result. window: lines
    of it."""
    padded = _up(columns, _HALF)
    return _work(
        kind + suffix, macs=calls * rows * padded * depth, elements=calls * rows * padded, read=read, weights=weights,
        written=calls * rows * columns * written, window=window, outputs=columns, rows=rows, columns=padded,
        inner=depth, odd_outputs=columns % _HALF,
    )  # fmt: skip


def _is_direct(op: Convolution, size: tuple[int, int], out: tuple[int, int], inputs: int) -> bool:
    """Whether memory holds the rows already: `is_direct` of product.inl."""
    depth = {"signs": 32, "dictionary-4": 2 * QUAD}.get(op.weight_format, QUAD)
    is_point = op.window.kernel == op.window.stride == (1, 1) and op.window.pad == (0, 0) and size == out
    return is_point and inputs % depth == 0 and op.weight_format != "signs"


def _is_lined(window: Window, channels: int, out_width: int) -> bool:
    """Whether a window reads lines where they are: `is_lined` of plan.h. The widest tile has two rows there."""
    across = (out_width - 1) * window.stride[1] + (window.kernel[1] - 1) * window.dilation[1] + 1
    reach = (window.kernel[0] - 1) * window.dilation[0] + 1
    return window.dilation[1] == 1 and reach * across * channels <= _GATHERED_BYTES and out_width > 1


def _gathering(elements: int, run: int) -> Work:
    """Copies of `run` elements that are next to each other."""
    return _work(
        "gathering inserted", elements=elements // run, read=elements, written=elements, inner=run, rows=elements // run
    )


def _depthwise(op: Convolution, program: Program) -> list[Work]:
    """Whole vectors of channels, and the rest of them, which is read and written piece by piece."""
    n, out_height, out_width, channels = program.shape(op.y)
    window, pixels = op.window, n * out_height * out_width
    taps = math.prod(window.kernel)
    by_columns = window.kernel == (3, 3) and window.dilation[1] == 1 and window.stride[1] in (1, 2)
    # By columns, two neighbours share what was interleaved, and each column has a fourth tap.
    padded = 3 * QUAD if by_columns else _up(taps, QUAD)
    kind = "depthwise by columns" if by_columns else "depthwise"
    read = math.prod(program.shape(op.x)) / channels
    parts = {kind: channels // _VECTOR * _VECTOR, f"{kind} of part of a vector": channels % _VECTOR}
    return [
        _work(
            name, macs=pixels * _up(some, _VECTOR) * padded, elements=pixels * _up(some, _VECTOR), read=read * some,
            written=pixels * some, stride=window.stride[1], outputs=some, rows=out_width, odd_outputs=some % 8,
        )
        for name, some in parts.items()
        if some
    ]  # fmt: skip


@of.register
def _(op: WideConvolution, program: Program) -> list[Work]:
    n, out_height, out_width, outputs = program.shape(op.y)
    inputs, taps = op.weight.shape[3], math.prod(op.window.kernel)
    runs_across = op.window.dilation[1] == 1 and op.groups == 1
    run = inputs * (op.window.kernel[1] if runs_across else 1)
    pixels = n * out_height * out_width
    macs = pixels * outputs * taps * inputs
    return [
        _work(
            "convolution int16", macs=macs, elements=macs // run,
            read=_bytes(program, op.x), weights=2 * op.weight.size, written=_bytes(program, op.y), rows=pixels,
            columns=outputs, inner=run,
        )
    ]  # fmt: skip


@of.register
def _(op: Product, program: Program) -> list[Work]:
    """The second operand is packed first, element by element but for whole panels of whole quads."""
    a, y = program.shape(op.a), program.shape(op.y)
    batch, (rows, columns), depth = math.prod(y[:-2]), y[-2:], a[-1]
    padded, whole = _up(columns, PANEL), depth // QUAD * QUAD * (columns // PANEL * PANEL)
    found = [
        _work(
            "product", macs=batch * rows * padded * _up(depth, QUAD), elements=batch * rows * padded,
            read=batch * depth * (rows + columns), written=batch * rows * columns, rows=rows, columns=padded,
            inner=depth, odd_inputs=depth % QUAD, odd_outputs=columns % PANEL,
        )
    ]  # fmt: skip
    for kind, elements in {"packing": batch * whole, "packing by element": batch * (depth * columns - whole)}.items():
        if elements:
            found.append(
                _work(
                    f"{kind} inserted", elements=elements, read=elements, written=elements, columns=columns, inner=depth
                )
            )
    return found


@of.register
def _(op: Lstm, program: Program) -> list[Work]:
    return _recurrence("lstm", op, program, recurrent.GATES)


@of.register
def _(op: Gru, program: Program) -> list[Work]:
    return _recurrence("gru" if op.resets_behind else "gru that resets first", op, program, gated.GATES)


def _recurrence(kind: str, op: Lstm | Gru, program: Program, gates: int) -> list[Work]:
    """The recurrence reads its weights in each step, once for as many rows as are multiplied together."""
    (steps, batch, depth), units = program.shape(op.x), program.shape(op.y)[2]
    padded, inner, rows = _up(units, PANEL), _up(units, QUAD), steps * batch
    weights, columns = gates * padded * inner, gates * padded
    found = [
        _work(
            kind, macs=rows * columns * inner, elements=rows * padded,
            read=steps * -(-batch // _CELL_ROWS) * weights + 2 * rows * columns, weights=weights, written=rows * units,
            rows=batch, columns=columns, inner=inner,
        ),
        _multiplied(
            "matrix product" + (" of one row" if rows == 1 else ""), rows, columns, _up(depth, QUAD), calls=1,
            read=rows * depth, weights=columns * _up(depth, QUAD), written=2,
        ),
    ]  # fmt: skip
    return found if depth % QUAD == 0 else [*found, _gathering(rows * depth, depth)]


# -- element by element --------------------------------------------------------------------------------------------


@of.register
def _(op: Add, program: Program) -> list[Work]:
    return [_zipped("sum", op, program, _is_wide(program, op.a, op.b, op.y))]


@of.register
def _(op: Multiply, program: Program) -> list[Work]:
    is_wide = _is_wide(program, op.a, op.b, op.y)
    is_slow = is_wide or int(op.rescale.shift.ravel()[0]) < _SHORT_SHIFT
    return [_zipped("element-wise product" + (" in 64 bits" if is_slow else ""), op, program, is_wide)]


def _zipped(kind: str, op: Add | Multiply, program: Program, is_wide: bool) -> Work:
    """Line by line, unless both operands have one shape; short lines with the same second operand are joined."""
    extents, strides = moves.broadcast_strides(op.name, program.shape(op.a), program.shape(op.b))
    (outer, rows, n), (far, near, across) = extents, strides
    elements, line = math.prod(extents), n
    if across and (outer * rows == 1 or (near == n and far == rows * n)):
        kind, line = f"{kind} of the same shape", elements
    elif not across:
        kind = f"{kind} with one number"
    elif near == 0 and n <= _LONG // 2:
        kind, line = f"{kind} with joined lines", min(_LONG // n, rows) * n
    else:
        kind = f"{kind} with lines"
    lines = -(-elements // line)
    return _work(
        kind + _wide(is_wide), elements=lines * _up(line, _VECTOR), read=_bytes(program, op.a) + _bytes(program, op.b),
        written=_bytes(program, op.y), rows=lines, inner=line,
    )  # fmt: skip


@of.register
def _(op: Table | Lines, program: Program) -> list[Work]:
    """The lines of a function are found by a comparison with each bound that may be below a number."""
    bounds = len(op.lines.bounds) if isinstance(op, Lines) else 0
    kind = "lines" if bounds else "table"
    return [
        _work(
            kind + _wide(_is_wide(program, op.y)), elements=math.prod(program.shape(op.x)), read=_bytes(program, op.x),
            written=_bytes(program, op.y), columns=bounds,
        )
    ]  # fmt: skip


# -- pools and rows ------------------------------------------------------------------------------------------------


@of.register
def _(op: MaxPool | AveragePool, program: Program) -> list[Work]:
    """Channels by 64, by 16 and one by one; in each of these steps all pixels under the window are read."""
    (_, height, width, channels), (n, out_height, out_width, _) = program.shape(op.x), program.shape(op.y)
    down, across = (
        _pixels_under(op.window, axis, (height, width)[axis], (out_height, out_width)[axis]) for axis in (0, 1)
    )
    reads, steps = n * down * across, channels // 16 + channels % 16
    pixels = n * out_height * out_width
    return [
        _work(
            "largest" if isinstance(op, MaxPool) else "mean",
            elements=(reads + pixels) * steps * 16 + pixels * _ELEMENTS_PER_PIXEL,
            read=reads * channels, written=pixels * channels, outputs=channels, odd_outputs=channels % 16, rows=pixels,
        )
    ]  # fmt: skip


def _pixels_under(window: Window, axis: int, size: int, out: int) -> int:
    """Along one axis: how many pixels of the image all windows hold together."""
    first = np.arange(out) * window.stride[axis] - window.pad[axis]
    places = first[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]
    return int(((places >= 0) & (places < size)).sum())


@of.register
def _(op: Softmax | Normalization, program: Program) -> list[Work]:
    *outer, n = program.shape(op.x)
    kind = "softmax" if isinstance(op, Softmax) else "normalization" + _wide(_is_wide(program, op.x, op.y))
    return [
        _work(
            kind, elements=math.prod(outer) * _up(n, _VECTOR), read=_bytes(program, op.x),
            written=_bytes(program, op.y), rows=math.prod(outer), inner=n,
        )
    ]  # fmt: skip


# -- moves ---------------------------------------------------------------------------------------------------------


@of.register
def _(op: Pad, program: Program) -> list[Work]:
    size = _bytes(program, op.y)
    return [*map(_moved, moves.copies(op, program)), _work("fill inserted", elements=1, written=size)]


@of.register
def _(op: Embedding | Pick, program: Program) -> list[Work]:
    size = _bytes(program, op.y)
    rows = op.rows.size if isinstance(op, Pick) else math.prod(program.shape(op.x))
    table = op.table.nbytes if isinstance(op, Embedding) else _bytes(program, op.x)
    return [_work("rows picked", elements=rows, read=size, written=size, rows=rows, inner=size // rows, cached=table)]


def _moved(copy: moves.Copy) -> Work:
    """In the kernels a copy is a loop over whole runs of bytes, or over single bytes that are apart. Each of those
    waits for its line where the cache does not hold all lines until their next bytes are wanted."""
    run, from_, to = (steps[-1] if steps else 1 for steps in (copy.extents, copy.strides, copy.to))
    size = math.prod(copy.extents)
    if from_ == to == 1:
        return _work("copy of runs", elements=size // run, read=size, written=size, inner=run, rows=size // run)
    cached = max(_cached(run, abs(from_)), _cached(run, abs(to)))
    each = _BYTES_PER_MISS if cached > _FIRST_LEVEL else 1
    return _work(
        "copy of bytes", elements=each * size, read=size, written=size, inner=run, rows=size // run, cached=cached
    )


# -- words ---------------------------------------------------------------------------------------------------------


def _work(
    kind: str, macs: float = 0, elements: float = 0, read: float = 0, weights: float = 0, written: float = 0,
    window: float = 0, stride: float = 0, outputs: float = 0, cached: float = 0, rows: float = 0, columns: float = 0,
    inner: float = 0, odd_inputs: float = 0, odd_outputs: float = 0,
) -> Work:  # fmt: skip
    """By the names of predictors, and those sizes alone that decide the loop's time: a network with others would be
    unlike what was learned from for no reason. read, weights, written: bytes."""
    sizes = {
        "macs": macs, "element operations": elements, "input bytes": read, "weight bytes": weights,
        "output bytes": written, "window": window, "stride": stride, "output channels per group": outputs,
        "pixels": cached, "rows": rows, "columns": columns, "inner length": inner,
        "odd input channels": float(odd_inputs > 0), "odd output channels": float(odd_outputs > 0),
    }  # fmt: skip
    return Work(kind, {name: size for name, size in sizes.items() if size})


def _cached(steps: int, stride: int) -> int:
    """The bytes of cache that a loop takes and the next loop wants again: a line for each step, or more where the
    stride is a multiple of a power of two, because lines at such addresses share few places."""
    return steps * max(min(stride, _LINE), math.gcd(stride, _PERIOD))


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _size_of(dtype: str) -> int:
    return np.dtype(dtype).itemsize


def _bytes(program: Program, name: str) -> int:
    return program.values[name].size_bytes


def _is_wide(program: Program, *names: str) -> bool:
    return any(program.values[name].dtype == "int16" for name in names)


def _wide(is_wide: bool) -> str:
    return " int16" if is_wide else ""
