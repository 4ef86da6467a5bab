"""Lowers a quantized network, a float network with Q/DQ pairs, to a Program of integers.

The walk follows the operators in their order. A QuantizeLinear ends a stretch of float operators; the operators from
the DequantizeLinears to it become one integer operation (`rules`). Operators that only move values are applied at once
(`movement`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import BITS_PER_ELEMENT, Graph, Node
from hwprof.integer.lowering import code_rule, folding, movement, qlinear, rules, tables
from hwprof.integer.lowering.bounded_grids import with_real_bounds
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse, unforeseen_is_refused
from hwprof.integer.numerics.grid import Grid, Stored, held_zero
from hwprof.integer.program.program import Entry, Exit, Operation, Program, reads
from hwprof.onnx_io.packed import index_bits, unpacked
from hwprof.onnx_io.proto import NARROW, bodies_of

_EIGHT_BITS = {"uint8": False, "int8": True}  # -> is it signed?
_SIXTEEN_BITS = "int16"
_COMPUTED_SCALE = (
    "it works out its scale from each input in float (dynamic quantization); quantize the float network by --variant "
    "integer, or statically with data"
)
DYNAMIC = dict.fromkeys(
    (
        "ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger",
        "MatMulIntegerToFloat",
    ),
    _COMPUTED_SCALE,
)  # fmt: skip


def lower(graph: Graph, weights: Mapping[str, np.ndarray]) -> Program:
    """The integer-only program of a network with Q/DQ pairs.

    weights: every weight and constant of the graph by name, each of its ONNX shape [...]. Raises InputError, with the
    operator's name and the reason, where a tensor between the quantized inputs and the dequantized outputs would have
    to be float.
    """
    return _Lowering(*with_real_bounds(graph.live(), weights)).program()


@dataclass(frozen=True, slots=True)
class _Scale:
    """The second and third input of a Q or DQ node. scale, zero: [n]; the zero point has the quantized type."""

    scale: np.ndarray
    zero: np.ndarray
    dtype: str

    def grid(self, node: Node) -> Grid:
        if self.dtype not in (*_EIGHT_BITS, _SIXTEEN_BITS):
            raise refuse(node, f"activations of {self.dtype} are not supported, only uint8, int8 and int16")
        if self.scale.size != 1:
            raise refuse(node, "an activation has one scale per channel; only weights may have that")
        scale = float(self.scale.ravel()[0])
        if not (np.isfinite(scale) and scale > 0):
            raise refuse(node, f"its scale is {scale}")
        if self.dtype == _SIXTEEN_BITS:
            if self.zero.any():
                raise refuse(node, f"16-bit activations must have the zero point 0, not {self.zero.ravel()[0]}")
            return Grid(scale, 0, dtype="int16")
        is_signed = _EIGHT_BITS[self.dtype]
        return Grid(scale, held_zero(int(self.zero.ravel()[0]), is_signed), is_signed)


class _Lowering:
    """The walk over one graph."""

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = dict(weights)
        self._scope = SymbolTable(graph, self._weights)
        self._graph = graph
        self._unpacked = unpacked(graph)

    def program(self) -> Program:
        for node in self._graph.nodes:
            with unforeseen_is_refused(node):
                self._visit(node)
        exits = tuple(self._exit(name) for name in self._graph.outputs)
        symbols = self._scope
        ends = {e.value for e in exits}
        operations = _needed(symbols.operations, ends)
        read = {name for operation in operations for name in (*reads(operation), operation.y)}
        read |= ends | {e.value for e in symbols.entries}
        values = {name: value for name, value in symbols.values.items() if name in read}
        constants = {name: array for name, array in symbols.constants.items() if name in read}
        return Program(self._graph.name, tuple(symbols.entries), exits, operations, values, constants)

    def _visit(self, node: Node) -> None:
        self._require_known(node)
        if node.op == "DequantizeLinear":
            self._dequantize(node)
        elif node.op == "QuantizeLinear":
            self._quantize(node)
        elif node.op in qlinear.OPERATORS:
            self._visit_parts(node)
        elif results := folding.folded(self._graph, node, self._weights):
            self._weights |= results
        elif movement.apply_to_integers(self._scope, node):
            return
        elif not movement.apply(self._scope, node) and not code_rule.apply(self._scope, node):
            for name in node.outputs:
                self._scope.pending[name] = node

    def _require_known(self, node: Node) -> None:
        """Raises InputError for an operator that no rule is asked about."""
        if reason := DYNAMIC.get(node.op):
            raise refuse(node, reason)
        if node.domain and not (node.domain == qlinear.MICROSOFT and node.op in qlinear.OPERATORS):
            raise refuse(node, f"the domain {node.domain!r} is not supported")
        if bodies_of(node):
            raise refuse(node, "it contains a subgraph; unroll loops, as tracing in PyTorch does")
        for name in (*node.inputs, *node.outputs):
            is_computed = name and name not in self._weights and self._graph.has_type(name)
            if is_computed and self._graph.type_of(name).numel == 0:
                raise refuse(node, f"{name!r} has no element")

    def _visit_parts(self, node: Node) -> None:
        """Visits the parts of an operator on integers: the float operator between its Q/DQ nodes."""
        *dequantize, inner, quantize = qlinear.parts(node, dict(self._graph.opsets).get("", 0))
        for part in dequantize:
            self._visit(part)
        qlinear.store_bias(self._scope, node, inner)
        self._scope.pending[inner.outputs[0]] = inner
        self._visit(quantize)

    def _scale(self, node: Node, dtype: str) -> _Scale:
        names = node.inputs
        if any(name not in self._weights for name in names[1:] if name):
            raise refuse(node, "its scale is computed while the network runs")
        scale = np.atleast_1d(np.asarray(self._weights[names[1]], np.float64))
        if len(names) > 2 and names[2]:
            zero, dtype = np.atleast_1d(self._weights[names[2]]), self._graph.type_of(names[2]).dtype
        else:
            zero = np.zeros(scale.shape, np.int64)
        return _Scale(scale, zero.astype(np.int64), dtype)

    def _dequantize(self, node: Node) -> None:
        symbols, name, out = self._scope, node.inputs[0], node.outputs[0]
        scale = self._scale(node, self._graph.type_of(name).dtype)
        if name in self._weights:
            symbols.stored[out] = self._stored(node, scale)
            return
        grid = scale.grid(node)
        held = symbols.integers.get(name)
        if held is None:
            if name not in {t.name for t in self._graph.inputs}:
                raise refuse(node, f"it reads {name!r}, which no QuantizeLinear produces")
            held = self._enter(name, grid, None)
            symbols.integers[name] = held
        if held.grid != grid:
            raise refuse(node, f"it reads {name!r} with another scale than the one it was quantized with")
        symbols.views[out] = held

    def _stored(self, node: Node, scale: _Scale) -> Stored:
        if node.attribute("block_size", 0) or scale.scale.ndim > 1:
            raise refuse(
                node, f"its weight {node.inputs[0]!r} has one scale per block; only one scale per output is supported"
            )
        axis = int(node.attribute("axis", 1)) if scale.scale.size > 1 else None
        try:
            dtype = np.dtype(NARROW.get(scale.dtype, scale.dtype))
        except TypeError:
            raise refuse(node, f"weights of {scale.dtype} are not supported") from None
        if dtype.kind not in "iu":
            raise refuse(node, f"weights of {scale.dtype} are not supported")
        values = np.asarray(self._weights[node.inputs[0]], dtype)
        axis = axis % values.ndim if axis is not None else None
        bits = self._stored_bits(node.inputs[0], scale.dtype)
        return Stored(values, scale.scale.ravel(), scale.zero.ravel(), axis, bits)

    def _stored_bits(self, name: str, dtype: str) -> int:
        """How many bits an element has in the file."""
        last = self._unpacked.get(name)
        return BITS_PER_ELEMENT[dtype] if last is None or last.op != "Gather" else index_bits(self._graph, last)

    def _quantize(self, node: Node) -> None:
        symbols, name, out = self._scope, node.inputs[0], node.outputs[0]
        grid = self._scale(node, str(_output_type(node))).grid(node)
        if name in {t.name for t in self._graph.inputs}:
            symbols.integers[out] = self._enter(name, grid, grid.scale)
        else:
            symbols.integers[out] = rules.quantized(symbols, name, grid, node)

    def _enter(self, name: str, grid: Grid, scale: float | None) -> Held:
        shape = self._graph.shape(name)
        is_image = len(shape) == 4
        value = self._scope.new_value(name, (shape[0], *shape[2:], shape[1]) if is_image else shape, grid.dtype)
        entry = Entry(name, shape, value, scale, grid.zero, is_image, grid.is_signed, dtype=grid.dtype)
        self._scope.entries.append(entry)
        return Held(value, grid, shape, is_image)

    def _exit(self, name: str) -> Exit:
        symbols = self._scope
        held = symbols.views.get(name) or symbols.integers.get(name)
        if held is None and (held := tables.source(symbols, name)) is not None:
            # A function of one tensor only changes which real numbers its integers stand for.
            reals = np.ascontiguousarray(tables.values(symbols, name, held)[0], np.float32)
            grid = held.grid
            return Exit(name, held.shape, held.value, grid.scale, grid.zero, held.is_image, False, reals, grid.dtype)
        if held is None:
            node = symbols.pending.get(name)
            if node is None:
                raise InputError(f"output {name!r} of {self._graph.name!r} is not computed by an operator on integers")
            first = symbols.first_in_float(name)
            if first is not node:
                raise refuse(first, f"{symbols.left_in_float(first)} up to the output {name!r} of the network")
            raise refuse(node, f"its result {name!r} is an output of the network but is not quantized")
        scale = held.grid.scale if name in symbols.views else None
        grid = held.grid
        return Exit(
            name, held.shape, held.value, scale, grid.zero, held.is_image, grid.is_signed, dtype=grid.dtype
        )  # fmt: skip


def _needed(operations: Sequence[Operation], wanted: set[str]) -> tuple[Operation, ...]:
    """The operations on which a wanted value depends; without tables that were merged into others."""
    kept: list[Operation] = []
    for operation in reversed(operations):
        if operation.y in wanted:
            kept.append(operation)
            wanted = wanted.union(reads(operation))
    return tuple(reversed(kept))


def _output_type(node: Node) -> str:
    """The type that a QuantizeLinear without zero point writes; the attribute is a number of ONNX's list of types."""
    return {0: "uint8", 2: "uint8", 3: "int8", 5: "int16"}.get(node.attribute("output_dtype", 0), "a wider type")
