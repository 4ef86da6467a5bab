"""Resize: nearest as a choice of elements, linear and cubic as sums of neighbours with weights of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import picking, product_rule
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target

_SAFE = 1e-6  # distance from an integer that counts as none
_LARGEST_STEPS = 127  # of an exact weight
_COPIES = 8  # of a neighbour, where its weight has no exact steps
_NEAREST = "nearest"


def is_nearest(node: Node) -> bool:
    """Whether the node only picks elements."""
    crops = node.attribute("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return bool(node.attribute("mode", _NEAREST) == _NEAREST) and not crops


@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis is resized. source, size: elements before and after; start, end: of the region, as shares."""

    source: int
    size: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    def positions(self, mode: str) -> np.ndarray:
        """float64 [size]: the place in the source of every element of the result."""
        x, n = np.arange(self.size, dtype=np.float64), self.source
        length = self.scale * n
        if mode == "asymmetric":
            return x / self.scale
        if mode == "align_corners":
            return x * (n - 1) / (length - 1) if length != 1 else 0 * x
        if mode == "tf_crop_and_resize":
            if self.size == 1:
                return np.array([0.5 * (self.start + self.end) * (n - 1)])
            return self.start * (n - 1) + x * (self.end - self.start) * (n - 1) / (self.size - 1)
        if mode == "pytorch_half_pixel" and self.size == 1:
            return np.full(1, -0.5)
        shift = 0.0
        if mode == "half_pixel_symmetric":
            shift = n / 2 * (1 - self.size / length)
        return shift + (x + 0.5) / self.scale - 0.5


def nearest(symbols: SymbolTable, node: Node, held: Held) -> Held:
    """A Resize or Upsample by the nearest elements. Raises InputError where its scales are not stored."""
    mode = "asymmetric" if node.op == "Upsample" else node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if node.op == "Upsample" else node.attribute("nearest_mode", "round_prefer_floor")
    numbers = picking.numbered(held.shape)
    for axis, along in enumerate(_axes(symbols, node, held.shape)):
        if along.size == along.source and along.scale == 1:
            continue
        at = _rounded(along.positions(str(mode)), str(rounding)).clip(0, along.source - 1)
        numbers = np.take(numbers, at, axis)
    return picking.picked(symbols, node, held, numbers)


def _rounded(x: np.ndarray, rounding: str) -> np.ndarray:
    """int64 [n]."""
    if rounding == "floor":
        rounded = np.floor(x)
    elif rounding == "ceil":
        rounded = np.ceil(x)
    else:
        rounded = np.ceil(x - 0.5) if rounding == "round_prefer_floor" else np.floor(x + 0.5)
    return np.asarray(rounded, np.int64)


def interpolated(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A Resize by sums of neighbours. Raises InputError where the operation does not support the node."""
    x = symbols.plain(symbols.any_view(node, node.inputs[0]))
    mode = str(node.attribute("coordinate_transformation_mode", "half_pixel"))
    if node.op == "Upsample":
        mode = "asymmetric"
    axes = _axes(symbols, node, x.shape)
    changed = [i for i, a in enumerate(axes) if a.size != a.source or a.scale != 1 or mode == "tf_crop_and_resize"]
    first = min(changed, default=len(axes) - 1)
    matrices = [_matrix(node, axis, mode) if i in changed else np.eye(axis.size) for i, axis in enumerate(axes)]
    taps, weights = _neighbours(matrices[first:])
    outside = np.zeros(weights.shape[0], bool)
    if mode == "tf_crop_and_resize":
        outside = _outside(axes[first:], mode)
        weights = np.where(outside[:, None], 0.0, weights)
    steps, scale, taps = _in_steps(weights, taps)
    lead, size = math.prod(x.shape[:first]), math.prod(x.shape[first:])
    numbers = (np.arange(lead)[None, :, None] * size + taps.T[:, None, :]) + 1  # [taps, lead, pixels]
    lines = picking.picked(symbols, replace(node, outputs=(f"{target.name} neighbours",)), x, numbers)
    bias = np.where(outside, float(node.attribute("extrapolation_value", 0.0)), 0.0)
    y = product_rule.weighted_lines(symbols, node, target, lines, steps, scale, bias)
    return symbols.reshaped(y, symbols.graph.shape(node.outputs[0]), target.name)


def _axes(symbols: SymbolTable, node: Node, shape: tuple[int, ...]) -> list[_Axis]:
    rank, result = len(shape), symbols.graph.shape(node.outputs[0])
    axes = [int(a) % rank for a in node.attribute("axes", tuple(range(rank)))]
    roi, scales, sizes = _stored_inputs(symbols, node)
    factors = [1.0] * rank
    regions = [(0.0, 1.0)] * rank
    if len(scales):
        for axis, factor in zip(axes, scales, strict=True):
            factors[axis] = float(factor)
    else:
        ratios = [float(size) / shape[axis] for axis, size in zip(axes, sizes, strict=True)]
        policy = node.attribute("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            ratios = [min(ratios) if policy == "not_larger" else max(ratios)] * len(ratios)
        for axis, ratio in zip(axes, ratios, strict=True):
            factors[axis] = ratio
    if len(roi):
        for i, axis in enumerate(axes):
            regions[axis] = float(roi[i]), float(roi[i + len(axes)])
    return [_Axis(n, m, f, *r) for n, m, f, r in zip(shape, result, factors, regions, strict=True)]


def _stored_inputs(symbols: SymbolTable, node: Node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The region, the scales and the sizes; empty where they are not given."""
    if node.op == "Upsample":
        given = node.attribute("scales")
        names = ["", "" if given else node.inputs[1], ""]
    else:
        given, names = None, [*node.inputs[1:], "", "", ""][:3]
        if len(node.inputs) == 2:  # opset 10: only scales
            names = ["", node.inputs[1], ""]
    found = []
    for name in names:
        if name and name not in symbols.weights:
            raise refuse(node, f"its input {name!r} is not stored")
        found.append(np.ravel(symbols.weights[name]) if name else np.zeros(0))
    if given:
        found[1] = np.asarray(given)
    return found[0], found[1], found[2]


def _matrix(node: Node, axis: _Axis, mode: str) -> np.ndarray:
    """float64 [size, source]: the weights of the source's elements in each of the result's."""
    at = axis.positions(mode)
    kind = node.attribute("mode", _NEAREST)
    if kind == _NEAREST:
        places = _rounded(at, str(node.attribute("nearest_mode", "round_prefer_floor")))
        return np.asarray(np.eye(axis.source)[places.clip(0, axis.source - 1)])
    stretch = max(1.0, 1 / axis.scale) if node.attribute("antialias", 0) else 1.0
    radius = stretch * (1 if kind == "linear" else 2)
    matrix = np.zeros((axis.size, axis.source))
    for row, x in enumerate(at):
        places = np.arange(math.floor(x - radius) + 1 - (radius != int(radius)), math.ceil(x + radius) + 1)
        share = _curve(str(kind), (places - x) / stretch, float(node.attribute("cubic_coeff_a", -0.75)))
        if stretch > 1:
            share = share / share.sum()
        if node.attribute("exclude_outside", 0):
            share = np.where((places >= 0) & (places < axis.source), share, 0.0)
            share = share / share.sum()
        np.add.at(matrix[row], places.clip(0, axis.source - 1), share)
    return matrix


def _curve(kind: str, x: np.ndarray, a: float) -> np.ndarray:
    """[n]: the weights at distances x, of a tent or of Keys' cubic convolution (1981) with the parameter a."""
    far = np.abs(x)
    if kind == "linear":
        return np.asarray(np.maximum(0.0, 1 - far))
    inner = ((a + 2) * far - (a + 3)) * far * far + 1
    outer = a * (((far - 5) * far + 8) * far - 4)
    return np.where(far <= 1, inner, np.where(far < 2, outer, 0.0))


def _neighbours(matrices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """taps: int64 [pixels, n], the places of each pixel's neighbours in the flattened source; weights: float64
    [pixels, n]."""
    per_axis = []
    for matrix in matrices:
        count = max(1, int((matrix != 0).sum(axis=1).max()))
        places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :count]
        per_axis.append((places, np.take_along_axis(matrix, places, 1)))
    taps, weights = np.zeros((1, 1), np.int64), np.ones((1, 1))
    for (places, share), matrix in zip(per_axis, matrices, strict=True):
        taps = (taps[:, None, :, None] * matrix.shape[1] + places[None, :, None, :]).reshape(
            len(taps) * len(places), -1
        )
        weights = (weights[:, None, :, None] * share[None, :, None, :]).reshape(len(weights) * len(places), -1)
    return taps, weights


def _outside(axes: list[_Axis], mode: str) -> np.ndarray:
    """Bool [pixels]: which of the result lie outside of the source."""
    outside = np.zeros(1, bool)
    for axis in axes:
        at = axis.positions(mode)
        beyond = (at < 0) | (at > axis.source - 1)
        outside = (outside[:, None] | beyond[None, :]).ravel()
    return outside


def _in_steps(weights: np.ndarray, taps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights as integers in +-127, int32 [pixels, m], their scales, [pixels], and the taps that they belong to,
    [pixels, m].

    Weights without a common step are rounded to parts of `_COPIES` times 127 steps; their sum is kept, so that equal
    neighbours give what they are.
    """
    for count in range(1, _LARGEST_STEPS + 1):
        steps = weights * count
        if np.abs(steps).max() <= _LARGEST_STEPS and np.abs(steps - np.rint(steps)).max() < _SAFE * count:
            return np.rint(steps).astype(np.int32), np.full(len(weights), 1 / count), taps
    largest = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-9)
    scale = largest / (_COPIES * _LARGEST_STEPS - weights.shape[1])
    steps = np.rint(weights / scale).astype(np.int64)
    lost = np.rint(weights.sum(axis=1) / scale[:, 0]).astype(np.int64) - steps.sum(axis=1)
    steps[np.arange(len(steps)), np.abs(weights).argmax(axis=1)] += lost
    parts, rest = [], steps
    for _ in range(_COPIES):
        parts.append(np.clip(rest, -_LARGEST_STEPS, _LARGEST_STEPS))
        rest = rest - parts[-1]
    used = [i for i, part in enumerate(parts) if part.any()]
    split = np.concatenate([parts[i] for i in used], axis=1) if used else steps
    return split.astype(np.int32), scale[:, 0], np.tile(taps, (1, max(1, len(used))))
