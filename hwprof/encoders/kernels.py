"""Graphs as bags of kernels, for predictors that sum over them: what each operator computes and moves, and its shape.

A view launches nothing and is not a kernel. Whether a runtime runs an operator alone, inside of the kernel before it,
or not at all is part of the kernel's kind ("Relu absorbed", "Conv dead"): the measurements decide what it costs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from hwprof import cost
from hwprof.encoders import patterns
from hwprof.encoders.execution import CONVERSIONS, FUSING, Execution
from hwprof.encoders.operators import Signatures, checked_graph
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node, Tensor, is_quantized
from hwprof.interfaces import ExecutedKernel, Work

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
_QUANTIZED = " quantized"  # follows the kind of a product that a runtime computes with integers
_ABSORBED = " absorbed"  # ends the kind of an operator that another one's kernel computes as well
_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
_RECURRENCES = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """The different kernels of one graph. family: of networks like it, the graph's name without
    the choices of an architecture. kinds: [n]. counts: [n],
    how often each occurs. features: [n, n_features], see `FEATURES`. amounts: [n, 2], multiply-adds and bytes, in
    millions. nodes: the numbers of the nodes of each. missing: operators whose work is not known, which are in none;
    missing_nodes: their numbers. executed: the kernels that the runtime itself says it executes, where it was asked.
    refused: why the runtime, asked, does not take the network. weight_bytes: of the whole graph, each weight once.
    """

    family: str
    kinds: tuple[str, ...]
    counts: np.ndarray
    features: np.ndarray
    amounts: np.ndarray
    nodes: tuple[tuple[int, ...], ...]
    missing: tuple[str, ...] = ()
    missing_nodes: tuple[int, ...] = ()
    executed: Kernels | None = None
    refused: str = ""
    weight_bytes: int = 0


# The ends of the kinds' names, [n_nodes], None for a node that is not executed; the kinds of moves, with their tensors.
_Told = tuple[Sequence[str | None], Sequence[tuple[str, str]]]
_Row = tuple[str, tuple[float, ...], tuple[float, float]]


class KernelEncoder:
    """Encodes graphs as `Kernels`; keeps the row of each different operator, so that similar networks are fast.

    Which operators run alone is told by the rules of `hwprof.encoders.execution`, or by the runtime.

    with_patterns: an operator's kind also tells in which of the `hwprof.encoders.patterns` it is. with_moves: images
    that change their layout between two operators are kernels, too, and stored integers are weights. with_choices: how
    a runtime implements a product is part of its kind, absorbed operators that multiply nothing have a common kind, a
    Transpose that the runtime inserts is one of the network's, and a view that it inserts moves nothing. with_work:
    where a runtime tells the work of its kernels, that counts, not the operators'. Predictors until 2026-11-29 learned
    without."""

    def __init__(
        self, with_patterns: bool = True, with_moves: bool = True, with_choices: bool = True, with_work: bool = True
    ) -> None:
        self.with_patterns, self.with_moves = with_patterns, with_moves
        self.with_choices, self.with_work = with_choices, with_work
        self._signatures = Signatures()
        self._rows: dict[int, _Row | None] = {}  # by number; None for a view; those of unknown work are missing
        self._moves: dict[tuple[str, str, tuple[int, ...]], _Row] = {}

    def __call__(
        self, graphs: Sequence[Graph], executed: Sequence[Sequence[ExecutedKernel]] | None = None
    ) -> list[Kernels]:
        """graphs: [n]. executed: [n], what the runtime executes of each, where that is known. Returns [n]. Raises
        InputError for anything that is not a graph."""
        known: Sequence[Sequence[ExecutedKernel] | None] = executed if executed is not None else [None] * len(graphs)
        return [self._encoded(checked_graph(graph), own) for graph, own in zip(graphs, known, strict=True)]

    def _encoded(self, graph: Graph, executed: Sequence[ExecutedKernel] | None) -> Kernels:
        if self.with_work and executed and all(kernel.work for kernel in executed):
            return _as_told(graph, executed)
        numbers = self._signatures.of(graph)
        rows_of = self._rows
        if not rows_of.keys() >= set(numbers):
            self._add(graph, numbers)
        contexts, moved = self._by_rules(graph) if executed is None else self._by_runtime(graph, executed)
        unknown, places = list[int](), dict[tuple[str, int], list[int]]()
        for i, (context, number) in enumerate(zip(contexts, numbers, strict=True)):
            if context is None:
                continue
            if number not in rows_of:
                unknown.append(i)
            elif rows_of[number] is not None:
                places.setdefault((context, number), []).append(i)
        rows = [row for _, number in places if (row := rows_of[number]) is not None]
        kinds = [self._kind_in(context, row) for (context, _), row in zip(places, rows, strict=True)]
        moves = Counter(self._move(kind, graph.type_of(name)) for kind, name in moved)
        rows += moves
        return Kernels(
            _CHOICES.sub("", graph.name),
            (*kinds, *(kind for kind, _, _ in moves)),
            np.array([*map(len, places.values()), *moves.values()], float),
            np.array([row[1] for row in rows], float).reshape(-1, len(FEATURES)),
            np.array([row[2] for row in rows], float).reshape(-1, len(AMOUNTS)),
            (*map(tuple, places.values()), *(() for _ in moves)),
            tuple(dict.fromkeys(graph.nodes[i].op for i in unknown)),
            tuple(unknown),
            weight_bytes=graph.weight_bytes,
        )

    def _kind_in(self, context: str, row: _Row) -> str:
        kind, _, (macs, _) = row
        return "absorbed" if self.with_choices and context == _ABSORBED and not macs else kind + context

    def _by_runtime(self, graph: Graph, executed: Sequence[ExecutedKernel]) -> _Told:
        return _by_runtime(graph, executed if self.with_choices else [k._replace(how="") for k in executed])

    def _by_rules(self, graph: Graph) -> _Told:
        """The kernels by the rules: the end of a kind's name is what is known of the node's place in the network."""
        ends, known = list[str](), patterns.places(graph) if self.with_patterns else {}
        execution = Execution(graph)
        places = execution.places()
        for i, (live, constant, absorbed, compiled) in enumerate(places):
            if not live:
                ends.append(" dead")
            elif constant:
                ends.append(" constant")
            elif compiled:
                ends.append(f" {known[i]}" if i in known else "")
            else:
                ends.append(" fused" if absorbed else _ABSORBED)
        moved = execution.moved_images([place[-1] for place in places]) if self.with_moves else []
        return ends, [("Reorder", name) for name in moved]

    def _move(self, kind: str, tensor: Tensor) -> _Row:
        """The row of a kernel that the runtime inserts: it reads and writes one tensor, a view only launches."""
        key = kind, tensor.dtype, tensor.shape
        if key not in self._moves:
            size_bytes = 0 if kind in _VIEWS and self.with_choices else tensor.size_bytes
            values = {
                "input bytes": size_bytes, "output bytes": size_bytes, "rows": _rows(tensor),
                "inner length": tensor.shape[-1] if tensor.shape else 1,
            }  # fmt: skip
            features = tuple(math.log2(1 + values.get(name, 0)) for name in FEATURES)
            name = kind if kind == "Transpose" and self.with_choices else f"{kind} inserted"
            self._moves[key] = name, features, (0.0, 2 * size_bytes / 1e6)
        return self._moves[key]

    def _add(self, graph: Graph, numbers: Sequence[int]) -> None:
        """numbers: [n_nodes]."""
        weights = graph.weight_names
        if self.with_moves:
            weights |= {
                node.outputs[0] for node in graph.nodes if node.op == "DequantizeLinear" and node.inputs[0] in weights
            }
        for node, number in zip(graph.nodes, numbers, strict=True):
            if number not in self._rows:
                with suppress(UnknownOperatorError, InputError):
                    self._rows[number] = _row(graph, node, weights)


def _as_told(graph: Graph, executed: Sequence[ExecutedKernel]) -> Kernels:
    """The kernels as the runtime tells their work, whatever the operators are."""
    nodes: dict[_Row, list[int]] = {}
    counts: Counter[_Row] = Counter()
    for kernel in executed:
        assert kernel.work is not None
        row = _row_of_work(kernel.work)
        counts[row] += 1
        nodes.setdefault(row, []).extend(kernel.nodes)
    return Kernels(
        _CHOICES.sub("", graph.name),
        tuple(kind for kind, _, _ in counts),
        np.array([*counts.values()], float),
        np.array([features for _, features, _ in counts], float),
        np.array([amounts for _, _, amounts in counts], float),
        tuple(map(tuple, nodes.values())),
        weight_bytes=int(sum(kernel.work.sizes.get("weight bytes", 0) for kernel in executed if kernel.work)),
    )


def _row_of_work(work: Work) -> _Row:
    """Without multiply-adds, the operations on elements are what a loop takes its time for."""
    kind, sizes = work
    if unknown := sorted(sizes.keys() - set(FEATURES)):
        raise InputError(f"the work of a kernel {kind!r} has sizes that are not known: {', '.join(unknown)}")
    amounts = sizes.get("macs") or sizes.get("element operations", 0)
    moved = sum(sizes.get(name, 0) for name in ("input bytes", "weight bytes", "output bytes"))
    return kind, tuple(math.log2(1 + sizes.get(name, 0)) for name in FEATURES), (amounts / 1e6, moved / 1e6)


def _by_runtime(graph: Graph, executed: Sequence[ExecutedKernel]) -> _Told:
    """The kernels that the runtime executes. A product's end is its implementation; that of several operators without a
    product is the runtime's own operator."""
    ends: list[str | None] = [None] * len(graph.nodes)
    for kernel in executed:
        main = min(main_nodes(graph, kernel.nodes), default=-1)
        for i in kernel.nodes:
            if i != main:
                ends[i] = _ABSORBED
            elif graph.nodes[i].op in FUSING:
                how = f" by {kernel.how}" if kernel.how else ""
                is_of_integers = any(is_quantized(graph.nodes[j]) for j in kernel.nodes)
                ends[i] = (_QUANTIZED if is_of_integers else "") + how
            else:
                ends[i] = "" if len(kernel.nodes) == 1 else f" in {kernel.op}"
    return ends, [(kernel.op, kernel.moved) for kernel in executed if kernel.moved and not kernel.nodes]


def main_nodes(graph: Graph, nodes: Sequence[int]) -> list[int]:
    """nodes: whose work a kernel does. Returns those which it is for: its products, else what is more than a
    conversion."""
    products = [i for i in nodes if graph.nodes[i].op in FUSING]
    return products or [i for i in nodes if graph.nodes[i].op not in CONVERSIONS] or list(nodes)


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
        stored = any(name in weights for name in node.inputs[1:])  # one from the left multiplies each matrix by itself
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
            "groups": graph.shape(node.inputs[1])[0] - 1,  # further directions
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
