"""Results of ONNX Runtime's own operators have types, and so has what follows them."""

from __future__ import annotations

from hwprof.graph import Graph, Node, Tensor
from hwprof.onnx_io.inference import infer_and_fold

MS = "com.microsoft"
OPSETS = (("", 17), (MS, 1))


def test_the_shape_after_16_bit_quantization_is_known():
    nodes = (
        Node("QuantizeLinear", ("x", "s", "z"), ("q",), domain=MS),
        Node("DequantizeLinear", ("q", "s", "z"), ("d",), domain=MS),
        Node("Transpose", ("d",), ("y",)),
    )
    weights = (Tensor("s", "float32", ()), Tensor("z", "uint16", ()))
    graph = infer_and_fold(Graph((Tensor("x", "float32", (2, 3)),), ("y",), nodes, weights, opsets=OPSETS))
    assert [(t.name, t.dtype, t.shape) for t in graph.values] == [
        ("q", "uint16", (2, 3)), ("d", "float32", (2, 3)), ("y", "float32", (3, 2)),
    ]  # fmt: skip


def test_the_shape_of_a_product_with_4_bit_weights_is_known():
    product = Node("MatMulNBits", ("x", "b", "s"), ("h",), (("K", 32), ("N", 5), ("bits", 4), ("block_size", 32)), MS)
    nodes = (product, Node("Gelu", ("h",), ("g",), domain=MS), Node("Relu", ("g",), ("y",)))
    weights = (Tensor("b", "uint8", (5, 1, 16)), Tensor("s", "float32", (5,)))
    graph = infer_and_fold(Graph((Tensor("x", "float32", (1, 7, 32)),), ("y",), nodes, weights, opsets=OPSETS))
    assert graph.shape("y") == (1, 7, 5)


def test_the_shape_of_a_product_of_transposed_matrices_is_known():
    product = Node("FusedMatMul", ("x", "w"), ("h",), (("transA", 1), ("transB", 1), ("alpha", 0.5)), MS)
    nodes = (product, Node("Relu", ("h",), ("y",)))
    inputs, weights = (Tensor("x", "float32", (4, 32, 7)),), (Tensor("w", "float32", (5, 32)),)
    assert infer_and_fold(Graph(inputs, ("y",), nodes, weights, opsets=OPSETS)).shape("y") == (4, 7, 5)
