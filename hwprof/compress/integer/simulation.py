"""A quantized network in PyTorch: the integers that the backend `integer` computes, and gradients for its weights.

This is the quantization-aware training of iRNN (Sari, Courville & Partovi Nia, arXiv 2109.09828). Each call turns the
float weights into the Q/DQ network that an export would write now, and lowers it as the backend does: the simulation
uses the backend's own constants, and its integers are those of the kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.integer.cell import GateSums, LstmCell, Requantized, Signal, Weight, product, replaced
from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import (
    Convolution,
    Entry,
    Lstm,
    Operation,
    Program,
    Reshape,
    Slice,
    Transpose,
    reads,
)
from hwprof.integer.run import border
from hwprof.onnx_io.proto import array_of
from hwprof.variants import calibration, quantized_values
from hwprof.variants.quantize import STORED
from hwprof.variants.quantize_whole import quantize_whole
from hwprof.variants.quantized_values import Ranges


class Trainable(Protocol):
    """A float network in PyTorch that knows its Graph and the weights in it, such as `recurrent.SequenceClassifier`."""

    def graph(self, batch: int) -> Graph: ...
    def tensors(self) -> dict[str, Tensor]:
        """The weights of `graph` by name, each [*shape] of its tensor."""


class Simulation(nn.Module):
    """The network in integer arithmetic. Its parameters are those of the float network that it holds.

    Takes networks of LSTM and linear layers (Gemm, or MatMul with a stored weight and the Add of a bias) that have one
    input and one output; operators between them may only move values.
    """

    def __init__(self, network: Trainable, ranges: Ranges) -> None:
        """ranges: those of the activations, from `observe`; training does not change them."""
        super().__init__()
        self.network = network
        self.ranges = ranges
        self._graphs: dict[int, tuple[Graph, Graph]] = {}  # by batch: float, quantized

    def forward(self, x: Tensor) -> Tensor:
        """x: the network's input, [batch, ...]. Returns its output, [batch, ...], float32, on its grid."""
        return self._run(x).real

    def integers(self, x: Tensor) -> Tensor:
        """x: [batch, ...]. Returns the output as the kernels hold it, [batch, ...], int64, 0 to 255."""
        with torch.no_grad():
            return self._run(x).held

    def export(self, path: str | os.PathLike[str], batch: int = 1) -> Graph:
        """Writes the Q/DQ model of the weights as they are now, and returns its graph."""
        graph, _ = self._graphs_of(batch)
        return calibration.write(graph, _arrays(graph, self.network.tensors()), self.ranges, path)

    def _graphs_of(self, batch: int) -> tuple[Graph, Graph]:
        if batch not in self._graphs:
            graph = self.network.graph(batch)
            self._graphs[batch] = graph, quantize_whole(graph)
        return self._graphs[batch]

    def _run(self, x: Tensor) -> Signal:
        graph, quantized = self._graphs_of(len(x))
        tensors = self.network.tensors()
        arrays = quantized_values.values(quantized, _arrays(graph, tensors), self.ranges)
        program = lowering.lower(quantized, arrays)
        return _Walk(program, quantized, arrays, tensors).run(x)


def observe(network: Trainable, batches: list[Tensor]) -> Ranges:
    """The ranges of the float network's activations. batches: its inputs, each [batch, ...], all of the same size.

    Raises InputError without a batch, and as `calibrate`.
    """
    if not batches:
        raise InputError("calibration needs at least one batch of data; none was given")
    graph = network.graph(len(batches[0]))
    (given,) = graph.inputs
    feeds = ({given.name: batch.numpy()} for batch in batches)
    return calibration.observed_ranges(graph, _arrays(graph, network.tensors()), feeds)


def _arrays(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    constants = {c.name: array_of(c) for c in graph.constants}
    return constants | {name: tensor.detach().numpy() for name, tensor in tensors.items()}


class _Walk:
    """One pass through a program. `tensors`: the float weights, which the gradients go to."""

    def __init__(
        self, program: Program, quantized: Graph, arrays: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]
    ) -> None:
        self._program = program
        self._nodes = {node.label: node for node in quantized.nodes}
        self._producers = quantized.producers()
        self._arrays = arrays
        self._tensors = tensors
        self._rules: dict[type, Callable[..., Signal]] = {
            Lstm: self._lstm, Convolution: self._product, Transpose: self._transpose, Reshape: self._reshape,
            Slice: self._slice,
        }  # fmt: skip

    def run(self, x: Tensor) -> Signal:
        """x: the network's input, [batch, ...]. Returns its output, [batch, ...]. Raises InputError for an operation
        without a gradient."""
        entry, leaving = self._program.entries[0], self._program.exits[0]
        signals = {entry.value: _entered(entry, x)}
        for operation in self._program.operations:
            rule = self._rules.get(type(operation))
            if rule is None:
                raise _untrained(operation)
            signals[operation.y] = rule(operation, signals[reads(operation)[0]])
        return signals[leaving.value]

    def _lstm(self, op: Lstm, x: Signal) -> Signal:
        node = self._nodes[op.name]
        (w, w_float), (r, r_float) = (self._weight(node.inputs[i]) for i in (1, 2))
        name = node.inputs[3] if len(node.inputs) > 3 else ""
        bias = self._tensors[name].reshape(2, -1).sum(0) if name else None
        given = GateSums(op.from_x, Weight(w_float[0], w[0]), bias)(x)
        layer = LstmCell(GateSums(op.from_h, Weight(r_float[0], r[0])))
        _, batch, units = self._program.shape(op.y)
        scale, zero = self._grid(op)
        h = Signal(torch.full((batch, units), zero), torch.zeros(batch, units))
        cell = Signal(torch.zeros(batch, units, dtype=torch.int64), torch.zeros(batch, units))
        states = []
        for t in range(len(given.held)):
            value, cell = layer.step(Signal(given.held[t], given.real[t]), h, cell)
            steps = (value.held * op.factor + op.offset) >> op.places
            h = _on_grid(steps, value.real, scale, zero, 0, 255)
            states.append(h)
        return Signal(torch.stack([s.held for s in states]), torch.stack([s.real for s in states]))

    def _product(self, op: Convolution, x: Signal) -> Signal:
        node = self._nodes[op.name]
        if node.op not in ("Gemm", "MatMul"):
            raise _untrained(op)
        dequantized, trained = self._weight(node.inputs[1])
        if not node.attribute("transB", 0):
            dequantized, trained = dequantized.T, trained.T
        bias = self._bias(node, op)
        scale, zero = self._grid(op)
        rows = op.weight.reshape(len(op.weight), -1)
        steps = Requantized(rows, op.bias, op.rescale.multiplier, op.rescale.shift)(x.held) + zero
        real = product(x.real, Weight(trained, dequantized), bias, (steps - zero).float() * scale)
        return _on_grid(steps, real, scale, zero, op.rescale.low, op.rescale.high)

    def _transpose(self, op: Transpose, x: Signal) -> Signal:
        return Signal(x.held.permute(op.order), x.real.permute(op.order))

    def _reshape(self, op: Reshape, x: Signal) -> Signal:
        shape = self._program.shape(op.y)
        return Signal(x.held.reshape(shape), x.real.reshape(shape))

    def _slice(self, op: Slice, x: Signal) -> Signal:
        held, real = x.held, x.real
        for axis, size in enumerate(self._program.shape(op.y)):
            places = torch.arange(size) * op.steps[axis] + op.starts[axis]
            held, real = held.index_select(axis, places), real.index_select(axis, places)
        return Signal(held, real)

    def _grid(self, operation: Operation) -> tuple[float, int]:
        """Scale and zero point of the result, from the QuantizeLinear, which is the operation's last node."""
        last: Node = self._nodes[operation.members[-1]]
        return float(self._arrays[last.inputs[1]]), int(self._arrays[last.inputs[2]])

    def _weight(self, name: str) -> tuple[Tensor, Tensor]:
        """name: the result of a DequantizeLinear. Returns the dequantized weight and the float one, both of the same
        shape."""
        node = self._producers[name]
        scale, values = self._arrays[node.inputs[1]], self._arrays[node.inputs[0]]
        shape = [1] * values.ndim
        if scale.ndim:
            shape[node.attribute("axis")] = -1
        return torch.from_numpy(values * scale.reshape(shape)), self._tensors[self._plain(name)]

    def _bias(self, node: Node, op: Convolution) -> Tensor | None:
        """The float bias, [outputs]: the third operand of a Gemm, or the row that an Add adds to a MatMul."""
        members = (self._nodes[name] for name in op.members)
        added = [name for member in members if member.op == "Add" for name in member.inputs if name != node.outputs[0]]
        for name in filter(None, [*node.inputs[2:], *added]):
            return self._tensors[self._plain(name) if name in self._producers else name]
        return None

    def _plain(self, name: str) -> str:
        """name: the result of a DequantizeLinear. Returns the name of the float weight."""
        return self._producers[name].inputs[0].removesuffix(STORED)


def _untrained(operation: Operation) -> InputError:
    return InputError(f"operator {operation.name!r} cannot be trained in integers; only LSTM and linear layers can")


def _entered(entry: Entry, x: Tensor) -> Signal:
    held = torch.from_numpy(border.quantize(entry, x.numpy())).long()
    return Signal(held, (held - entry.zero).float() * float(entry.scale or 1.0))


def _on_grid(steps: Tensor, real: Tensor, scale: float, zero: int, low: int, high: int) -> Signal:
    """steps: int64 [...], not yet clipped; real: [...]. The gradient is 0 where they are clipped."""
    held = steps.clamp(low, high)
    inside = (held - steps).abs() <= 1  # rounding may put the ends of an observed range outside of it
    return Signal(held, replaced(real, inside.float(), (held - zero).float() * scale))
