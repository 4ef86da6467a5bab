"""Recurrent networks for integers (iRNN; Sari, Courville & Partovi Nia, arXiv 2109.09828): training with the integers
that the kernels of the backend `integer` compute.

The forward pass is `hwprof.compress.integer.simulation`: products with 8 bits, and activations in piecewise-linear
functions of integers; the backward pass is that of the real arithmetic. The ranges of the activations are observed
before the training and stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.integer.simulation import Simulation
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.onnx_io.opset import with_opset
from hwprof.torch_io import TrainableGraph
from hwprof.training import Hooks
from hwprof.variants import calibration, quantized_values
from hwprof.variants.batch import with_batch
from hwprof.variants.quantize_whole import quantize_whole
from hwprof.variants.quantized_values import Ranges
from hwprof.variants.weights import constant_arrays

_BITS = 8
_QDQ_OPSET = 13  # the first whose DequantizeLinear has an axis
_TRAINED = {"LSTM", "Gemm", "MatMul"}
_MOVING = {"Transpose", "Reshape", "Slice", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"}


class IRnn:
    """LSTM and linear layers in integers."""

    name = "irnn"
    paper = "Sari et al., iRNN: Integer-only Recurrent Neural Network, arXiv 2109.09828"
    needs: frozenset[Need] = frozenset({"training", "examples"})
    result: Outcome = "int8"

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- all layers get 8 bits
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- there is nothing to decide
        """The training has no dropout. Raises InputError for a network that has layers other than LSTM and linear
        ones."""
        _require_recurrent(network.graph)
        self._before, self._network = network.copy(), network
        self._graph = with_opset(_without_dropouts(network.graph), _QDQ_OPSET)
        drawn = network.examples
        feeds = (dict(zip(drawn, sample, strict=True)) for sample in zip(*drawn.values(), strict=True))
        self._ranges = calibration.observed_ranges(self._graph, self._arrays(), feeds)
        network.module.code = _Integers(network.module, self._graph, self._ranges)  # type: ignore[assignment]
        return Hooks()

    def choices(self) -> Choices:
        return {node.label: Choice(bits=_BITS) for node in self._network.graph.nodes if node.op in _TRAINED}

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        """The Q/DQ network that the backend `integer` runs whole."""
        if not choices:
            return self._before
        quantized = quantize_whole(self._graph)
        values = quantized_values.values(quantized, quantized_values.folded(self._graph, self._arrays()), self._ranges)
        return self._network.with_weights(quantized_values.with_constants(quantized, values), values)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**constant_arrays(self._graph), **self._network.weights}


class _Integers(nn.Module):
    """Takes the place of a module's code: computes in integers with the module's weights, which stay where they are."""

    def __init__(self, module: TrainableGraph, graph: Graph, ranges: Ranges) -> None:
        super().__init__()
        self.weights = module.code.get_submodule("weights")
        self.simulation = Simulation(_Float(module, graph), ranges)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """x: [batch, ...]. Returns the output, [batch, ...]."""
        return (self.simulation(x),)


class _Float:
    """The float network that a simulation reads (`simulation.Trainable`). graph: for a batch of 1."""

    def __init__(self, module: TrainableGraph, graph: Graph) -> None:
        self._module, self._graph = module, graph

    def graph(self, batch: int) -> Graph:
        return with_batch(self._graph, batch)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and constants by name, each [*shape] of its tensor."""
        constants = {name: torch.from_numpy(array) for name, array in constant_arrays(self._graph).items()}
        return {**constants, **{t.name: self._module.tensor(t.name) for t in self._graph.weights}}


def _without_dropouts(graph: Graph) -> Graph:
    """The training in integers has no rule for a dropout, which would need a grid of its own."""
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        read = replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))
        if read.op == "Dropout" and read.outputs[0] not in graph.outputs:
            names[read.outputs[0]] = read.inputs[0]
        else:
            nodes.append(read)
    return replace(graph, nodes=tuple(nodes)).live()


def _require_recurrent(graph: Graph) -> None:
    odd = [reason for node in graph.nodes if (reason := _why_untrained(graph, node))]
    if odd or not any(node.op == "LSTM" for node in graph.nodes) or (len(graph.inputs), len(graph.outputs)) != (1, 1):
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        reason = f"it has {odd[0]}{more}" if odd else "it has no LSTM, or several inputs or outputs"
        raise InputError(
            f"irnn trains networks of LSTM and Gemm or MatMul with one input and one output, not {graph.name!r}: "
            f"{reason}"
        )


def _why_untrained(graph: Graph, node: Node) -> str:
    """The operator in words; empty for one that can be trained in integers, or only moves values."""
    if node.op == "LSTM":
        direction = node.attribute("direction", "forward")
        return "" if direction == "forward" else f"LSTM ({node.label!r}, {direction}, which is not trained in integers)"
    if node.op == "MatMul":
        return "" if node.inputs[1] in graph.weight_names else f"MatMul ({node.label!r}, of two computed tensors)"
    if node.op == "Gather":
        is_fixed = node.inputs[1] in _stored(graph) and node.inputs[0] not in _stored(graph)
        return "" if is_fixed else f"Gather ({node.label!r}, whose place is computed or whose table is stored)"
    if node.op == "Add":
        return "" if _is_bias(graph, node) else f"Add ({node.label!r}, of two computed tensors)"
    return "" if node.op in _TRAINED | _MOVING else f"{node.op} ({node.label!r})"


def _is_bias(graph: Graph, node: Node) -> bool:
    """Whether it adds a stored row to a MatMul."""
    made = {graph.producers()[name].op for name in node.inputs if name in graph.producers()}
    return made == {"MatMul"} and any(name in _stored(graph) for name in node.inputs)


def _stored(graph: Graph) -> set[str]:
    return {*graph.weight_names, *(c.name for c in graph.constants)}
