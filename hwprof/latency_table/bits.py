"""Bit widths of an operator's weights and activations: attributes along which a latency table is a staircase."""

from __future__ import annotations

from hwprof.graph import BITS_PER_ELEMENT, Graph
from hwprof.latency_table.grouping import OperatorNodes, operator_nodes
from hwprof.latency_table.staircase import NumericAttribute
from hwprof.onnx_io.packed import index_bits

WEIGHTS, ACTIVATIONS = "w_bits", "a_bits"
NUMERIC = (NumericAttribute(WEIGHTS), NumericAttribute(ACTIVATIONS))
_FLOATS = ("float64", "float32", "float16", "bfloat16")


def of(graph: Graph, operator: OperatorNodes) -> dict[str, int]:
    """The bit widths of one operator: 8 for int8, 32 for float32. `w_bits` is the width of its largest stored tensor,
    that of an index where it is packed,
    absent where it reads single numbers at most; `a_bits` that of its widest activation, absent for an operator on
    indices alone."""
    dequantized = {node.outputs[0]: node.inputs[0] for node in operator.before if node.op == "DequantizeLinear"}
    unpacking = {node.outputs[0]: node for node in operator.before if node.op != "DequantizeLinear"}
    inside = {out for node in operator.nodes for out in node.outputs}
    static = {t.name for t in (*graph.weights, *graph.constants)}
    weights: list[tuple[int, int]] = []  # elements and bits
    activations: list[int] = []
    for name in dict.fromkeys(n for node in operator.nodes for n in node.inputs if n and n not in inside):
        tensor = graph.type_of(dequantized.get(name, name))
        if tensor.name in unpacking:
            weights.append((tensor.numel, index_bits(graph, unpacking[tensor.name])))
            continue
        if name not in dequantized and tensor.dtype not in _FLOATS and tensor.name in static:
            continue  # a shape, an axis, a zero point
        if tensor.name in static:
            weights.append((tensor.numel, BITS_PER_ELEMENT[tensor.dtype]))
        elif name in dequantized or tensor.dtype in _FLOATS:
            activations.append(BITS_PER_ELEMENT[tensor.dtype])
    if operator.nodes[0].op in ("QuantizeLinear", "DequantizeLinear"):
        ends = (*operator.nodes[0].inputs[:1], *operator.nodes[0].outputs)
        return {ACTIVATIONS: min(BITS_PER_ELEMENT[graph.type_of(name).dtype] for name in ends)}
    found = {ACTIVATIONS: max(activations)} if activations else {}
    largest, bits = max(weights, default=(0, 0))
    return found | ({WEIGHTS: bits} if largest > 1 else {})


def of_network(graph: Graph) -> dict[str, int]:
    """The widths that all operators with weights share; empty where these differ, or where no operator has any."""
    pairs = [of(graph, operator) for operator in operator_nodes(graph)]
    shared = {(p[WEIGHTS], p[ACTIVATIONS]) for p in pairs if WEIGHTS in p and ACTIVATIONS in p}
    return dict(zip((WEIGHTS, ACTIVATIONS), shared.pop(), strict=True)) if len(shared) == 1 else {}
