import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.graph import Constant, Graph, Node, Tensor
from hwprof.onnx_io.tensor_uses import Role, Uses, fan_in, settle_weights


def graph_of(*nodes: Node, constants: tuple[Constant, ...]) -> Graph:
    return Graph((Tensor("x", "float32", (1, 4, 8, 8)),), ("y",), nodes, constants=constants)


@pytest.mark.parametrize(
    ("op", "position", "constant"),
    [
        ("Clip", 1, Constant("c", "float32", (), (6.0,))),
        ("Resize", 2, Constant("c", "float32", (4,), (1.0, 1.0, 2.0, 2.0))),
        ("Pow", 1, Constant("c", "float32", (), (2.0,))),
        ("Div", 1, Constant("c", "float32", (1,), (8.0,))),
        ("Where", 2, Constant("c", "float32", (), (-1e9,))),
        ("Reshape", 1, Constant("c", "int64", (2,), (4, -1))),
        ("Gather", 0, Constant("c", "int64", (3,), (1, 2, 3))),
        ("Where", 0, Constant("c", "bool", (2,), (True, False))),
    ],
)
def test_values_that_decide_what_is_computed_stay(op, position, constant):
    inputs = tuple("c" if i == position else "x" for i in range(3))
    assert settle_weights(graph_of(Node(op, inputs, ("y",)), constants=(constant,))).constants == (constant,)


@pytest.mark.parametrize(
    ("op", "position", "constant"),
    [
        ("Conv", 1, Constant("c", "float32", (1, 1, 1, 1), (0.5,))),
        ("Conv", 2, Constant("c", "float32", (1,), (0.5,))),
        ("Gather", 0, Constant("c", "float32", (3, 1), (0.1, 0.2, 0.3))),
        ("Add", 1, Constant("c", "float32", (2,), (0.1, 0.2))),
        ("PRelu", 1, Constant("c", "float32", (1,), (0.2,))),
        ("QuantizeLinear", 1, Constant("c", "float32", (), (0.1,))),
        ("QuantizeLinear", 2, Constant("c", "uint8", (), (128,))),
        ("DequantizeLinear", 0, Constant("c", "int8", (2,), (1, 2))),
        ("DequantizeLinear", 0, Constant("c", "int32", (2,), (1, 2))),
        ("MatMulInteger", 1, Constant("c", "int8", (1, 1), (7,))),
    ],
)
def test_learned_values_become_types(op, position, constant):
    inputs = tuple("c" if i == position else "x" for i in range(3))
    settled = settle_weights(graph_of(Node(op, inputs, ("y",)), constants=(constant,)))
    assert settled.constants == ()
    assert settled.weights == (Tensor("c", constant.dtype, constant.shape),)


def test_the_role_is_that_of_the_operator_at_the_end_of_moves():
    nodes = (
        Node("Unsqueeze", ("w", "axes"), ("a",)),
        Node("Cast", ("a",), ("b",), (("to", 1),)),
        Node("Add", ("x", "b"), ("y",)),
    )
    axes = Constant("axes", "int64", (2,), (1, 2))
    graph = Graph((Tensor("x", "float32", (1, 4, 8, 8)),), ("y",), nodes, (Tensor("w", "float16", (4,)),), (axes,))
    use = Uses(graph).of("w")
    assert (use.role, use.tensor, use.position) == (Role.SHIFT, "b", 1)
    assert Uses(graph).of("axes").role is Role.OTHER


def test_each_input_of_a_quantized_convolution_has_its_role():
    names = ("xs", "xp", "w", "ws", "wp", "ys", "yp", "bias")
    kinds = ("float32", "uint8", "int8", "float32", "int8", "float32", "uint8", "int32")
    weights = tuple(Tensor(n, kind, (4,)) for n, kind in zip(names, kinds, strict=True))
    node = Node("QLinearConv", ("x", *names), ("y",))
    uses = Uses(Graph((Tensor("x", "uint8", (1, 4, 8, 8)),), ("y",), (node,), weights))
    assert [uses.of(n).role for n in names] == [
        Role.STEP, Role.ZERO_POINT, Role.MATRIX, Role.WEIGHT_STEP, Role.ZERO_POINT, Role.STEP, Role.ZERO_POINT,
        Role.MATRIX,
    ]  # fmt: skip
    assert uses.scaled_weight(uses.of("ws")) == "w"


@pytest.mark.parametrize(
    ("node", "shape", "summed"),
    [
        (Node("Conv", ("x", "w"), ("y",)), (8, 4, 3, 3), 36),
        (Node("ConvTranspose", ("x", "w"), ("y",), (("strides", (2, 2)),)), (8, 4, 4, 4), 32),
        (Node("ConvTranspose", ("x", "w"), ("y",), (("group", 8),)), (8, 1, 3, 3), 9),
        (Node("Gemm", ("x", "w"), ("y",)), (5, 7), 5),
        (Node("Gemm", ("x", "w"), ("y",), (("transB", 1),)), (5, 7), 7),
        (Node("MatMul", ("w", "x"), ("y",)), (2, 5, 7), 7),
        (Node("MatMul", ("x", "w"), ("y",)), (2, 5, 7), 5),
        (Node("MatMul", ("x", "w"), ("y",)), (9,), 9),
    ],
)
def test_fan_in_counts_the_products_of_one_output(node, shape, summed):
    assert fan_in(node, "w", shape) == summed


def test_the_scale_of_a_weight_in_a_dynamically_quantized_layer_is_a_weight():
    nodes = (
        Node("DynamicQuantizeLinear", ("x",), ("q", "s", "p")),
        Node("MatMulInteger", ("q", "w", "p"), ("i",)),
        Node("Mul", ("s", "c"), ("y",)),
    )
    scale = Constant("c", "float32", (), (0.1,))
    inputs, weights = (Tensor("x", "float32", (4, 8)),), (Tensor("w", "int8", (8, 8)),)
    graph = Graph(inputs, ("i", "y"), nodes, weights, (scale,))
    assert Uses(graph).scaled_weight(Uses(graph).of("c")) == "w"
    assert settle_weights(graph).constants == ()


def test_two_calibrations_of_one_network_are_one_graph(tmp_path):
    """By ONNX Runtime's own quantizer, whose scales, zero points, weights and biases are all stored values."""
    b = GraphBuilder("net")
    graph = b.build(b.gemm(b.flatten(b.relu(b.conv(b.input((1, 3, 8, 8)), 4, 3, bias=True))), 5))

    class Reader(CalibrationDataReader):
        def __init__(self, scale: float) -> None:
            self.batches = iter([{"input0": scale * np.ones((1, 3, 8, 8), np.float32)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    digests = set()
    for seed, scale in ((0, 1.0), (1, -30.0)):
        onnx_io.save(graph, tmp_path / "net.onnx", seed)
        files = tmp_path / "net.onnx", tmp_path / "int8.onnx"
        quantize_static(*files, Reader(scale), quant_format=QuantFormat.QDQ, per_channel=True)
        digests.add(onnx_io.load(tmp_path / "int8.onnx").digest)
    assert len(digests) == 1
