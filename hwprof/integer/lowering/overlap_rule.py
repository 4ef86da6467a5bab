"""Operators that move several elements to one place, where they are added up or compared: Col2Im, and scatters with a
reduction.

The places are known when the network is loaded. Elements at one place are picked side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import pair_rule, picking, pooling, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics.grid import LIMITS, Grid

_FILLS = {"add": 0.0, "mul": 1.0, "max": -math.inf, "min": math.inf}  # of the reductions, for a place without updates


def image_of_columns(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Col2Im: the sums of the overlapping windows.

    Raises InputError for a node that integers cannot compute, as all rules do.
    """
    x = symbols.view(node, node.inputs[0])
    image, block = (tuple(int(n) for n in _stored(symbols, node, name)) for name in node.inputs[1:3])
    pixels = _pixels(node, image, block)
    of_plane = _numbers_by_place(pixels.ravel(), math.prod(image))
    planes = math.prod(x.shape) // pixels.size
    numbers = np.where(of_plane > 0, of_plane + pixels.size * np.arange(planes).reshape(-1, 1, 1), 0)
    overlaps = picking.picked(symbols, replace(node, outputs=(f"{target.name} overlaps",)), x, numbers)
    return pooling.reduced(symbols, node, target, overlaps, (2,), keeps_axes=False, is_sum=True)


def _pixels(node: Node, image: Sequence[int], block: Sequence[int]) -> np.ndarray:
    """int64 [taps, windows]: the pixel of the image under each tap of each window; -1 in the padding."""
    axes = len(image)
    strides, dilations = (tuple(node.attribute(name, (1,) * axes)) for name in ("strides", "dilations"))
    pads = tuple(node.attribute("pads", (0,) * 2 * axes))
    whole = np.full([n + pads[i] + pads[axes + i] for i, n in enumerate(image)], -1)
    whole[tuple(slice(pads[i], pads[i] + n) for i, n in enumerate(image))] = np.arange(math.prod(image)).reshape(image)
    spans = [(k - 1) * d + 1 for k, d in zip(block, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(whole, spans)
    windows = windows[tuple(slice(None, None, s) for s in strides) + tuple(slice(None, None, d) for d in dilations)]
    taps: np.ndarray = np.moveaxis(windows, range(axes), range(axes, 2 * axes)).reshape(math.prod(block), -1)
    return taps


def scattered(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ScatterElements or ScatterND."""
    reduction = str(node.attribute("reduction", "none"))
    if reduction == "none":
        return picking.merged(symbols, node, target)
    if reduction not in _FILLS:
        raise refuse(node, f"its reduction {reduction!r} is not supported")
    data, updates = _operands(symbols, node, target, reduction)
    numbers = _numbers_by_place(_places(symbols, node, data.shape), math.prod(data.shape))
    parts = [
        picking.picked(
            symbols, replace(node, outputs=(f"{target.name} updates {i}",)), updates,
            at_each_place.reshape(data.shape), _FILLS[reduction],
        )
        for i, at_each_place in enumerate(numbers.T)
    ]  # fmt: skip
    if reduction == "add":
        return pair_rule.added(symbols, node, target, [data, *parts])
    if reduction != "mul":
        return pair_rule.extreme_of(symbols, node, target, [data, *parts], reduction == "max")
    if len(parts) > 1:
        raise refuse(node, "it multiplies an element by several updates")
    return pair_rule.product(symbols, node, *pair_rule.paired(symbols, node, data, parts[0]), target)


def _operands(symbols: SymbolTable, node: Node, target: Target, reduction: str) -> tuple[Held, Held]:
    """The data and the updates, on grids on which the reduction has its fill."""
    names = node.inputs[0], node.inputs[2]
    if reduction in ("max", "min"):
        target.require_bytes(node)
        data, updates = (tables.on_grid(symbols, node, name, target.grid) for name in names)
        return data, updates
    data, updates = (pair_rule.operand(symbols, node, name) for name in names)
    if reduction == "mul":
        wide = Grid(max(pair_rule.reach(updates.grid), 1.0) / LIMITS["int16"][1], 0, dtype="int16")
        updates = tables.requantized(symbols, updates, wide, f"{target.name} factors")
    return data, updates


def _places(symbols: SymbolTable, node: Node, shape: tuple[int, ...]) -> np.ndarray:
    """int64 [n]: the place in the data, of this shape, of every update."""
    indices = _stored(symbols, node, node.inputs[1])
    places = np.arange(math.prod(shape)).reshape(shape)
    if node.op == "ScatterND":
        return np.asarray(places[tuple(np.moveaxis(indices, -1, 0))]).ravel()
    at: list[np.ndarray] = list(np.indices(indices.shape))
    at[int(node.attribute("axis", 0)) % len(shape)] = indices
    return np.asarray(places[tuple(at)]).ravel()


def _numbers_by_place(places: np.ndarray, count: int) -> np.ndarray:
    """Returns int64 [count, k]: the numbers, from 1 on, of the up to k elements that go to each place, and then 0.

    places: int64 [n], of each element; an element with a negative place goes nowhere.
    """
    order = np.argsort(places, kind="stable")
    order = order[places[order] >= 0]
    to = places[order]
    rank = np.arange(len(to)) - np.searchsorted(to, to)
    numbers = np.zeros((count, int(rank.max(initial=0)) + 1), np.int64)
    numbers[to, rank] = order + 1
    return numbers


def _stored(symbols: SymbolTable, node: Node, name: str) -> np.ndarray:
    """The stored integers, of their own shape. Raises InputError where the input is not stored."""
    if name not in symbols.weights:
        raise refuse(node, f"its input {name!r} is not stored")
    return symbols.weights[name]
