"""Convolutions and matrix products with stored weights, as integer operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import attention_rule, images
from hwprof.integer.lowering.images import Reach
from hwprof.integer.lowering.symbol_table import WANTED, Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import fixed_point, wide_product
from hwprof.integer.numerics.grid import Grid, Stored
from hwprof.integer.program import weight_formats
from hwprof.integer.program.program import (
    Concatenate,
    Convolution,
    Operation,
    Pad,
    Slice,
    Table,
    WideConvolution,
    Window,
)

_WEIGHT_LIMIT = 127
_STEPS_OF_ZEROS = 256  # of an accumulator, in one of the result, where all weights are 0
_IMAGE_RANK = 4
_MOST_ROWS = 64  # of a product whose rows have different biases
_FEW = 8  # an eighth of the channels, and fewer, are copied one by one
_LARGEST_FACTOR = 0.5  # of a step of the accumulator to one of the result
_LARGEST_WIDE_FACTOR = 2.0**13
_FINER = 128  # steps of a widened tensor in one of its own
_SMALLEST_SHIFT = 32  # the kernels of convolutions read results from the upper half of a product


@dataclass(frozen=True, slots=True)
class _Product:
    """The operands of a convolution or matrix product. weight: int32 [out, ...], in +-255, minus its zero point;
    scale: [out] of the weight; bias: float64 [out]; bits: width of the weight as it was stored."""

    node: Node
    x: Held
    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    bits: int = 8


def convolution(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Conv on images of one to three axes. Raises InputError where the operation does not support the node, as all
    rules do."""
    work = _product(symbols, node, axis=0)
    images.require_image(node, work.x)
    return _over_image(symbols, replace(work, bias=_bias(symbols, node, len(work.weight))), target)


def _over_image(symbols: SymbolTable, work: _Product, target: Target) -> Held:
    """The convolution of an image of one to three axes by a weight [out, in / groups, *kernel]."""
    size = symbols.graph.shape(work.node.outputs[0])
    reached = images.reaches(work.node, work.weight.shape[2:], work.x.shape[2:], size[2:])
    if len(reached) > 2:
        work, reached = _without_depth(symbols, work, reached, size[2]), reached[1:]
    else:
        work = replace(work, x=images.planar(symbols, work.x))
    flat = (work.x.shape[0], size[1], *(1, *size[2:])[-2:])
    weight = work.weight.reshape(*work.weight.shape[:2], *(1, *work.weight.shape[2:])[-2:])
    window = images.window(*(Reach(1), *reached)[-2:])
    return images.seen_as(symbols, _linear(symbols, replace(work, weight=weight), target, window, flat), size)


def _without_depth(symbols: SymbolTable, work: _Product, reached: Sequence[Reach], depth: int) -> _Product:
    """A convolution over three axes as one over two, of whose channels there are as many as the kernel is deep, in
    every position of the depth. depth: of the result."""
    deep, groups = reached[0], int(work.node.attribute("group", 1))
    n, c, d, h, w = work.x.shape
    total = max(deep.span(depth), deep.pad + d)
    image = symbols.image(work.x)
    padded = symbols.new_value(f"{image.value} padded", (n, total, h, w, c), image.grid.dtype)
    before = (0, deep.pad, 0, 0, 0)
    symbols.operations.append(Pad(padded, (), image.value, padded, before, image.grid.zero))
    slices = []
    for k in range(deep.kernel):
        value = symbols.new_value(f"{padded} at {k}", (n, depth, h, w, c), image.grid.dtype)
        starts, steps = (0, k * deep.dilation, 0, 0, 0), (1, deep.stride, 1, 1, 1)
        symbols.operations.append(Slice(value, (), padded, value, starts, steps))
        slices.append(value)
    joined = _side_by_side(symbols, slices, groups, image.grid)
    x = Held(joined, image.grid, (n * depth, c * deep.kernel, h, w), is_image=True)
    memory = (n * depth, h, w, c * deep.kernel)
    if symbols.values[joined].shape != memory:
        x = replace(symbols.reshaped(x, memory, f"{joined} flat"), shape=x.shape, is_image=True)
    weight = np.moveaxis(work.weight, 2, 1).reshape(len(work.weight), -1, *work.weight.shape[3:])
    return replace(work, x=x, weight=weight)


def _side_by_side(symbols: SymbolTable, names: Sequence[str], groups: int, grid: Grid) -> str:
    """The values, of equal shapes with the channels last, with their channels side by side within every group."""
    *pixels, channels = symbols.values[names[0]].shape
    split = [*pixels, groups, channels // groups]
    parts = [names[0]] * len(names) if len(set(names)) == 1 else list(names)
    if groups > 1:
        held = {name: symbols.reshaped(Held(name, grid, ()), split, f"{name} by groups").value for name in set(parts)}
        parts = [held[name] for name in parts]
    axis = len(split) - 1 if groups > 1 else len(pixels)
    shape = (*split[:-1], split[-1] * len(parts)) if groups > 1 else (*pixels, channels * len(parts))
    name = f"{names[0]} {len(names)} times"
    value = symbols.new_value(name, shape, grid.dtype)
    symbols.operations.append(Concatenate(name, (), tuple(parts), value, axis))
    if groups == 1:
        return value
    return symbols.reshaped(Held(value, grid, ()), (*pixels, channels * len(parts)), f"{name} joined").value


def transposed_convolution(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ConvTranspose on images of one or two axes: a convolution by the turned kernel of the image with zeros between
    its pixels."""
    groups = int(node.attribute("group", 1))
    work = _product(symbols, node, axis=1)
    x, size = work.x, symbols.graph.shape(node.outputs[0])
    images.require_image(node, x, (1, 2))
    stored = symbols.stored[node.inputs[1]]
    weight = _regrouped(stored.centered(), groups)
    weight = np.flip(weight, tuple(range(2, weight.ndim)))
    scale = np.broadcast_to(stored.scale, (len(weight),))
    if stored.scale.size > 1 and groups > 1:
        scale = np.tile(stored.scale, groups)
    reached = _turned(node, weight.shape[2:], x.shape[2:], size[2:])
    image = images.planar(symbols, x)
    weight = weight.reshape(*weight.shape[:2], *(1, *weight.shape[2:])[-2:])
    down, across = (Reach(1), *reached)[-2:]
    spread = _spread(symbols, image, (down, across), (1, *size[2:])[-2:])
    window = images.window(replace(down, stride=1, pad=0), replace(across, stride=1, pad=0))
    work = replace(work, x=spread, weight=weight, scale=scale, bias=_bias(symbols, node, len(weight)))
    flat = (*size[:2], *(1, *size[2:])[-2:])
    return images.seen_as(symbols, _linear(symbols, work, target, window, flat), size)


def _regrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """weight: [in, out / groups, ...]. Returns [out, in / groups, ...]."""
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return np.swapaxes(split, 1, 2).reshape(-1, split.shape[1], *weight.shape[2:])


def _turned(node: Node, kernel: Sequence[int], source: Sequence[int], size: Sequence[int]) -> list[Reach]:
    """The window of a transposed convolution along each axis; `pad` is what is cut off at the begin of the result."""
    axes = len(kernel)
    strides = tuple(node.attribute("strides", (1,) * axes))
    dilations = tuple(node.attribute("dilations", (1,) * axes))
    more = tuple(node.attribute("output_padding", (0,) * axes))
    pads = list(node.attribute("pads", (0,) * 2 * axes))[:axes]
    kind = node.attribute("auto_pad", "NOTSET")
    for i in range(axes):
        whole = strides[i] * (source[i] - 1) + more[i] + (kernel[i] - 1) * dilations[i] + 1
        if kind.startswith("SAME") or node.attribute("output_shape"):
            cut = max(0, whole - size[i])
            pads[i] = cut // 2 if kind == "SAME_UPPER" else cut - cut // 2
        elif kind == "VALID":
            pads[i] = 0
    return [Reach(*each) for each in zip(kernel, strides, dilations, pads, strict=True)]


def _spread(symbols: SymbolTable, image: Held, reached: Sequence[Reach], size: Sequence[int]) -> Held:
    """The image with zeros between its pixels and around them, as the convolution by the turned kernel reads it."""
    n, c, *source = image.shape
    margins = [(r.kernel - 1) * r.dilation for r in reached]
    wanted = [m + o for m, o in zip(margins, size, strict=True)]
    begins = [m - r.pad for m, r in zip(margins, reached, strict=True)]
    cuts = [max(0, -b) for b in begins]
    spans = [(s - 1) * r.stride + 1 for s, r in zip(source, reached, strict=True)]
    lengths = [max(w + cut, b + cut + span) for w, cut, b, span in zip(wanted, cuts, begins, spans, strict=True)]
    name = f"{image.value} spread"
    value = symbols.new_value(name, (n, *lengths, c), image.grid.dtype)
    before = (0, *(b + cut for b, cut in zip(begins, cuts, strict=True)), 0)
    steps = (1, *(r.stride for r in reached), 1)
    symbols.operations.append(Pad(name, (), image.value, value, before, image.grid.zero, steps))
    if lengths != wanted:
        part = symbols.new_value(f"{name} cut", (n, *wanted, c), image.grid.dtype)
        symbols.operations.append(Slice(part, (), value, part, (0, *cuts, 0), (1,) * 4))
        value = part
    return Held(value, image.grid, (n, c, *wanted), is_image=True)


def matrix_product(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A MatMul with a stored weight, or of two computed tensors."""
    stored = symbols.stored.get(node.inputs[1])
    if stored is None or node.inputs[0] in symbols.stored:
        return attention_rule.product(symbols, node, target)
    if stored.values.ndim > 2 and math.prod(stored.values.shape[:-2]) == 1:
        stored = replace(stored, values=stored.values.reshape(stored.values.shape[-2:]), axis=_last(stored, 2))
        symbols.stored[node.inputs[1]] = stored
    if stored.values.ndim > 2:
        return attention_rule.product(symbols, node, target)
    if stored.values.ndim == 1:
        symbols.stored[node.inputs[1]] = replace(stored, values=stored.values.reshape(-1, 1), axis=None)
    y = _dense(symbols, _product(symbols, node, axis=1), target)
    return symbols.with_shape(y, symbols.graph.shape(node.outputs[0]), target.name)


def _last(stored: Stored, rank: int) -> int | None:
    """The axis of the scales, counted among the last `rank`."""
    return None if stored.axis is None else stored.axis - (stored.values.ndim - rank)


def gemm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Gemm with a stored weight, or of two computed matrices without a third."""
    if node.inputs[1] not in symbols.stored or node.inputs[0] in symbols.stored:
        return _gemm_of_two(symbols, node, target)
    axis = 0 if node.attribute("transB", 0) else 1
    work = _product(symbols, node, axis)
    if node.attribute("transA", 0):
        work = replace(work, x=symbols.transposed(work.x, (1, 0), f"{work.x.value} transposed"))
    alpha = float(node.attribute("alpha", 1.0))
    work = replace(work, scale=work.scale * abs(alpha), weight=work.weight if alpha >= 0 else -work.weight)
    added = _added_matrix(symbols, node, (math.prod(work.x.shape[:-1]), len(work.weight)))
    if (added == added[:1]).all():
        return _dense(symbols, replace(work, bias=added[0]), target)
    return _row_by_row(symbols, work, target, added)


def _added_matrix(symbols: SymbolTable, node: Node, shape: tuple[int, int]) -> np.ndarray:
    """float64 of the shape [rows, columns]: the third operand of a Gemm, times beta."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros(shape)
    reals = symbols.reals(node.inputs[2])
    if reals is None:
        raise refuse(node, f"its third operand {node.inputs[2]!r} is not stored")
    return np.broadcast_to(reals, shape) * float(node.attribute("beta", 1.0))


def _row_by_row(symbols: SymbolTable, work: _Product, target: Target, added: np.ndarray) -> Held:
    """The product, with another row of `added`, float64 [rows, columns], for every row of x."""
    if len(added) > _MOST_ROWS:
        raise refuse(work.node, f"its third operand is a matrix of {len(added)} rows; at most {_MOST_ROWS} may differ")
    depth, x = work.x.shape[-1], symbols.plain(work.x)
    parts = []
    for i, bias in enumerate(added):
        value = symbols.new_value(f"{x.value} row {i}", (1, depth), x.grid.dtype)
        symbols.operations.append(Slice(value, (), x.value, value, (i, 0), (1, 1)))
        row = replace(work, x=Held(value, x.grid, (1, depth)), bias=bias)
        parts.append(_dense(symbols, row, replace(target, name=f"{target.name} row {i}")).value)
    value = symbols.new_value(target.name, added.shape, target.grid.dtype)
    symbols.operations.append(Concatenate(work.node.label, target.members, tuple(parts), value, 0))
    return Held(value, target.grid, added.shape)


def _gemm_of_two(symbols: SymbolTable, node: Node, target: Target) -> Held:
    if len(node.inputs) > 2 and node.inputs[2]:
        raise refuse(node, "a third operand together with a second that is computed is not supported")
    operands = [
        symbols.transposed(held, (1, 0), f"{held.value} transposed") if node.attribute(name, 0) else symbols.plain(held)
        for name, held in zip(("transA", "transB"), (symbols.view(node, n) for n in node.inputs[:2]), strict=True)
    ]
    return attention_rule.product_of(symbols, node, target, operands[0], operands[1], node.attribute("alpha", 1.0))


def batch_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A BatchNormalization that could not be folded into a convolution: a depthwise filter of one pixel."""
    x = symbols.any_view(node, node.inputs[0])
    found = [reals for name in node.inputs[1:5] if (reals := symbols.reals(name)) is not None]
    if len(found) < 4 or node.attribute("training_mode", 0):
        raise refuse(node, "its statistics are not stored")
    gain, shift, mean, variance = (reals.ravel() for reals in found)
    factor = gain / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
    along = (-1, *(1,) * (len(x.shape) - 2))
    return by_element(symbols, node, target, x, factor.reshape(along), (shift - mean * factor).reshape(along))


def by_element(
    symbols: SymbolTable, node: Node, target: Target, x: Held, factor: np.ndarray, offset: np.ndarray
) -> Held:  # fmt: skip
    """The sums x * factor + offset; factor, offset: float64 [...], stored and broadcast to x.

    They are a depthwise filter of one pixel, whose channels are the elements along which the numbers differ.
    """
    rank = len(x.shape)
    both = np.stack(np.broadcast_arrays(factor, offset))
    both = both.reshape(2, *(1,) * (rank + 1 - both.ndim), *both.shape[1:])
    varied = [axis for axis in range(rank) if both.shape[axis + 1] > 1]
    if not np.isfinite(both).all():
        raise refuse(node, "a stored number that it reads is not finite")
    if rank > 2 and (x.is_image or varied == [1]) and set(varied) <= {1}:
        image, first, columns = symbols.image(x), 1, x.shape[1]
        numbers = np.broadcast_to(both, (2, *(1,), columns, *(1,) * (rank - 2))).reshape(2, columns)
    else:
        image, first = symbols.plain(x), min(varied, default=rank)
        columns = math.prod(x.shape[first:])
        numbers = np.broadcast_to(both, (2, *(1,) * first, *x.shape[first:])).reshape(2, columns)
    apart = replace(node, attributes=(("group", columns),))
    weight = (np.sign(numbers[0]) * _WEIGHT_LIMIT).astype(np.int32).reshape(-1, 1, 1, 1)
    scale = np.where(numbers[0], np.abs(numbers[0]), 1.0) / _WEIGHT_LIMIT
    if image.is_image and rank == _IMAGE_RANK:
        return _linear(symbols, _Product(apart, image, weight, scale, numbers[1]), target, Window(), x.shape)
    rows = math.prod(x.shape) // columns
    flat = symbols.reshaped(image, (1, rows, 1, columns), f"{target.name} lines")
    lines = replace(flat, shape=(1, columns, rows, 1), is_image=True)
    work = _Product(apart, lines, weight, scale, numbers[1])
    y = _linear(symbols, work, replace(target, name=f"{target.name} scaled"), Window(), (1, columns, rows, 1))
    flat = symbols.reshaped(y, symbols.values[image.value].shape, target.name)
    return replace(flat, shape=x.shape, is_image=image.is_image)


def weighted_lines(
    symbols: SymbolTable, node: Node, target: Target, lines: Held, weight: np.ndarray, scale: np.ndarray,
    bias: np.ndarray,
) -> Held:  # fmt: skip
    """The sums over the first axis of lines [taps, n, pixels], with weights of each pixel: [n, pixels].

    weight: int32 [pixels, taps], in +-127; scale, bias: float64 [pixels].
    """
    taps, n, pixels = lines.shape
    flat = symbols.reshaped(symbols.plain(lines), (1, taps, n, pixels), f"{target.name} image")
    image = replace(flat, shape=(1, pixels, taps, n), is_image=True)
    apart = replace(node, attributes=(("group", pixels),))
    work = _Product(apart, image, weight[:, None, :, None], scale, bias)
    y = _linear(symbols, work, replace(target, name=f"{target.name} sums"), Window((taps, 1)), (1, pixels, 1, n))
    return symbols.reshaped(y, (n, pixels), f"{target.name} plain")


def with_rows(
    symbols: SymbolTable, node: Node, x: Held, weight: np.ndarray, scale: np.ndarray, bias: np.ndarray, target: Target
) -> Held:
    """X [..., depth] times the rows of a weight plus a bias. weight: int8 [out, depth]; scale, bias: float64 [out]."""
    apart = replace(node, attributes=())
    return _dense(symbols, _Product(apart, x, weight.astype(np.int32), scale, bias), target)


def summed_rows(symbols: SymbolTable, node: Node, rows: Held, target: Target) -> Held:
    """The sums of the rows of a tensor [m, n] of 16 bits, as [m, 1]."""
    n = rows.shape[-1]
    apart = replace(node, attributes=())
    work = _Product(apart, rows, np.full((1, n), _WEIGHT_LIMIT, np.int32), np.full(1, 1 / _WEIGHT_LIMIT), np.zeros(1))
    return _dense(symbols, work, target)


def summed_windows(symbols: SymbolTable, node: Node, x: Held, target: Target, share: float = 1.0) -> Held:
    """The share of the sums of the image in the windows of a pool, in which padding counts as 0."""
    channels, kernel = x.shape[1], tuple(node.attribute("kernel_shape"))
    apart = replace(node, attributes=(("group", channels), *node.attributes))
    weight = np.full((channels, 1, *kernel), _WEIGHT_LIMIT, np.int32)
    scale = np.full(channels, share / _WEIGHT_LIMIT)
    return _over_image(symbols, _Product(apart, x, weight, scale, np.zeros(channels)), target)


def _dense(symbols: SymbolTable, work: _Product, target: Target) -> Held:
    x = symbols.plain(work.x)
    if work.weight.ndim != 2:
        raise refuse(work.node, f"its weight {work.node.inputs[1]!r} is not a matrix")
    rows, depth = math.prod(x.shape[:-1]), x.shape[-1]
    size = (*x.shape[:-1], len(work.weight))
    as_image = symbols.reshaped(x, (1, rows, 1, depth), f"{target.name} rows")
    work = replace(work, x=as_image, weight=work.weight.reshape(*work.weight.shape[:2], 1, 1))
    flat = _linear(symbols, work, replace(target, name=f"{target.name} product"), Window(), (1, size[-1], rows, 1))
    return symbols.reshaped(flat, size, target.name)


def _linear(symbols: SymbolTable, work: _Product, target: Target, window: Window, size: Sequence[int]) -> Held:
    """size: the ONNX shape of the result, which is an image."""
    work = _of_eight_bits(symbols, _with_free_scales(work, target))
    if "int16" in (work.x.grid.dtype, target.grid.dtype):
        return _wide_linear(symbols, work, target, window, size)
    work = _fine_enough(work, target)
    node, x, groups = work.node, work.x, int(work.node.attribute("group", 1))
    factors = x.grid.scale * work.scale / target.grid.scale
    if factors.max() >= _LARGEST_FACTOR:  # only sums of 64 bits have a finer step
        return _wide_linear(symbols, work, target, window, size)
    multiplier, shift = fixed_point.multipliers_and_shifts(factors)
    weight = symbols.shared.keep(np.moveaxis(work.weight, 1, -1).astype(np.int8))
    value = symbols.new_value(target.name, (size[0], size[2], size[3], size[1]))
    operation = Convolution(
        node.label,
        target.members,
        x.value,
        value,
        weight,
        _folded_bias(work, target),
        target.rescale(multiplier, shift),
        x.grid.zero,
        window,
        groups,
    )
    if work.bits <= weight_formats.INT4_BITS:
        operation = weight_formats.in_few_bits(operation, work.bits)
    symbols.operations.append(operation)
    return Held(value, target.grid, tuple(size), is_image=True)


def _wide_linear(symbols: SymbolTable, work: _Product, target: Target, window: Window, size: Sequence[int]) -> Held:
    """The same where x or the result has 16 bits."""
    x = widened(symbols, work.x)
    factors = x.grid.scale * work.scale / target.grid.scale
    if factors.max() >= _LARGEST_WIDE_FACTOR:
        raise refuse(
            work.node, f"one step of its accumulator is {factors.max():.3g} steps of its result: the scales do not fit"
        )
    multiplier, shift = fixed_point.multipliers_and_shifts(factors)
    if shift.min() <= wide_product.SMALLEST_SHIFT:
        raise refuse(
            work.node, f"one step of its accumulator is {factors.max():.3g} steps of its result: the scales do not fit"
        )
    bias = np.rint(work.bias / (x.grid.scale * work.scale))
    sums = np.abs(work.weight).reshape(len(work.weight), -1).sum(axis=1) * 2.0**15 + np.abs(bias)
    if not np.isfinite(bias).all() or sums.max() > wide_product.LARGEST_SUM:
        raise refuse(work.node, "its sums do not fit into 46 bits")
    value = symbols.new_value(target.name, (size[0], *size[2:], size[1]), target.grid.dtype)
    weight = symbols.shared.keep(np.moveaxis(work.weight, 1, -1).astype(np.int8))
    operation: Operation = WideConvolution(
        work.node.label, target.members, x.value, value, weight, bias.astype(np.int64),
        target.rescale(multiplier, shift), window, int(work.node.attribute("group", 1)),
    )  # fmt: skip
    symbols.operations.append(operation)
    return Held(value, target.grid, tuple(size), is_image=True)


def widened(symbols: SymbolTable, x: Held) -> Held:
    """The tensor in 16 bits, without a zero point; in finer steps, so that a bias on the grid of its products is."""
    if x.grid.dtype == "int16":
        return x
    grid = Grid(x.grid.scale / _FINER, 0, dtype="int16")
    value = symbols.new_value(f"{x.value} wide", symbols.values[x.value].shape, "int16")
    table = (_FINER * (np.arange(256) - x.grid.zero)).astype(np.int16)
    source, inner = symbols.function(x.value)
    symbols.operations.append(Table(value, (), source, value, table[inner]))
    return Held(value, grid, x.shape, x.is_image)


def _with_free_scales(work: _Product, target: Target) -> _Product:
    """With scales that fit for the channels that have only zeros, to which any scale would do."""
    is_zero = ~work.weight.reshape(len(work.weight), -1).any(axis=1)
    if not is_zero.any():
        return work
    step = target.grid.scale / work.x.grid.scale / _STEPS_OF_ZEROS
    limit = fixed_point.LARGEST_SUM // 2 * step * work.x.grid.scale  # the result is at an end of its grid long before
    return replace(
        work,
        scale=np.where(is_zero, step, work.scale),
        bias=np.where(is_zero, np.clip(work.bias, -limit, limit), work.bias),
    )


def _fine_enough(work: _Product, target: Target) -> _Product:
    """With a weight of few bits on half the scale as often as the kernels need it to rescale the sums."""
    while np.abs(work.weight).max(initial=0) <= _WEIGHT_LIMIT // 2:
        _, shift = fixed_point.multipliers_and_shifts(work.x.grid.scale * work.scale / target.grid.scale)
        if shift.min() >= _SMALLEST_SHIFT or not work.weight.any():
            break
        work = replace(work, weight=2 * work.weight, scale=work.scale / 2)
    return work


def _folded_bias(work: _Product, target: Target) -> np.ndarray:
    """int32 [out]: the bias on the accumulator's grid, minus the contribution of the zero point of x to each sum.

    A bias that takes the result to an end of its grid whatever the products are is cut to one that just does."""
    weight = work.weight.reshape(len(work.weight), -1).astype(np.int64)
    step, reach = work.x.grid.scale * work.scale, 255 * np.abs(weight).sum(axis=1)
    bias = np.rint(work.bias / step)
    if not np.isfinite(bias).all():
        raise refuse(work.node, "its bias is not finite")
    most = np.ceil(reach + 2 * 256 * target.grid.scale / step)
    folded = np.clip(bias, -most, most).astype(np.int64) - work.x.grid.zero * weight.sum(axis=1)
    if (np.abs(folded) + reach).max() > fixed_point.LARGEST_SUM:
        raise refuse(work.node, "its sums do not fit into 32 bits")
    return np.asarray(folded, np.int32)


def _product(symbols: SymbolTable, node: Node, axis: int) -> _Product:
    """The first two inputs of the node, without a bias. axis: the weight's output axis, which is moved to the front."""
    name = node.inputs[1]
    x = symbols.any_view(node, node.inputs[0])
    if name not in symbols.stored:
        raise refuse(node, f"its weight {name!r} is not stored as integers; {WANTED}")
    stored = symbols.stored[name]
    if stored.values.dtype.itemsize != 1:
        raise refuse(node, f"its weight {name!r} has type {stored.values.dtype}; only 8 and 4 bits are supported")
    if stored.axis not in (None, axis):
        raise refuse(
            node, f"its weight {name!r} has one scale per position of axis {stored.axis}; only axis {axis} is supported"
        )
    weight = np.moveaxis(stored.centered(), axis, 0)
    if not weight.size:
        raise refuse(node, f"its weight {name!r} is empty")
    scale = np.broadcast_to(stored.scale, (len(weight),))
    if (weight.reshape(len(weight), -1).any(axis=1) & ~(np.isfinite(scale) & (scale > 0))).any():
        raise refuse(node, f"its weight {name!r} has a scale that is not above 0")
    return _Product(node, x, weight, scale, np.zeros(len(weight)), stored.bits)


def _of_eight_bits(symbols: SymbolTable, work: _Product) -> _Product:
    """Splits a weight outside +-127 into a sum of several inside it, each multiplied by all of x."""
    rest = work.weight
    weights: list[np.ndarray] = []
    while rest.any() or not weights:
        weights.append(np.clip(rest, -_WEIGHT_LIMIT, _WEIGHT_LIMIT))
        rest = rest - weights[-1]
    if len(weights) == 1:
        return work
    groups = int(work.node.attribute("group", 1))
    if groups == 1 and len(weights) == 2 and (kept := _needed_twice(weights[1])) is not None:
        return _with_part_twice(symbols, work, weights, kept)
    value = _side_by_side(symbols, [work.x.value] * len(weights), groups, work.x.grid)
    n, c, *size = work.x.shape
    x = replace(work.x, value=value, shape=(n, c * len(weights), *size))
    return replace(work, x=x, weight=np.concatenate(weights, axis=1))


def _needed_twice(rest: np.ndarray) -> np.ndarray | None:
    """rest: int32 [out, in, ...]. The input channels of which it has weights, ascending, where they are few; else
    None."""
    kept = np.flatnonzero(rest.any(axis=(0, *range(2, rest.ndim))))
    return kept if len(kept) <= rest.shape[1] // _FEW else None


def _with_part_twice(
    symbols: SymbolTable, work: _Product, weights: Sequence[np.ndarray], kept: np.ndarray
) -> _Product:  # fmt: skip
    """The product, with the `kept` channels of x once more for the rest of their weights."""
    *pixels, channels = symbols.values[work.x.value].shape
    parts = [work.x.value]
    for channel in kept:
        value = symbols.new_value(f"{work.x.value} channel {channel}", (*pixels, 1), work.x.grid.dtype)
        starts = (*(0,) * len(pixels), int(channel))
        symbols.operations.append(Slice(value, (), work.x.value, value, starts, (1,) * len(starts)))
        parts.append(value)
    count = channels + len(kept)
    value = symbols.new_value(f"{work.x.value} and {len(kept)} more", (*pixels, count), work.x.grid.dtype)
    symbols.operations.append(Concatenate(value, (), tuple(parts), value, len(pixels)))
    n, _, *size = work.x.shape
    weight = np.concatenate([weights[0], weights[1][:, kept]], axis=1)
    return replace(work, x=replace(work.x, value=value, shape=(n, count, *size)), weight=weight)


def _bias(symbols: SymbolTable, node: Node, channels: int) -> np.ndarray:
    """float64 [channels]; zeros where the operator has none."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros(channels)
    reals = symbols.reals(node.inputs[2])
    if reals is None:
        raise refuse(node, f"its bias {node.inputs[2]!r} is not stored")
    return np.broadcast_to(reals.reshape(-1), (channels,))


def biased_matrix_product(symbols: SymbolTable, node: Node) -> tuple[Node, np.ndarray] | None:
    """The MatMul before this Add, and the stored row, float64 [out], that the Add adds to it."""
    for one, other in (node.inputs, node.inputs[::-1]):
        inner, row = symbols.pending.get(one), symbols.reals(other)
        if inner and inner.op == "MatMul" and row is not None and row.size in (1, row.shape[-1] if row.ndim else 1):
            return inner, row.ravel()
    return None


def with_more_bias(symbols: SymbolTable, node: Node, target: Target, more: np.ndarray) -> Held:
    """The MatMul plus the row `more`, float64 [out]."""
    work = _product(symbols, node, axis=1)
    return _dense(symbols, replace(work, bias=np.broadcast_to(more, (len(work.weight),))), target)
