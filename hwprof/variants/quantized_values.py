"""The stored values of a Q/DQ network: scales, zero points and integers, made from float weights and ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from onnx import ModelProto

from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.integer.numerics.fixed_point import Integers
from hwprof.integer.numerics.grid import SIGN, Grid
from hwprof.onnx_io.proto import constant_of
from hwprof.variants import grids
from hwprof.variants.quantize import NARROW, SCALE, STORED, batch_norms, grid_names
from hwprof.variants.weights import Weights, model_with

Ranges = Mapping[str, tuple[float, float]]  # activation -> lowest and highest value
_RECURRENT = ("LSTM", "GRU", "RNN")
_BIAS = 3  # position of a recurrent layer's bias
_NAMED = -len(SCALE)


def activations(quantized: Graph) -> list[str]:
    """The tensors of the float network whose ranges `values` needs. Stored tables are not among them: their values are
    their range."""
    stored = {t.name.removesuffix(STORED) for t in (*quantized.weights, *quantized.constants)}
    return list(dict.fromkeys(name for name in _grids(quantized).values() if name not in stored))


def _grids(quantized: Graph) -> dict[str, str]:
    """The name of every activation's grid, and the tensor whose range it covers: the wide one's for an 8-bit twin."""
    names = (node.inputs[1][:_NAMED] for node in quantized.nodes if node.op == "QuantizeLinear")
    return {name: name.removesuffix(NARROW) for name in names}


def values(
    quantized: Graph, weights: Weights, ranges: Ranges, largest_weight: int = grids.LARGEST_WEIGHT
) -> dict[str, np.ndarray]:
    """Every weight and constant of the Q/DQ network by name, each [*shape] of its tensor.

    quantized: the result of `quantize` or `quantize_whole`; weights: those of the float network by name, batch
    normalization folded (`folded`); ranges: those of `activations`; largest_weight: the largest integer of a weight.
    Raises InputError for values that have no scale.
    """
    return _Values(quantized, weights, ranges, largest_weight).all()


def model(quantized: Graph, arrays: Weights) -> ModelProto:
    """The Q/DQ network with these weights and constants, each of its tensor's shape."""
    return model_with(with_constants(quantized, arrays), arrays)


def with_constants(graph: Graph, arrays: Weights) -> Graph:
    """The graph with these values of its constants, each of its tensor's shape."""
    constants = tuple(constant_of(c.name, np.reshape(arrays[c.name], c.shape), c.dtype) for c in graph.constants)
    return replace(graph, constants=constants)


def folded(graph: Graph, weights: Weights) -> dict[str, np.ndarray]:
    """The weights of `fold_batch_norm(graph)` by name, each [*shape] of its tensor. Raises InputError where two
    convolutions share the weight."""
    arrays = dict(weights)
    producers, readers = graph.producers(), graph.consumers()
    for name, norm in batch_norms(graph).items():
        conv = producers[name]
        _, w, *bias = conv.inputs
        if len(readers[w]) > 1:
            raise InputError(f"convolution {conv.label!r} shares its weight; its batch normalization cannot be folded")
        shift, mean = (arrays[n].astype(np.float64) for n in norm.inputs[2:4])
        factor = norm_factor(norm, arrays)
        before = arrays[bias[0]].astype(np.float64) if bias else np.zeros_like(mean)
        arrays[bias[0] if bias else f"{name}_bias"] = ((before - mean) * factor + shift).astype(np.float32)
        arrays[w] = (arrays[w] * factor.reshape(-1, *(1,) * (arrays[w].ndim - 1))).astype(np.float32)
    return arrays


def norm_factor(norm: Node, weights: Weights) -> np.ndarray:
    """float64 [channels]: the factor of a BatchNormalization. weights: those of its graph by name."""
    gain, variance = (np.asarray(weights[norm.inputs[i]], np.float64) for i in (1, 4))
    return np.asarray(gain / np.sqrt(variance + float(norm.attribute("epsilon", 1e-5))))


class _Values:
    """Fills the names of a Q/DQ network; scales of activations first, since those of biases depend on them."""

    def __init__(self, quantized: Graph, weights: Weights, ranges: Ranges, largest_weight: int) -> None:
        self._graph = quantized
        self._largest_weight = largest_weight
        self._weights = weights
        self._ranges = ranges
        self._producers, self._readers = quantized.producers(), quantized.consumers()
        static = (*quantized.weights, *quantized.constants)
        self._stored = {t.name for t in static}
        self._arrays = {t.name: weights[t.name] for t in static if t.name in weights}
        zeros = (node.inputs[2] for node in quantized.nodes if node.op == "QuantizeLinear")
        self._activation_types = {quantized.type_of(name).dtype for name in zeros} - {"int16"}
        for name, tensor in _grids(quantized).items():
            if tensor in ranges:
                is_wide = quantized.type_of(grid_names(name)[1]).dtype == "int16"
                self._set_grid(name, (grids.of_wide_range if is_wide else grids.of_range)(*ranges[tensor]))

    def all(self) -> dict[str, np.ndarray]:
        """Every weight and constant by name, each of its tensor's shape."""
        new = self._stored - self._arrays.keys()  # a float network may have a DequantizeLinear of its own
        kept = [n for n in self._graph.nodes if n.op == "DequantizeLinear" and n.inputs[0] in new]
        # a weight needs the scale of the tensor that it multiplies, a bias that of both
        fills = {node.label: self._fill(node) for node in kept}
        for fill in (self._constant, self._weight, self._bias):
            for node in kept:
                if fills[node.label] == fill:
                    fill(node)
        if missing := self._stored - self._arrays.keys():
            raise InputError(f"no value is given for {min(missing)!r}")
        return self._arrays

    def _fill(self, node: Node) -> Callable[[Node], None]:
        """The method for the stored tensor that the node reads. One with a scale for each row is a weight."""
        dtype = self._graph.type_of(node.inputs[0]).dtype
        if dtype == "int32":
            return self._bias
        is_constant = dtype in self._activation_types and node.attribute("axis") is None
        return self._constant if is_constant else self._weight

    def _weight(self, node: Node) -> None:
        name = _plain(node)
        real = self._real(name)
        axis = node.attribute("axis")
        rows = np.moveaxis(real, axis, 0).reshape(real.shape[axis], -1) if axis is not None else real.reshape(1, -1)
        bias, x_scale = self._added(node, len(rows))
        scales = grids.weight_scales(rows, bias, x_scale, self._largest_weight)
        integers = grids.weight_integers(rows, scales, self._largest_weight)
        if axis is not None:
            integers = np.moveaxis(integers.reshape(len(rows), *np.delete(real.shape, axis)), 0, axis)
        if self._graph.type_of(node.inputs[0]).dtype == "uint8":
            integers = (integers.astype(np.int16) + SIGN).astype(np.uint8)
        self._set(node, name, scales, integers.reshape(real.shape))

    def _constant(self, node: Node) -> None:
        name = _plain(node)
        real = self._real(name)
        grid = grids.of_range(*self._ranges.get(name, (float(real.min(initial=0.0)), float(real.max(initial=0.0)))))
        self._set_grid(name, grid)
        held = grid.quantized(real)
        is_signed = self._graph.type_of(node.inputs[0]).dtype == "int8"
        self._arrays[node.inputs[0]] = (held.astype(np.int16) - SIGN).astype(np.int8) if is_signed else held

    def _bias(self, node: Node) -> None:
        """Fills a bias: int32 on the grid of the products to which it is added."""
        name = _plain(node)
        reader = self._readers[node.outputs[0]][0]
        scale = (self._scale_of(reader.inputs[0]) * self._scale_of(reader.inputs[1])).astype(np.float32)
        steps = np.rint(self._real(name) / scale.astype(np.float64))
        if np.abs(steps).max(initial=0.0) > np.iinfo(np.int32).max:  # where the weight's steps were chosen without it
            raise InputError(f"bias {name!r} is too large for the steps of the weight that it is added after")
        self._set(node, name, np.broadcast_to(scale, self._graph.shape(node.inputs[1])), steps.astype(np.int32))

    def _real(self, name: str) -> np.ndarray:
        """float64 [...]: a weight of the float network. Raises InputError where none is given."""
        if name not in self._weights:
            raise InputError(f"the stored tensor {name!r} cannot be quantized: the network's weights do not hold it")
        return np.asarray(self._weights[name], np.float64)

    def _added(self, node: Node, rows: int) -> tuple[np.ndarray | None, float]:
        """The bias that is added to products with this weight, [rows], and the scale of the other operand; None and 1
        where that operand or the bias is not quantized."""
        for reader in self._readers[node.outputs[0]]:
            place = _BIAS if reader.op in _RECURRENT else 2
            if reader.inputs[1] != node.outputs[0] or len(reader.inputs) <= place or not reader.inputs[place]:
                continue
            name = reader.inputs[place]
            if name in self._producers:
                name = _plain(self._producers[name])
            if name not in self._weights or reader.inputs[0] not in self._producers:
                continue
            bias = np.asarray(self._weights[name], np.float64)
            folded_bias = bias.reshape(2, -1).sum(axis=0) if reader.op in _RECURRENT else bias.ravel()
            largest = folded_bias if len(folded_bias) == rows else np.abs(folded_bias).max(keepdims=True)
            return largest, float(self._scale_of(reader.inputs[0]).ravel()[0])
        return None, 1.0

    def _scale_of(self, name: str) -> np.ndarray:
        """float64, [] or [rows]: the scale of a tensor that a DequantizeLinear made."""
        return np.asarray(self._arrays[self._producers[name].inputs[1]], np.float64)

    def _set(self, node: Node, name: str, scales: np.ndarray, integers: Integers) -> None:
        scale_name, zero_name = grid_names(name)
        shape, zero = self._graph.shape(scale_name), self._graph.type_of(zero_name)
        self._arrays[scale_name] = np.asarray(scales, np.float32).reshape(shape)
        self._arrays[zero_name] = np.full(zero.shape, SIGN if zero.dtype == "uint8" else 0, zero.dtype)
        self._arrays[node.inputs[0]] = integers

    def _set_grid(self, name: str, grid: Grid) -> None:
        scale_name, zero_name = grid_names(name)
        self._arrays[scale_name] = np.array(grid.scale, np.float32)
        dtype = self._graph.type_of(zero_name).dtype
        self._arrays[zero_name] = np.array(grid.zero - SIGN if dtype == "int8" else grid.zero, dtype)


def _plain(node: Node) -> str:
    """The name of the float weight whose integers the DequantizeLinear reads."""
    return node.inputs[0].removesuffix(STORED)
