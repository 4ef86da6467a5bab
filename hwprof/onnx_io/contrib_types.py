"""Types of the results of ONNX Runtime's own operators (domain com.microsoft), which ONNX's inference does not know.

Only those whose result follows from their inputs alone: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Iterator

from hwprof.graph import Graph, Node, Tensor

_DOMAIN = "com.microsoft"
_LIKE_FIRST = frozenset({
    "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "BiasSoftmax", "LayerNormalization", "SimplifiedLayerNormalization",
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "RotaryEmbedding", "BiasAdd", "Inverse",
})  # fmt: skip


def missing_types(graph: Graph) -> list[Tensor]:
    """The types of first results, each with its shape [...], that are not in the graph and follow from known ones."""
    return [t for node in graph.nodes if node.domain == _DOMAIN for t in _result(graph, node)]


def _result(graph: Graph, node: Node) -> Iterator[Tensor]:
    if graph.has_type(node.outputs[0]) or not graph.has_type(node.inputs[0]):
        return
    out, first = node.outputs[0], graph.type_of(node.inputs[0])
    if node.op in _LIKE_FIRST:
        yield Tensor(out, first.dtype, first.shape)
    elif node.op == "QuantizeLinear":
        zero_point = node.inputs[2] if len(node.inputs) > 2 else ""
        yield Tensor(out, graph.type_of(zero_point).dtype if graph.has_type(zero_point) else "uint8", first.shape)
    elif node.op == "DequantizeLinear" and graph.has_type(node.inputs[1]):
        yield Tensor(out, graph.type_of(node.inputs[1]).dtype, first.shape)
    elif node.op in ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4") and node.attribute("N"):
        yield Tensor(out, first.dtype, (*first.shape[:-1], node.attribute("N")))
