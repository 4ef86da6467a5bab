"""Types of the results of ONNX Runtime's own operators (domain com.microsoft), which ONNX's inference does not know.

Only those whose result follows from their inputs alone: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto, helper
from onnx.shape_inference import InferenceError, infer_shapes

from hwprof.builder import broadcast
from hwprof.graph import Graph, Node, Tensor
from hwprof.onnx_io.proto import node_to_proto, zeros

_DOMAIN = "com.microsoft"
_LIKE_FIRST = frozenset({
    "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "BiasSoftmax", "LayerNormalization", "SimplifiedLayerNormalization",
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "RotaryEmbedding", "BiasAdd", "Inverse",
})  # fmt: skip

# Operators on integers that carry their scales: the float operator of the same shapes, and the places of its operands
# among their inputs.
COUNTERPARTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)),
    "QLinearSoftmax": ("Softmax", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearReduceMean": ("ReduceMean", (0,)),
    "QLinearWhere": ("Where", (1, 4)),
    "QLinearConcat": ("Concat", ()),  # any number of operands after the result's scale and zero point
}
_OWN = ("channels_last", "opset")  # attributes that the float operators do not have
_COUNTERPART_OPSET = 17


def operands(node: Node) -> tuple[int, ...]:
    """The places of the operands of an operator in `COUNTERPARTS`."""
    return tuple(range(2, len(node.inputs), 3)) if node.op == "QLinearConcat" else COUNTERPARTS[node.op][1]


def float_attributes(node: Node) -> tuple[tuple[str, object], ...]:
    """The attributes that its float counterpart has, too."""
    return tuple((key, value) for key, value in node.attributes if key not in _OWN)


def missing_types(graph: Graph) -> list[Tensor]:
    """The types of first results, each with its shape [...], that are not in the graph and follow from known ones."""
    return [t for node in graph.nodes if node.domain == _DOMAIN for t in _result(graph, node)]


def _result(graph: Graph, node: Node) -> Iterator[Tensor]:
    if graph.has_type(node.outputs[0]) or not graph.has_type(node.inputs[0]):
        return
    if node.op in COUNTERPARTS:
        yield from _as_its_counterpart(graph, node)
        return
    out, first = node.outputs[0], graph.type_of(node.inputs[0])
    if node.op in _LIKE_FIRST:
        yield Tensor(out, first.dtype, first.shape)
    elif node.op == "QuantizeLinear":
        zero_point = node.inputs[2] if len(node.inputs) > 2 else ""
        yield Tensor(out, graph.type_of(zero_point).dtype if graph.has_type(zero_point) else "uint8", first.shape)
    elif node.op == "DequantizeLinear" and graph.has_type(node.inputs[1]):
        yield Tensor(out, graph.type_of(node.inputs[1]).dtype, first.shape)
    elif node.op == "FusedMatMul" and graph.has_type(node.inputs[1]):
        yield from _product(node, first, graph.type_of(node.inputs[1]))
    elif node.op in ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4") and node.attribute("N"):
        yield Tensor(out, first.dtype, (*first.shape[:-1], node.attribute("N")))


def _product(node: Node, a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """The product of matrices, each of which may be transposed; nothing where the batch is moved, too."""
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0) or min(len(a.shape), len(b.shape)) < 2:
        return
    (*batch, rows, _), (*other, _, columns) = (
        (*t.shape[:-2], *(reversed(t.shape[-2:]) if node.attribute(name, 0) else t.shape[-2:]))
        for t, name in ((a, "transA"), (b, "transB"))
    )
    yield Tensor(node.outputs[0], a.dtype, (*broadcast(batch, other), rows, columns))


def _as_its_counterpart(graph: Graph, node: Node) -> Iterator[Tensor]:
    """The shape that the float operator's result has, in the type of the first operand."""
    names = [node.inputs[place] for place in operands(node)]
    if node.attribute("channels_last", 0) or not all(graph.has_type(name) for name in names):
        return
    given = [
        helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, graph.shape(name)) for i, name in enumerate(names)
    ]
    inputs = [info.name for info in given]
    if node.op == "QLinearWhere":
        given.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, graph.shape(node.inputs[0])))
        inputs.insert(0, "condition")
    plain = Node(COUNTERPARTS[node.op][0], tuple(inputs), ("y",), float_attributes(node))
    result = helper.make_empty_tensor_value_info("y")
    whole = helper.make_graph([node_to_proto(plain, zeros)], "counterpart", given, [result])
    opset = helper.make_opsetid("", _COUNTERPART_OPSET)
    try:
        inferred = infer_shapes(helper.make_model(whole, opset_imports=[opset])).graph.output[0].type.tensor_type
    except InferenceError:
        return
    sizes = [d.dim_value for d in inferred.shape.dim]
    if inferred.HasField("shape"):
        yield Tensor(node.outputs[0], graph.type_of(names[0]).dtype, tuple(sizes))
