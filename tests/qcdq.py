"""Files of QCDQ, as Brevitas exports them: QuantizeLinear, Clip to fewer bits, DequantizeLinear."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Qcdq:
    """A model that is written operator by operator."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def store(self, name: str, array: np.ndarray) -> str:
        self.stored.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def quantized(self, x: str, name: str, scale: np.ndarray, zero: np.ndarray, bounds: tuple[int, int]) -> str:
        """Q, C and DQ of a tensor, by rows where there are several scales."""
        axis = {"axis": 0} if np.ndim(scale) else {}
        grid = [self.store(f"{name}_scale", np.asarray(scale, np.float32)), self.store(f"{name}_zero", zero)]
        ends = [self.store(f"{name}_{end}", zero.dtype.type(b)) for end, b in zip(("low", "high"), bounds, strict=True)]
        self.nodes += [
            helper.make_node("QuantizeLinear", [x, *grid], [f"{name}_q"], name=f"{name}_q", **axis),
            helper.make_node("Clip", [f"{name}_q", *ends], [f"{name}_c"], name=f"{name}_c"),
            helper.make_node("DequantizeLinear", [f"{name}_c", *grid], [f"{name}_dq"], name=f"{name}_dq", **axis),
        ]
        return f"{name}_dq"

    def save(self, path: Path, output: str) -> None:
        graph = helper.make_graph(
            self.nodes, "qcdq",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8, 8))],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, 8, 8, 8))],
            self.stored,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def network(path: Path, bits: int) -> None:
    """A convolution whose weights and results have so few bits; its input has 8."""
    rng, b = np.random.default_rng(0), Qcdq()
    largest = 2 ** (bits - 1) - 1
    weight = rng.normal(size=(8, 4, 3, 3)).astype(np.float32)
    rows = np.abs(weight).reshape(8, -1).max(axis=1) / largest
    w = b.quantized(b.store("weight", weight), "w", rows, np.zeros(8, np.int8), (-largest, largest))
    x = b.quantized("x", "in", np.float32(0.03), np.array(128, np.uint8), (0, 255))
    b.nodes.append(helper.make_node("Conv", [x, w], ["conv"], name="conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]))
    b.nodes.append(helper.make_node("Relu", ["conv"], ["relu"], name="relu"))
    y = b.quantized("relu", "out", np.float32(6 / (2**bits - 1)), np.array(0, np.uint8), (0, 2**bits - 1))
    b.save(path, y)
