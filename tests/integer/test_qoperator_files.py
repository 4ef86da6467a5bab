"""Files that ONNX Runtime's quantizer writes in its format QOperator, with operators of its domain com.microsoft."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights
from tests.onnx_oracle import unoptimized

pytestmark = pytest.mark.processor(runtime="onnxruntime")
RNG = np.random.default_rng(7)


def network() -> onnx.ModelProto:
    """A convolution, two sums, a product, functions, pools, a concatenation, a softmax and a matrix product."""
    weights = {
        "w": RNG.normal(0, 0.3, (8, 3, 3, 3)), "b": RNG.normal(0, 1, 8), "m": RNG.normal(0, 0.3, (16, 5)),
        "c": RNG.normal(0, 1, 5),
    }  # fmt: skip
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        make("Sigmoid", ["a"], ["s"]),
        make("Mul", ["a", "s"], ["p"]),
        make("LeakyRelu", ["a"], ["l"], alpha=0.2),
        make("Add", ["p", "l"], ["t"]),
        make("AveragePool", ["t"], ["v"], kernel_shape=[2, 2], strides=[2, 2]),
        make("MaxPool", ["t"], ["x2"], kernel_shape=[2, 2], strides=[2, 2]),
        make("Concat", ["v", "x2"], ["k"], axis=1),
        make("GlobalAveragePool", ["k"], ["g"]),
        make("Flatten", ["g"], ["f"]),
        make("Gemm", ["f", "m", "c"], ["z"]),
        make("Softmax", ["z"], ["y"], axis=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "qoperator", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5))],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def quantized(folder: Path, weight_type: str, per_channel: bool) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [RNG.normal(0, 1, (1, 3, 8, 8)).astype(np.float32) for _ in range(4)]

        def get_next(self):
            return {"x": self.left.pop()} if self.left else None

    source, made = folder / "float.onnx", folder / "qoperator.onnx"
    onnx.save(network(), source)
    quantize_static(
        str(source), str(made), Reader(), quant_format=QuantFormat.QOperator, per_channel=per_channel,
        activation_type=QuantType.QUInt8, weight_type=getattr(QuantType, weight_type),
    )  # fmt: skip
    return made


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight_type", ["QInt8", "QUInt8"])
def test_a_network_in_the_format_qoperator(tmp_path, weight_type, per_channel):
    path = quantized(tmp_path, weight_type, per_channel)
    assert any(node.domain == "com.microsoft" for node in onnx.load(path).graph.node)
    graph = onnx_io.load(path)
    program = lowering.lower(graph, load_weights(graph))
    inputs = {"x": RNG.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)}
    (ours,) = reference.run(program, inputs).values()
    (theirs,) = unoptimized(str(path), inputs)
    assert np.abs(ours - theirs).max() <= 2.5 * (program.exits[0].scale or 1)


def test_dynamic_quantization_is_said_in_plain_words(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    onnx.save(network(), tmp_path / "float.onnx")
    quantize_dynamic(str(tmp_path / "float.onnx"), str(tmp_path / "dynamic.onnx"))
    graph = onnx_io.load(tmp_path / "dynamic.onnx")
    with pytest.raises(InputError, match=r"in float \(dynamic quantization\); quantize the float network by --variant"):
        lowering.lower(graph, load_weights(graph))
