"""Analytic quantities of a graph as a runtime executes it: launches, multiply-adds and bytes, by kind of kernel."""

from __future__ import annotations

import math
import zlib
from collections.abc import Container, Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from hwprof import cost
from hwprof.encoders import operators
from hwprof.encoders.execution import ACTIVATIONS, HYPOTHESES, Execution
from hwprof.encoders.operators import Signatures, checked_graph
from hwprof.graph import Graph, Node, Tensor

# Kernels that multiply matrices: launches, multiply-adds and bytes of each kind are columns.
MATRIX_KINDS = ("convolution", "pointwise", "depthwise", "linear", "product", "recurrence")
# All others: launches and bytes.
OTHER_KINDS = ("pool", "normalization", "activation", "addition", "movement", "reorder")
# Sums over all kinds: in the whole graph, before its last input is read (an encoder, whose decoder runs once per
# token), and on the critical path.
MEASURES = ("launches", "macs", "bytes")
TOTALS, EARLY, PATH = (tuple(f"{part} {what}" for what in MEASURES) for part in ("total", "early", "path"))
QUANTITIES = (
    *(f"{kind} {what}" for kind in MATRIX_KINDS for what in MEASURES),
    *(f"{kind} {what}" for kind in OTHER_KINDS for what in ("launches", "bytes")),
    *TOTALS,
    *EARLY,
    *PATH,
)
# Columns in which the different operators are counted, each in the one of its hash: collisions of a few hundred
# operators cost nothing (feature hashing; Weinberger et al., ICML 2009).
OPERATOR_COLUMNS = 256
_COLUMN = {name: i for i, name in enumerate(QUANTITIES)}
_TOTAL_COLUMNS = [_COLUMN[name] for name in TOTALS]
_PATH = HYPOTHESES.index("path")

# The weights that decide the critical path: a launch costs as much as moving 20 kB, and a byte as much as 10
# multiply-adds (within a factor of 5 for a phone core, an edge GPU and a server).
LAUNCH_BYTES = 20_000
MACS_PER_BYTE = 10

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv"})
_PRODUCTS = frozenset(
    {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "Einsum", "FusedGemm", "FusedMatMul", "QGemm",
     "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
)  # fmt: skip
# Image kernels that runtimes for CPUs run on blocks of channels, and the quantities of the reorders that this needs.
_BLOCKING = _CONVOLUTIONS | {"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"}
_REORDERS = ("reorder launches", "reorder bytes")
_RECURRENCES = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
_NORMALIZATIONS = frozenset(
    {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "Softmax",
     "LogSoftmax", "LpNormalization", "RMSNormalization", "MeanVarianceNormalization"}
)  # fmt: skip
_MOVEMENTS = frozenset(
    {"Concat", "Transpose", "Slice", "Split", "Pad", "Gather", "GatherElements", "GatherND", "ScatterND", "Expand",
     "Tile", "Resize", "DepthToSpace", "SpaceToDepth", "Cast", "QuantizeLinear", "DequantizeLinear"}
)  # fmt: skip


class PhysicalEncoder(TransformerMixin, BaseEstimator):
    """Encodes graphs as [n_graphs, n_hypotheses * n_quantities]: the `QUANTITIES`, which are counts, multiply-adds and
    bytes, under each hypothesis of `hwprof.encoders.execution`.

    The path quantities are equal under all hypotheses. with_operators: `OPERATOR_COLUMNS` more columns count how often
    each different operator occurs; operators that differ only in the size of their image are the same. Nothing is
    learned from data. It keeps the quantities of each different operator, so that one encoder for many calls is fast.
    """

    def __init__(self, with_operators: bool = False) -> None:
        self.with_operators = with_operators
        self._rows = _Rows()

    def fit(self, X: Sequence[Graph], y: object = None) -> PhysicalEncoder:
        """X: [n_graphs]. Learns nothing."""
        del X, y
        return self

    def transform(self, X: Sequence[Graph]) -> np.ndarray:
        """X: [n_graphs]. Returns [n_graphs, n_hypotheses * n_quantities], or `OPERATOR_COLUMNS` more columns. Raises
        UnknownOperatorError for an operator without a cost rule, InputError for one whose shapes are unknown and for
        anything that is not a graph."""
        n_columns = len(HYPOTHESES) * len(QUANTITIES) + (OPERATOR_COLUMNS if self.with_operators else 0)
        if not len(X):
            return np.empty((0, n_columns))
        return np.stack([_encoded(graph, self._rows)[:n_columns] for graph in X])

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Returns the names of the columns, [n_columns]."""
        del input_features
        names = [f"{hypothesis}: {quantity}" for hypothesis in HYPOTHESES for quantity in QUANTITIES]
        return np.array([*names, *(f"operators {i}" for i in range(OPERATOR_COLUMNS if self.with_operators else 0))])

    def __sklearn_is_fitted__(self) -> bool:
        return True


def by_hypothesis(encoded: np.ndarray) -> np.ndarray:
    """encoded: [n, n_hypotheses * n_quantities]. Returns [n, n_hypotheses, n_quantities]."""
    return encoded.reshape(len(encoded), len(HYPOTHESES), len(QUANTITIES))


class _Rows:
    """The different operators seen so far. table: [n, n_quantities + 2], the quantities of each alone, the bytes of its
    first result, and the number of the column that counts it."""

    def __init__(self) -> None:
        self._signatures = Signatures()
        self._found: dict[int, np.ndarray] = {}
        self._table = np.empty((0, len(QUANTITIES) + 2))

    def of(self, graph: Graph) -> np.ndarray:
        """Returns [n_nodes, n_quantities + 2]."""
        numbers = self._signatures.of(graph)
        if not self._found.keys() >= set(numbers):
            self._add(graph, numbers)
        rows: np.ndarray = self._table[numbers]
        return rows

    def _add(self, graph: Graph, numbers: Sequence[int]) -> None:
        """numbers: [n_nodes]. Raises what `_quantities` raises; then some of them have no row yet."""
        weights, nothing = graph.weight_names, np.zeros(len(QUANTITIES) + 2)
        for node, number in zip(graph.nodes, numbers, strict=True):
            if number not in self._found:
                self._found[number] = _quantities(graph, node, weights)
        self._table = np.array([self._found.get(number, nothing) for number in range(max(self._found) + 1)])


def _encoded(graph: Graph, rows: _Rows) -> np.ndarray:
    """Returns [n_hypotheses * n_quantities + OPERATOR_COLUMNS]."""
    own = rows.of(checked_graph(graph))
    kernels, result_bytes, places = own[:, :-2], own[:, -2], own[:, -1].astype(int)
    execution, totals = Execution(graph), kernels[:, _TOTAL_COLUMNS]
    executed = execution.masks(totals @ [LAUNCH_BYTES, 1 / MACS_PER_BYTE, 1.0])
    path = executed[_PATH].astype(float)
    executed[_PATH] = executed[HYPOTHESES.index("fused")]
    passes = np.column_stack([np.ones(len(own)), 2.0 * result_bytes])  # a reorder reads and writes a result once
    runs = executed.astype(float)
    sums: np.ndarray = runs @ kernels
    sums[:, _columns(_REORDERS)] = execution.reorders(executed, _BLOCKING) @ passes
    sums[:, _columns(EARLY)] = (runs * ~execution.after_last_input()) @ totals
    sums[:, _columns(PATH)] = path @ totals
    return np.concatenate([sums.ravel(), np.bincount(places, minlength=OPERATOR_COLUMNS)])


def _columns(names: Sequence[str]) -> list[int]:
    return [_COLUMN[name] for name in names]


def _quantities(graph: Graph, node: Node, weights: Container[str]) -> np.ndarray:
    """Returns [n_quantities + 2] of the node alone, zeros for a view, which launches nothing; then the bytes of its
    first result, and the number of the column that counts it."""
    work = cost.of_node(graph, node)
    row = np.zeros(len(QUANTITIES) + 2)
    row[-2:] = _first(graph, node.outputs).size_bytes, _place(graph, node)
    if not work.moved_bytes:
        return row
    kind = _kind(graph, node, weights)
    amounts = {"launches": 1, "macs": work.macs, "bytes": work.moved_bytes}
    for what, amount in amounts.items():
        if (column := _COLUMN.get(f"{kind} {what}")) is not None:
            row[column] = amount
        row[_COLUMN[f"total {what}"]] = amount
    return row


def _place(graph: Graph, node: Node) -> int:
    """Returns the number of the column that counts operators of this kind and these shapes; sides of images do not
    matter."""
    shapes = [_without_sides(graph.type_of(name)) for name in (*node.inputs, *node.outputs) if graph.has_type(name)]
    return zlib.crc32(f"{operators.kind(node)} {shapes}".encode()) % OPERATOR_COLUMNS


def _without_sides(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return tensor.dtype, tensor.shape[:2] if len(tensor.shape) > 3 else tensor.shape


def _kind(graph: Graph, node: Node, weights: Container[str]) -> str:
    if node.op in _CONVOLUTIONS:
        return _kind_of_convolution(graph, node)
    if node.op in _PRODUCTS:
        return "linear" if any(name in weights for name in node.inputs) else "product"
    for kind, members in (
        ("recurrence", _RECURRENCES), ("normalization", _NORMALIZATIONS), ("movement", _MOVEMENTS),
        ("activation", ACTIVATIONS),
    ):  # fmt: skip
        if node.op in members:
            return kind
    if "Pool" in node.op or node.op.startswith("Reduce"):
        return "pool"
    return "addition" if _large_operands(graph, node) > 1 else "activation"


def _kind_of_convolution(graph: Graph, node: Node) -> str:
    if node.attribute("group", 1) > 1:
        return "depthwise"
    weight = graph.type_of(node.inputs[3 if node.op == "QLinearConv" else 1])
    return "pointwise" if math.prod(weight.shape[2:]) == 1 else "convolution"


def _large_operands(graph: Graph, node: Node) -> int:
    """Returns how many operands have as many elements as the result; one means an element-wise function of a tensor."""
    result = _first(graph, node.outputs)
    return sum(graph.type_of(name).numel >= result.numel for name in node.inputs if name)


def _first(graph: Graph, names: Sequence[str]) -> Tensor:
    return graph.type_of(names[0] or next(filter(None, names)))
