"""Graphs as bags of kernels, for predictors that sum over them: what each operator computes and moves, and its shape.

A view launches nothing and is not a kernel. Whether a runtime runs an operator alone, inside of the kernel before it,
or not at all is part of the kernel's kind ("Relu absorbed", "Conv dead"): the measurements decide what it costs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from hwprof import cost
from hwprof.encoders import patterns
from hwprof.encoders.execution import FUSING, Execution
from hwprof.encoders.operators import Signatures, checked_graph
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node, Tensor
from hwprof.interfaces import ExecutedKernel

# Each the binary logarithm of one plus a number: amounts first, then the shape.
FEATURES = (
    "macs", "element operations", "input bytes", "weight bytes", "output bytes", "macs per byte", "window", "stride",
    "groups", "input channels per group", "output channels per group", "pixels", "rows", "columns", "inner length",
    "odd input channels", "odd output channels", "parallel",
)  # fmt: skip
AMOUNTS = ("macs", "bytes")
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv"})
_PRODUCTS = frozenset({"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "FusedGemm", "FusedMatMul", "QGemm"})
_CHOICES = re.compile(r" [\d-]+$")  # of an architecture, in the name of its network
_RECURRENCES = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """The different kernels of one graph. family: of networks like it, the graph's name without
    the choices of an architecture. kinds: [n]. counts: [n],
    how often each occurs. features: [n, n_features], see `FEATURES`. amounts: [n, 2], multiply-adds and bytes, in
    millions. nodes: the numbers of the nodes of each. missing: operators whose work is not known, which are in none;
    missing_nodes: their numbers.
    """

    family: str
    kinds: tuple[str, ...]
    counts: np.ndarray
    features: np.ndarray
    amounts: np.ndarray
    nodes: tuple[tuple[int, ...], ...]
    missing: tuple[str, ...] = ()
    missing_nodes: tuple[int, ...] = ()


_Row = tuple[str, tuple[float, ...], tuple[float, float]]


class KernelEncoder:
    """Encodes graphs as `Kernels`; keeps the row of each different operator, so that similar networks are fast.

    with_patterns: an operator's kind also tells in which of the `hwprof.encoders.patterns` it is; predictors until
    2026-11-29 learned without."""

    def __init__(self, with_patterns: bool = True) -> None:
        self.with_patterns = with_patterns
        self._signatures = Signatures()
        self._rows: dict[int, _Row | None] = {}  # by number; None for a view; those of unknown work are missing

    def __call__(
        self, graphs: Sequence[Graph], executed: Sequence[Sequence[ExecutedKernel]] | None = None
    ) -> list[Kernels]:
        """graphs: [n]. executed: [n], what the runtime executes of each, where that is known. Returns [n]. Raises
        InputError for anything that is not a graph."""
        known: Sequence[Sequence[ExecutedKernel] | None] = executed if executed is not None else [None] * len(graphs)
        return [self._encoded(checked_graph(graph), own) for graph, own in zip(graphs, known, strict=True)]

    def _encoded(self, graph: Graph, executed: Sequence[ExecutedKernel] | None) -> Kernels:
        numbers = self._signatures.of(graph)
        rows_of = self._rows
        if not rows_of.keys() >= set(numbers):
            self._add(graph, numbers)
        unknown = tuple([i for i, number in enumerate(numbers) if number not in rows_of])
        contexts: Sequence[str | None] = self._contexts(graph) if executed is None else _contexts_of(graph, executed)
        places: dict[tuple[str, int], list[int]] = {}
        for i, (context, number) in enumerate(zip(contexts, numbers, strict=True)):
            if context is not None and rows_of.get(number) is not None:
                places.setdefault((context, number), []).append(i)
        rows = [row for _, number in places if (row := rows_of[number]) is not None]
        return Kernels(
            _CHOICES.sub("", graph.name),
            tuple(f"{row[0]}{context}" for (context, _), row in zip(places, rows, strict=True)),
            np.array([len(found) for found in places.values()], float),
            np.array([row[1] for row in rows], float).reshape(-1, len(FEATURES)),
            np.array([row[2] for row in rows], float).reshape(-1, len(AMOUNTS)),
            tuple(map(tuple, places.values())),
            tuple(dict.fromkeys(graph.nodes[i].op for i in unknown)),
            unknown,
        )

    def _contexts(self, graph: Graph) -> list[str]:
        """[n_nodes]: what is known of each node's place in the network, as the end of its kind's name."""
        ends, known = [], patterns.places(graph) if self.with_patterns else {}
        for i, (live, constant, absorbed, compiled) in enumerate(Execution(graph).places()):
            if not live:
                ends.append(" dead")
            elif constant:
                ends.append(" constant")
            elif compiled:
                ends.append(f" {known[i]}" if i in known else "")
            else:
                ends.append(" fused" if absorbed else " absorbed")
        return ends

    def _add(self, graph: Graph, numbers: Sequence[int]) -> None:
        """numbers: [n_nodes]."""
        weights = graph.weight_names
        for node, number in zip(graph.nodes, numbers, strict=True):
            if number not in self._rows:
                with suppress(UnknownOperatorError, InputError):
                    self._rows[number] = _row(graph, node, weights)


def _contexts_of(graph: Graph, executed: Sequence[ExecutedKernel]) -> list[str | None]:
    """[n_nodes]: the ends of the kinds' names by what the runtime executes; None for a node that it does not."""
    ends: list[str | None] = [None] * len(graph.nodes)
    for kernel in executed:
        main = next((i for i in kernel.nodes if graph.nodes[i].op in FUSING), min(kernel.nodes, default=-1))
        for i in kernel.nodes:
            ends[i] = "" if i == main else " absorbed"
    return ends


def _row(graph: Graph, node: Node, weights: frozenset[str]) -> _Row | None:
    work = cost.of_node(graph, node)
    if not work.moved_bytes:
        return None
    inputs = [graph.type_of(name) for name in node.inputs if name]
    result = graph.type_of(next(filter(None, node.outputs)))
    weight_bytes = sum(graph.type_of(name).size_bytes for name in node.inputs if name in weights)
    shape = _shape(graph, node, inputs, result)
    values = {
        "macs": work.macs, "element operations": work.element_ops, "weight bytes": weight_bytes,
        "input bytes": max(work.read_bytes - weight_bytes, 0), "output bytes": work.written_bytes,
        "macs per byte": work.macs / work.moved_bytes, **shape,
    }  # fmt: skip
    features = tuple(math.log2(1 + values.get(name, 0)) for name in FEATURES)
    return _kind(graph, node, inputs, result, weights), features, (work.macs / 1e6, work.moved_bytes / 1e6)


def _kind(graph: Graph, node: Node, inputs: Sequence[Tensor], result: Tensor, weights: frozenset[str]) -> str:
    types = {t.dtype for t in inputs} - {"float32", "int64", "int32", "bool"}
    suffix = "".join(f" {dtype}" for dtype in sorted(types))
    if node.op in _CONVOLUTIONS:
        return _kind_of_convolution(graph, node) + suffix
    if node.op in _PRODUCTS:
        stored = any(name in weights for name in node.inputs)
        return ("product" if not stored else "linear row" if _rows(result) == 1 else "linear") + suffix
    if len(inputs) > 1 and node.op in ("Add", "Mul", "Sub", "Div", "Max", "Min", "Pow"):
        same = sum(t.numel == result.numel for t in inputs) > 1
        return node.op + ("" if same else " broadcast") + suffix
    return node.op + suffix


def _kind_of_convolution(graph: Graph, node: Node) -> str:
    weight = graph.type_of(node.inputs[3 if node.op == "QLinearConv" else 1])
    groups = node.attribute("group", 1)
    kind = "transposed " if node.op == "ConvTranspose" else ""
    if groups > 1:
        kind += "depthwise" if weight.shape[1] == 1 else "grouped"
    else:
        kind += "pointwise" if math.prod(weight.shape[2:]) == 1 else "convolution"
    return kind if len(weight.shape) == 4 else f"{kind} {len(weight.shape) - 2}d"


def _shape(graph: Graph, node: Node, inputs: Sequence[Tensor], result: Tensor) -> Mapping[str, float]:
    """The features of the shape, by name; those that are missing are 0."""
    if node.op in _CONVOLUTIONS:
        weight = graph.type_of(node.inputs[3 if node.op == "QLinearConv" else 1])
        groups, pixels = node.attribute("group", 1), math.prod(result.shape[2:])
        ins, outs = weight.shape[1], weight.shape[0] // groups
        if node.op == "ConvTranspose":
            ins, outs = weight.shape[0] // groups, weight.shape[1]
        return {
            "window": math.prod(weight.shape[2:]), "stride": max(node.attribute("strides", (1,))), "groups": groups,
            "input channels per group": ins, "output channels per group": outs, "pixels": pixels,
            "rows": result.shape[0] * pixels, "columns": outs, "inner length": ins * math.prod(weight.shape[2:]),
            "odd input channels": float(ins % 8 > 0), "odd output channels": float(outs * groups % 8 > 0),
            "parallel": result.shape[0] * groups,
        }  # fmt: skip
    if node.op in _PRODUCTS:
        rows, inner = _rows(result), inputs[0].shape[-1] if inputs[0].shape else 1
        columns = result.shape[-1] if result.shape else 1
        return {
            "rows": rows, "columns": columns, "inner length": inner, "odd input channels": float(inner % 8 > 0),
            "odd output channels": float(columns % 8 > 0), "parallel": math.prod(result.shape[:-2]),
        }  # fmt: skip
    if node.op in _RECURRENCES:
        time, batch, width = inputs[0].shape
        return {
            "rows": time, "parallel": batch, "inner length": width, "columns": node.attribute("hidden_size", 1),
        }  # fmt: skip
    window = math.prod(node.attribute("kernel_shape", ()) or (0,))
    return {
        "window": window, "stride": max(node.attribute("strides", ()) or (0,)),
        "inner length": inputs[0].shape[-1] if inputs and inputs[0].shape else 1,
        "pixels": math.prod(result.shape[2:]) if len(result.shape) > 2 else 0,
        "rows": _rows(result), "output channels per group": result.shape[1] if len(result.shape) > 1 else 1,
    }  # fmt: skip


def _rows(tensor: Tensor) -> int:
    return math.prod(tensor.shape[:-1])
