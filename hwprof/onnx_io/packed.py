"""Weights that a file holds packed into bytes, with the operators that unpack them.

A network without these operators would not be one with a small file, so they are not folded. Runtimes compute them
once, when they load the network.
"""

from __future__ import annotations

from hwprof.graph import Graph, Node
from hwprof.onnx_io.proto import dtype_code


def reads_packed(node: Node, dtype: str) -> bool:
    """Whether the node is the first that unpacks: a Cast of stored bytes to int32. dtype: of its first input, which is
    stored."""
    return node.op == "Cast" and dtype == "uint8" and node.attribute("to") == dtype_code("int32")


def index_bits(graph: Graph, unpacking: Node) -> int:
    """The width of the indices that the Gather reads, the last operator that unpacks."""
    return max(1, (graph.type_of(unpacking.inputs[0]).numel - 1).bit_length())


def unpacked(graph: Graph) -> dict[str, Node]:
    """By name the tensors that depend on packed bytes and other stored tensors only, with the nodes that make them."""
    static = {t.name: t.dtype for t in (*graph.weights, *graph.constants)}
    found: dict[str, Node] = {}
    for node in graph.nodes:
        read = [name for name in node.inputs if name]
        if node.op == "DequantizeLinear" or not read or not all(name in static or name in found for name in read):
            continue
        if any(name in found for name in read) or reads_packed(node, static.get(read[0], "")):
            found |= {out: node for out in node.outputs if out}
    return found
