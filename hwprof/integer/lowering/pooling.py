"""Pools and reductions: the maximum, the mean or the sum of elements in windows or along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import images, picking, product_rule, tables
from hwprof.integer.lowering.images import Reach
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, image_axes, refuse
from hwprof.integer.lowering.target import Rule, Target
from hwprof.integer.numerics import fixed_point
from hwprof.integer.program.program import AveragePool, MaxPool, Window

_LARGEST_RATIO = 2.0**20  # of the scales of a sum and its result
_IMAGE_RANK = 4
_LARGEST_COUNT = 2**20  # of the elements of one sum

# -- windows -------------------------------------------------------------------------------------------


def max_pool(symbols: SymbolTable, node: Node, held: Held) -> Held:
    """A MaxPool, on the grid of its input. Raises InputError where the operation does not support the node."""
    images.require_image(node, held)
    if len(node.outputs) > 1:
        raise refuse(node, "the places of the maxima are integers that no scale belongs to")
    size = symbols.graph.shape(node.outputs[0])
    *deep, across = images.reaches(node, node.attribute("kernel_shape"), held.shape[2:], size[2:])
    if len(deep) < 2:
        x = images.planar(symbols, held)
        y = _maximum(symbols, node, x, images.window(deep[0] if deep else Reach(1), across), (1, *size[2:])[-2:])
    else:
        n, c, _, h, w = held.shape
        x = images.seen_as(symbols, symbols.image(held), (n, c, held.shape[2], h * w))
        x = _maximum(symbols, node, x, images.window(deep[0], Reach(1)), (size[2], h * w))
        x = images.seen_as(symbols, x, (n * size[2], c, h, w))
        y = _maximum(symbols, node, x, images.window(deep[1], across), size[3:])
    return images.seen_as(symbols, y, size)


def _maximum(symbols: SymbolTable, node: Node, x: Held, window: Window, size: Sequence[int]) -> Held:
    """x: an image with two spatial axes; size: those of the result."""
    n, c = x.shape[:2]
    value = symbols.new_value(node.outputs[0], (n, *size, c))
    symbols.operations.append(MaxPool(node.label, (node.label,), x.value, value, window))
    return Held(value, x.grid, (n, c, *size), is_image=True)


def average_pool(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An AveragePool. Raises InputError where the operation does not support the node, as all rules do."""
    x = symbols.any_view(node, node.inputs[0])
    images.require_image(node, x)
    size = symbols.graph.shape(node.outputs[0])
    reached = images.reaches(node, node.attribute("kernel_shape"), x.shape[2:], size[2:])
    counts_padding = bool(node.attribute("count_include_pad", 0))
    is_inside = all(
        r.pad == 0 and r.span(o) <= n for r, n, o in zip(reached, x.shape[2:], size[2:], strict=True)
    )  # fmt: skip
    is_wide = "int16" in (x.grid.dtype, target.grid.dtype)
    leaves_padding = counts_padding and bool(node.attribute("ceil_mode", 0)) and not is_inside
    if is_wide or leaves_padding or len(reached) > 2:
        return _averaged_by_count(symbols, node, target, x, _counts(node, reached, x.shape[2:], size[2:]))
    down, across = (Reach(1), *reached)[-2:]
    window = images.window(down, across)
    plain = images.planar(symbols, x)
    y = _averaged(symbols, node, target, plain, window, (*size[:2], *(1, *size[2:])[-2:]), counts_padding, is_inside)
    return images.seen_as(symbols, y, size)


def _averaged_by_count(symbols: SymbolTable, node: Node, target: Target, x: Held, counts: np.ndarray) -> Held:
    """The means in windows as convolutions, one for each of the counts, int64 [*size], of what a window has."""
    size = symbols.graph.shape(node.outputs[0])
    different, places = np.unique(counts, return_inverse=True)
    means = [product_rule.summed_windows(symbols, node, x, target, 1 / count) for count in different]
    if len(means) == 1:
        return means[0]
    own = np.broadcast_to(places.reshape(counts.shape), size)  # the convolution of each element
    return picking.picked_of(symbols, node, means, picking.numbered(size) + own * own.size, target)


def _counts(node: Node, reached: Sequence[Reach], source: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """int64 [*size]: by how many pixels a mean divides. source, size: of the spatial axes."""
    axes = len(reached)
    ends = tuple(node.attribute("pads", (0,) * 2 * axes))[axes:]
    counts = np.ones((), np.int64)
    for reach, n, count, end in zip(reached, source, size, ends, strict=True):
        at = np.arange(count) * reach.stride - reach.pad + np.arange(reach.kernel)[:, None] * reach.dilation
        before, after = 0, n
        if node.attribute("count_include_pad", 0):
            is_given = node.attribute("auto_pad", "NOTSET") == "NOTSET"
            before, after = -reach.pad, n + end if is_given else reach.span(count) - reach.pad
        counts = np.multiply.outer(counts, ((at >= before) & (at < after)).sum(axis=0))
    return counts


def _averaged(
    symbols: SymbolTable, node: Node, target: Target, x: Held, window: Window, size: Sequence[int],
    counts_padding: bool, is_inside: bool = False, is_sum: bool = False,
) -> Held:  # fmt: skip
    """x: an image with two spatial axes; size: the ONNX shape of the result. is_inside: no window leaves the image.
    is_sum: the sums themselves, not the means."""
    count = math.prod(window.kernel)
    real = x.grid.scale / target.grid.scale
    if count > _LARGEST_COUNT or 255 * count > fixed_point.LARGEST_SUM or real >= _LARGEST_RATIO:
        raise refuse(node, "its sums do not fit into 32 bits")
    factors = [Fraction(real) / (1 if is_sum else n) for n in range(1, count + 1)]
    zero = target.grid.zero - x.grid.zero * Fraction(real) * (count if is_sum else 1)
    # With sums of what is held itself all ties are rounded up, but the zero point must then be an integer.
    is_held = zero.denominator == 1 and 0 <= zero <= 255 and (is_inside or not (counts_padding or is_sum))
    multiplier, shift = _not_below(factors)
    rescale = target.rescale(multiplier, shift)
    if is_held:
        rescale = replace(rescale, zero=int(zero))
    value = symbols.new_value(target.name, (size[0], *size[2:], size[1]))
    symbols.operations.append(
        AveragePool(
            node.label, target.members, x.value, value, window, 0 if is_held else x.grid.zero, rescale, counts_padding
        )
    )
    return Held(value, target.grid, tuple(size), is_image=True)


def _not_below(factors: Sequence[Fraction]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest multipliers and shifts that are not below the factors, int32 [n + 1] each: a tie must not fall to the
    lower side of a half. Index 0, a window without a pixel, never occurs."""
    multiplier, shift = fixed_point.multipliers_and_shifts(np.array([0.0, *map(float, factors)]))
    for i, factor in enumerate(factors, start=1):
        if Fraction(int(multiplier[i]), 1 << int(shift[i])) < factor and multiplier[i] < 2**31 - 1:
            multiplier[i] += 1
    return multiplier, shift


def global_average(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A GlobalAveragePool over any number of axes."""
    x = symbols.view(node, node.inputs[0])
    return reduced(symbols, node, target, x, tuple(range(2, len(x.shape))), keeps_axes=True, is_sum=False)


def global_max_pool(symbols: SymbolTable, node: Node, held: Held) -> Held:
    """A GlobalMaxPool over any number of axes, on the grid of its input."""
    return _maximum_along(symbols, node, held, tuple(range(2, len(held.shape))), node.outputs[0])


# -- axes ----------------------------------------------------------------------------------------------


def mean(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceMean over any axes."""
    return _mean_or_sum(symbols, node, target, is_sum=False)


def total(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceSum over any axes."""
    return _mean_or_sum(symbols, node, target, is_sum=True)


def _mean_or_sum(symbols: SymbolTable, node: Node, target: Target, is_sum: bool) -> Held:
    x = symbols.view(node, node.inputs[0])
    axes = axes_of(symbols, node, len(x.shape))
    if not axes:
        return tables.requantized(symbols, x, target.grid, target.name)
    return reduced(symbols, node, target, x, axes, bool(node.attribute("keepdims", 1)), is_sum)


def absolute_total(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceL1 over any axes: the distances from the zero point fit a grid of the same steps."""
    x = symbols.view(node, node.inputs[0])
    held = np.abs(np.arange(256) - x.grid.zero).astype(np.uint8)
    grid = replace(x.grid, zero=0, is_signed=False)
    distances = tables.tabulated(symbols, x, held, grid, f"{target.name} distances", ())
    axes = axes_of(symbols, node, len(x.shape))
    if not axes:
        return tables.requantized(symbols, distances, target.grid, target.name)
    return reduced(symbols, node, target, distances, axes, bool(node.attribute("keepdims", 1)), is_sum=True)


def extreme(is_largest: bool) -> Rule:
    """A ReduceMax or ReduceMin over any axes."""

    def rule(symbols: SymbolTable, node: Node, target: Target) -> Held:
        x = symbols.view(node, node.inputs[0])
        on_grid = tables.requantized(symbols, x, target.grid, f"{target.name} rescaled")
        axes = axes_of(symbols, node, len(x.shape))
        y = on_grid
        if axes:
            turned = on_grid if is_largest else tables.reflected(symbols, on_grid)
            found = _maximum_along(symbols, node, turned, axes, target.name)
            y = found if is_largest else tables.reflected(symbols, found)
        y = replace(y, grid=target.grid)
        y = symbols.with_shape(y, symbols.graph.shape(node.outputs[0]), target.name)
        return tables.bounded(symbols, y, target) if target.is_bounded else y

    return rule


def axes_of(symbols: SymbolTable, node: Node, rank: int) -> tuple[int, ...]:
    """The axes that a reduction is over, ascending; none where it does nothing. Raises InputError where they are
    computed."""
    axes = node.attribute("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        if node.inputs[1] not in symbols.weights:
            raise refuse(node, f"its axes {node.inputs[1]!r} are not stored")
        axes = tuple(int(a) for a in np.ravel(symbols.weights[node.inputs[1]]))
    if axes is None or not len(axes):
        return () if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({int(axis) % rank for axis in axes}))


def reduced(
    symbols: SymbolTable, node: Node, target: Target, x: Held, axes: tuple[int, ...], keeps_axes: bool, is_sum: bool
) -> Held:
    """The means along the axes of x, or the sums. Without its axes the result has the shape of the node's."""
    if len(x.shape) == _IMAGE_RANK and axes == (2, 3):
        n, c, h, w = x.shape
        y = _averaged(symbols, node, target, symbols.image(x), Window((h, w)), (n, c, 1, 1), True, True, is_sum)
        return y if keeps_axes else symbols.reshaped(y, (n, c), f"{target.name} flat")
    block, size = in_a_line(symbols, x, axes, f"{target.name} in a line")
    n, c, count, _ = block.shape
    y = _averaged(symbols, node, target, block, Window((count, 1)), (n, c, 1, 1), True, True, is_sum)
    if not keeps_axes:
        size = symbols.graph.shape(node.outputs[0])
    return _kept(symbols, y, x, axes, size, target.name)


def _kept(
    symbols: SymbolTable, y: Held, x: Held, axes: tuple[int, ...], size: Sequence[int], name: str
) -> Held:  # fmt: skip
    """The reduced image y [n, c, 1, 1] in the shape `size`; as an image where x is one and all its pixels went."""
    if x.is_image and axes == tuple(range(2, len(x.shape))) and len(size) == len(x.shape):
        return images.seen_as(symbols, y, size)
    return symbols.reshaped(y, size, name)


def _maximum_along(symbols: SymbolTable, node: Node, x: Held, axes: tuple[int, ...], name: str) -> Held:
    block, size = in_a_line(symbols, x, axes, f"{name} in a line")
    y = _maximum(symbols, node, block, Window((block.shape[2], 1)), (1, 1))
    return _kept(symbols, y, x, axes, size, name)


def largest_along_last(symbols: SymbolTable, node: Node, x: Held, name: str) -> Held:
    """The largest element of each row of x, in ONNX's order of axes; the last axis is kept."""
    return _maximum_along(symbols, node, x, (len(x.shape) - 1,), name)


def in_a_line(symbols: SymbolTable, x: Held, axes: tuple[int, ...], name: str) -> tuple[Held, tuple[int, ...]]:
    """The tensor as an image of the shape [n, c, m, 1], whose m pixels are along the axes, and the ONNX shape of its
    reduction with the axes kept."""
    size = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    count = math.prod(x.shape[axis] for axis in axes)
    order = image_axes(len(x.shape)) if x.is_image else tuple(range(len(x.shape)))
    places = [order.index(axis) for axis in axes]
    if (x.is_image and axes != tuple(range(2, len(x.shape)))) or not _are_adjacent(places):
        kept = [axis for axis in range(len(x.shape)) if axis not in axes]
        x, before = symbols.transposed(x, (*axes, *kept), name), 1
    else:
        memory = symbols.values[x.value].shape
        before = math.prod(memory[: min(places)])
    after = math.prod(x.shape) // (before * count)
    flat = symbols.reshaped(x, (before, count, 1, after), name)
    return replace(flat, shape=(before, after, count, 1), is_image=True), size


def _are_adjacent(places: Sequence[int]) -> bool:
    return sorted(places) == list(range(min(places), max(places) + 1))
