"""Operators that pick elements of one quantized tensor at positions that are known when the network is loaded.

The operator itself, applied to the positions of the elements, says which one ends up where: one rule serves Tile,
DepthToSpace, a Gather at stored indices and others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import folding, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, image_axes, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.program.program import Concatenate, Pick

OPERATORS = {
    "CenterCropPad", "Compress", "DepthToSpace", "Gather", "GatherElements", "GatherND", "ReverseSequence",
    "SpaceToDepth", "Tile", "Trilu",
}  # fmt: skip
_LARGEST = 2**30  # elements
_UPDATES = {"TensorScatter": 1}  # place of the second tensor, where it is not the third input


def apply(symbols: SymbolTable, node: Node, held: Held, fill: float = 0.0) -> Held:
    """The first output of the node, whose other inputs are stored. Elements that the node makes up are `fill`.

    Raises InputError where another input is not stored, or the result is empty or too large.
    """
    stored: dict[str, np.ndarray] = {}
    for name in node.inputs[1:]:
        if name and name not in symbols.weights:
            raise refuse(node, f"its input {name!r} is not stored")
        if name:
            stored[name] = symbols.weights[name]
    at = numbered(held.shape)
    results = folding.folded(symbols.graph, node, {node.inputs[0]: at, **stored})
    return picked(symbols, node, held, results[node.outputs[0]], fill)


def merged(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A scatter without reduction, or a Where with a stored condition: each element comes from one of two tensors.

    Raises InputError for another node.
    """
    if str(node.attribute("reduction", "none")) != "none":
        raise refuse(node, f"its reduction {node.attribute('reduction')!r} is not supported")
    names = node.inputs[1:] if node.op == "Where" else (node.inputs[0], node.inputs[_UPDATES.get(node.op, 2)])
    held = [tables.on_grid(symbols, node, name, target.grid) for name in names]
    start = 1
    numbers: dict[str, np.ndarray] = {}
    for name, x in zip(names, held, strict=True):
        numbers.setdefault(name, numbered(x.shape, start))
        start += math.prod(x.shape)
    stored = {name: symbols.weights[name] for name in node.inputs if name in symbols.weights and name not in numbers}
    missing = [name for name in node.inputs if name and name not in stored and name not in numbers]
    if missing:
        raise refuse(node, f"its input {missing[0]!r} is not stored")
    at = folding.folded(symbols.graph, node, {**stored, **numbers})[node.outputs[0]]
    return picked_of(symbols, node, held, at, target)


def picked_of(symbols: SymbolTable, node: Node, operands: Sequence[Held], numbers: np.ndarray, target: Target) -> Held:
    """numbers: int64 [...] of the result's shape, from 1 on in the order of the operands, which are on the target's
    grid."""
    flat = [symbols.reshaped(symbols.plain(x), (-1,), f"{x.value} flat") for x in operands]
    count = sum(math.prod(x.shape) for x in operands)
    joined = symbols.new_value(f"{target.name} sources", (count,), target.grid.dtype)
    symbols.operations.append(Concatenate(joined, (), tuple(x.value for x in flat), joined, 0))
    whole = Held(joined, target.grid, (count,))
    y = picked(symbols, replace(node, outputs=(target.name,)), whole, numbers)
    return tables.bounded(symbols, y, target) if target.is_bounded else y


def numbered(shape: tuple[int, ...], start: int = 1) -> np.ndarray:
    """int64 of the shape [...]: the elements' numbers in ONNX's order, from `start` on."""
    return np.arange(start, start + math.prod(shape)).reshape(shape)


def picked(symbols: SymbolTable, node: Node, held: Held, numbers: np.ndarray, fill: float = 0.0) -> Held:
    """numbers: int64 [...] of the result's shape, from 1 on in ONNX's order of `held`; 0 is `fill`."""
    size, name = numbers.shape, node.outputs[0]
    if not numbers.size or max(numbers.size, math.prod(held.shape)) > _LARGEST:
        raise refuse(node, f"its result {name!r} has {numbers.size} elements, but 1 to {_LARGEST} are supported")
    is_image = held.is_image and len(size) == len(held.shape)
    x = held if is_image else symbols.plain(held)
    axes = image_axes(len(size)) if is_image else tuple(range(len(size)))
    index = np.transpose(_places(x, axes)[numbers], axes).ravel()
    if (index < 0).any():
        x, index = _with_fill(symbols, x, index, x.grid.nearest(fill))
    total = math.prod(symbols.values[x.value].shape)
    rows, width = in_rows(index, total)
    value = symbols.new_value(name, tuple(size[a] for a in axes), held.grid.dtype)
    members = (node.label,)
    symbols.operations.append(Pick(node.label, members, x.value, value, rows, width))
    return Held(value, held.grid, size, is_image)


def in_rows(index: np.ndarray, total: int) -> tuple[np.ndarray, int]:
    """index: int64 [m] of `total` elements. Returns the same as int32 [m / width] of rows as long as possible, and the
    width."""
    starts = np.append(0, np.flatnonzero(np.diff(index) != 1) + 1)
    width = int(np.gcd.reduce(np.concatenate([[total, index.size], starts, index[starts]])))
    return (index[::width] // width).astype(np.int32), width


def _places(x: Held, axes: tuple[int, ...]) -> np.ndarray:
    """int64 [n + 1]: the place in memory of each element of x by its number; -1 for number 0."""
    shape = tuple(x.shape[a] for a in axes) if x.is_image else x.shape
    memory = np.arange(math.prod(shape)).reshape(shape)
    plain = np.transpose(memory, np.argsort(axes)) if x.is_image else memory
    return np.append(-1, plain.ravel())


def _with_fill(symbols: SymbolTable, x: Held, index: np.ndarray, fill: int) -> tuple[Held, np.ndarray]:
    """x, as one line, with a row of `fill` at its end, and the index [m], in which that row replaces -1."""
    shape = symbols.values[x.value].shape
    total, row = math.prod(shape), shape[-1]
    flat = symbols.reshaped(x, (total,), f"{x.value} flat")
    more = symbols.keep(f"{x.value} fill", np.full(row, fill, x.grid.dtype), x.grid)
    value = symbols.new_value(f"{x.value} filled", (total + row,), x.grid.dtype)
    symbols.operations.append(Concatenate(f"{x.value} filled", (), (flat.value, more.value), value, 0))
    filled = np.where(index < 0, total + np.arange(index.size) % row, index)
    return Held(value, x.grid, (total + row,)), filled
