"""LiteRT's int8 kernels as a second witness. They round twice where these do once: a step of difference is fair."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights
from tests.integer.programs import Quantized, run_kernels

pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
X_SCALE, W_SCALE, Y_SCALE = 0.05, 0.01, 0.1
X_ZERO, Y_ZERO = -7, 5


def tensor(schema, name: str, shape, kind, scale, zero: int, buffer: int, channels: int = 0):
    """channels: how many scales, along the first axis; 0: one for all."""
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), kind, buffer
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale = [scale] * max(channels, 1)
    made.quantization.zeroPoint = [zero] * max(channels, 1)
    return made


def litert(code: str, options, x: np.ndarray, y_shape, weight=None, bias=None, other=None) -> np.ndarray:
    """The int8 result of one operator. x, other: int8; weight: int8, outputs first; bias: int32."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    buffers = [schema.BufferT() for _ in range(3)]
    tensors = [tensor(schema, "x", x.shape, int8, X_SCALE, X_ZERO, 0)]
    if weight is not None:
        buffers[1].data = np.frombuffer(np.ascontiguousarray(weight).tobytes(), np.uint8)
        buffers[2].data = np.frombuffer(bias.tobytes(), np.uint8)
        channels = len(bias) if code == "CONV_2D" else 0
        tensors.append(tensor(schema, "w", weight.shape, int8, W_SCALE, 0, 1, channels))
        tensors.append(tensor(schema, "b", bias.shape, int32, X_SCALE * W_SCALE, 0, 2, channels))
    if other is not None:
        tensors.append(tensor(schema, "x2", other.shape, int8, X_SCALE, X_ZERO, 0))
    tensors.append(tensor(schema, "y", y_shape, int8, Y_SCALE, Y_ZERO, 0))
    operator, kind, graph, model = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    kind.builtinCode = kind.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, code)
    kind.version = {"CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2}[code]
    operator.inputs, operator.outputs = list(range(len(tensors) - 1)), [len(tensors) - 1]
    operator.builtinOptions = options(schema)
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(operator.builtinOptions).__name__[:-1])
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs = [0] if other is None else [0, 1]
    graph.outputs = operator.outputs
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [kind], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(model_content=bytes(builder.Output()))
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), (x, other), strict=False):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def ours(b: Quantized, y: str, inputs: list[np.ndarray], kernels) -> np.ndarray:
    """The int8 result by the fastest kernels, which are checked against the reference."""
    graph = b.build(b.q(y, Y_SCALE, Y_ZERO, "int8"))
    program = lowering.lower(graph, load_weights(graph))
    reals = {
        t.name: ((a.astype(np.float64) - X_ZERO) * X_SCALE).astype(np.float32)
        for t, a in zip(graph.inputs, inputs, strict=True)
    }
    (wanted,) = reference.run(program, reals).values()
    (got,) = run_kernels(program, reals, kernels, kernels.available()[0]).values()
    np.testing.assert_array_equal(got, wanted)
    return np.rint(got / Y_SCALE).astype(int) + Y_ZERO


def agree(one: np.ndarray, other: np.ndarray) -> None:
    apart = np.abs(one.astype(int) - other)
    assert apart.max() <= 1
    assert (apart == 0).mean() > 0.97
    assert len(np.unique(one)) > 20


def entered(b: Quantized, shape) -> str:
    return b.q(b.input(shape), X_SCALE, X_ZERO, "int8")


def drawn(shape, dtype=np.int8, limit: int = 127, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-limit, limit + 1, shape).astype(dtype)


def test_a_matrix_product(kernels):
    x, weight, bias = drawn((9, 40)), drawn((12, 40)), drawn(12, np.int32, 2000)

    def options(schema):
        return schema.FullyConnectedOptionsT()

    b = Quantized("dense")
    stored = b.w((12, 40), W_SCALE, weight.ravel().tolist())
    more = b.w((12,), X_SCALE * W_SCALE, bias.tolist(), "int32")
    y = b.node("Gemm", [entered(b, x.shape), stored, more], (9, 12), transB=1)
    agree(litert("FULLY_CONNECTED", options, x, (9, 12), weight, bias), ours(b, y, [x], kernels))


def test_a_convolution(kernels):
    x, weight, bias = drawn((1, 9, 11, 6)), drawn((8, 3, 3, 6)), drawn(8, np.int32, 2000)

    def options(schema):
        made = schema.Conv2DOptionsT()
        made.padding, made.strideH, made.strideW = schema.Padding.SAME, 2, 2
        return made

    b = Quantized("convolution")
    ordered = np.moveaxis(weight, 3, 1)
    stored = b.w(ordered.shape, W_SCALE, ordered.ravel().tolist())
    more = b.w((8,), X_SCALE * W_SCALE, bias.tolist(), "int32")
    y = b.node(
        "Conv", [entered(b, (1, 6, 9, 11)), stored, more], (1, 8, 5, 6), kernel_shape=(3, 3), strides=(2, 2),
        auto_pad="SAME_UPPER",
    )  # fmt: skip
    theirs = np.moveaxis(litert("CONV_2D", options, x, (1, 5, 6, 8), weight, bias), 3, 1)
    agree(theirs, ours(b, y, [np.moveaxis(x, 3, 1)], kernels))


def test_an_addition(kernels):
    x, other = drawn((1, 300)), drawn((1, 300), seed=1)

    def options(schema):
        return schema.AddOptionsT()

    b = Quantized("addition")
    y = b.add(entered(b, x.shape), entered(b, x.shape))
    agree(litert("ADD", options, x, x.shape, other=other), ours(b, y, [x, other], kernels))
