"""Quantized networks of one layer, whose inputs and weights are drawn from all integers of their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwprof import onnx_io
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.integer.run.library import Library
from hwprof.variants.weights import load_weights
from tests.integer.programs import Quantized, run_kernels
from tests.onnx_oracle import unoptimized

LIMITS = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1)}
X_SCALE = {"int8": 0.05, "uint8": 0.05, "int16": 2.0**-12}


@dataclass(frozen=True)
class Layer:
    """A network and its inputs by name."""

    graph: Graph
    inputs: Mapping[str, np.ndarray]


class LayerBuilder(Quantized):
    """Draws the numbers of one layer. `inputs`: the real numbers of its inputs by name."""

    def __init__(self, name: str, opset: int = 21) -> None:
        super().__init__(name, opset)  # 21 is the first whose pairs have 4 and 16 bits
        self.rng = np.random.default_rng(len(name))
        self.inputs: dict[str, np.ndarray] = {}

    def entered(
        self, shape: Sequence[int], zero: int = 0, dtype: str = "int8", scale: float = 0.0, low: int | None = None
    ) -> str:  # fmt: skip
        """An input on its grid, with integers from `low` or the lowest one on."""
        least, most = LIMITS[dtype]
        scale = scale or X_SCALE[dtype]
        x = self.input(shape)
        integers = self.rng.integers(least if low is None else low, most + 1, shape)
        self.inputs[x] = ((integers - zero) * scale).astype(np.float32)
        return self.q(x, scale, zero, dtype)

    def row_weight(
        self, shape: Sequence[int], axis: int = 0, dtype: str = "int8", low: int | None = None
    ) -> tuple[str, np.ndarray]:
        """A weight with a scale for each position of the axis, and these scales."""
        most = LIMITS[dtype][1]
        values = self.rng.integers(-most if low is None else low, most + 1, shape)
        scales = self.rng.uniform(0.5, 2.0, shape[axis]).astype(np.float32) / most
        return self.stored(values, scales, dtype, axis), scales

    def stored(self, values: np.ndarray, scales: np.ndarray, dtype: str, axis: int = 0, zero: int = 0) -> str:
        """Dequantized integers, with one scale or one for each position of the axis."""
        shape, scalar = values.shape, scales.size == 1
        grid = [
            self.constant(scales.ravel().tolist(), "float32", scalar=scalar),
            self.constant([zero] * scales.size, dtype, scalar=scalar),
        ]
        integers = self.constant(values.ravel().tolist(), dtype, shape=shape)
        more = {} if scalar else {"axis": axis}
        return self.nodes("DequantizeLinear", [integers, *grid], [("float32", shape)], **more)[0]

    def bias(self, scales: np.ndarray, most: float) -> str:
        """A stored bias within +-most, on the grids of the products."""
        steps = np.minimum(most / scales, 2.0**31 - 1)
        return self.stored(np.rint(self.rng.uniform(-steps, steps)).astype(np.int64), scales, "int32")

    def left(
        self, y: str, scale: float, zero: int = 0, dtype: str = "int8", low: int | None = None, high: int | None = None
    ) -> Layer:
        """The network whose result is y on its grid, within the bounds, which are integers of the grid."""
        least, most = LIMITS[dtype]
        low, high = least if low is None else low, most if high is None else high
        if (low, high) != (least, most):
            y = self.clip(y, (low - zero) * scale, (high - zero) * scale)
        return Layer(self.build(self.q(y, scale, zero, dtype)), self.inputs)


def computed(layer: Layer, kernels: Library) -> tuple[np.ndarray, float]:
    """The result [...], the same by the reference and by the fastest kernels, and its step. Raises InputError where
    integers cannot run the layer."""
    program = lowering.lower(layer.graph, load_weights(layer.graph))
    (result,) = reference.run(program, layer.inputs).values()
    (fastest,) = run_kernels(program, layer.inputs, kernels, kernels.available()[0]).values()
    np.testing.assert_array_equal(fastest, result)
    return result, program.exits[0].scale or 1.0


def require_nearly_equal(
    layer: Layer, kernels: Library, wanted: np.ndarray | None = None, most_steps: int = 1
) -> None:  # fmt: skip
    """Within so many steps of the wanted result, [...], or of what ONNX Runtime computes in float, and mostly equal."""
    ours, step = computed(layer, kernels)
    if wanted is None:
        (wanted,) = unoptimized(onnx_io.materialize(layer.graph), layer.inputs)
    steps = np.rint(np.abs(ours.astype(np.float64) - wanted) / step)
    assert steps.max() <= most_steps
    assert (steps == 0).mean() > 0.7 / most_steps  # ties are rounded in different ways
