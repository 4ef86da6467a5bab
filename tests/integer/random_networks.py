"""Quantized networks drawn at random: small tensors, any operator of the engine, any scale, zero point and window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwprof.graph import Graph
from tests.integer.programs import Quantized

_FUNCTIONS = ("Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Neg", "Abs", "Erf", "Relu", "Exp")
_PAIRS = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1")


class Drawn:
    """A network that grows operator by operator. Each draws from the tensors before it."""

    def __init__(self, seed: int, operators: int, widest: int = 9) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Quantized(f"random-{seed}", opset=20)
        self._widest = widest
        shape = (int(self.rng.integers(1, 3)), *(int(n) for n in self.rng.integers(1, widest + 1, 3)))
        self._scales: dict[str, float] = {}
        self._images = [self._quantized(self.b.input(shape), float(2.0 ** self.rng.uniform(-7, -3)))]
        for _ in range(operators):
            self._images.append(self._choice(OPERATORS)(self))

    def with_operator(self, operator: Callable[[Drawn], str]) -> Graph:
        """The network with one more operator, whose result is its output."""
        self._images.append(operator(self))
        return self.graph()

    def graph(self) -> Graph:
        return self.b.build(self._images[-1])

    # -- parts -----------------------------------------------------------------------------------------

    def _choice(self, options: Sequence):
        return options[int(self.rng.integers(len(options)))]

    def _quantized(self, x: str, scale: float) -> str:
        if self.rng.random() < 0.3:
            dtype, zero = "int8", int(self._choice([0, 0, int(self.rng.integers(-128, 128))]))
        else:
            dtype, zero = "uint8", int(self._choice([0, 128, int(self.rng.integers(256))]))
        y = self.b.q(x, scale, zero, dtype)
        self._scales[y] = scale
        return y

    def _result(self, y: str, scale: float) -> str:
        if self.rng.random() < 0.2:
            y = self.b.relu(y)
        return self._quantized(y, max(1e-6, scale * float(2.0 ** self.rng.uniform(-1, 1))))

    def _image(self) -> str:
        return self._images[-1] if self.rng.random() < 0.7 else self._choice(self._images)

    def _weight(self, shape: tuple[int, ...], scale: float) -> str:
        dtype = self._choice(["int8", "int8", "int8", "uint8"])
        low, high, zero = (-128, 128, 0) if dtype == "int8" else (0, 256, int(self.rng.integers(100, 150)))
        if dtype == "int8" and self.rng.random() < 0.7:
            low = -127
        values = self.rng.integers(low, high, shape)
        if self.rng.random() < 0.1:
            values.reshape(len(values), -1)[0] = zero  # a channel of zeros
        return self.b.w(shape, scale, values.ravel().tolist(), dtype, zero)

    # -- operators -------------------------------------------------------------------------------------

    def convolution(self) -> str:
        x = self._image()
        n, c, h, w = self.b.shape(x)
        kernel = [int(self.rng.integers(1, 1 + min(3, size))) for size in (h, w)]
        stride = [int(v) for v in self.rng.integers(1, 3, 2)]
        dilation = [
            1 if k == 1 or (k - 1) * 2 + 1 > s else int(self._choice([1, 2]))
            for k, s in zip(kernel, (h, w), strict=True)
        ]
        pads = [int(v) for v in self.rng.integers(0, 2, 4)]
        groups = c if self.rng.random() < 0.3 else 1
        outputs = c if groups == c and c > 1 else int(self.rng.integers(1, self._widest + 1)) * groups
        size = [
            (extent + pads[i] + pads[i + 2] - (k - 1) * d - 1) // s + 1
            for i, (extent, k, d, s) in enumerate(zip((h, w), kernel, dilation, stride, strict=True))
        ]
        scale = float(2.0 ** self.rng.uniform(-9, -6))
        weight = self._weight((outputs, c // groups, *kernel), scale)
        inputs = [x, weight]
        if self.rng.random() < 0.5:
            inputs.append(
                self.b.w(
                    (outputs,),
                    self._scales[x] * scale,
                    dtype="int32",
                    values=self.rng.integers(-4000, 4000, outputs).tolist(),
                )
            )
        y = self.b.node(
            "Conv", inputs, (n, outputs, *size), kernel_shape=tuple(kernel), strides=tuple(stride),
            dilations=tuple(dilation), pads=tuple(pads), group=groups,
        )  # fmt: skip
        depth = c // groups * kernel[0] * kernel[1]
        return self._result(y, self._scales[x] * scale * 75 * depth**0.5)

    def transposed_convolution(self) -> str:
        x = self._image()
        n, c, h, w = self.b.shape(x)
        kernel, stride = ([int(v) for v in self.rng.integers(1, 4, 2)] for _ in range(2))
        pads = [int(self.rng.integers(0, k)) for k in kernel] * 2
        size = [(s - 1) * t + k - 2 * p for s, t, k, p in zip((h, w), stride, kernel, pads, strict=False)]
        if min(size) < 1 or max(size) > 40:
            return self.function()
        outputs, scale = int(self.rng.integers(1, self._widest + 1)), float(2.0 ** self.rng.uniform(-9, -6))
        weight = self._weight((c, outputs, *kernel), scale)
        y = self.b.node(
            "ConvTranspose", [x, weight], (n, outputs, *size), kernel_shape=tuple(kernel), strides=tuple(stride),
            pads=tuple(pads),
        )  # fmt: skip
        return self._result(y, self._scales[x] * scale * 75 * c**0.5)

    def pool(self) -> str:
        x = self._image()
        n, c, h, w = self.b.shape(x)
        kernel = [int(self.rng.integers(1, 1 + min(3, size))) for size in (h, w)]
        stride = [int(v) for v in self.rng.integers(1, 3, 2)]
        pads = [int(self.rng.integers(0, k)) for k in kernel] * 2
        size = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip((h, w), pads, kernel, stride, strict=False)]
        settings = {"kernel_shape": tuple(kernel), "strides": tuple(stride), "pads": tuple(pads)}
        op = self._choice(["MaxPool", "AveragePool", "AveragePool"])
        if op == "MaxPool":
            y = self.b.node(op, [x], (n, c, *size), **settings)
            self._scales[y] = self._scales[x]
            return y
        y = self.b.node(op, [x], (n, c, *size), count_include_pad=int(self.rng.integers(2)), **settings)
        return self._result(y, self._scales[x])

    def pair(self) -> str:
        x, op = self._image(), str(self._choice(_PAIRS))
        other = self._partner(x)
        y = self.b.node(op, [x, other], self.b.shape(x))
        if op == "Div":
            return self._result(y, self._scales[x] / self._scales[other] / 60)
        return self._result(y, self._scales[x] * (self._scales[other] * 60 if op == "Mul" else 1.0))

    def _partner(self, x: str) -> str:
        """A tensor that is broadcast to x: one of the network, a part of one, or a stored one."""
        shape = self.b.shape(x)
        same = [i for i in self._images if self.b.shape(i) == shape and i != x]
        if same and self.rng.random() < 0.5:
            return str(self._choice(same))
        part = tuple(n if self.rng.random() < 0.5 else 1 for n in shape)
        values = self.rng.integers(0, 256, part)
        scale = self._scales[x]
        y = self.b.w(part, scale, values.ravel().tolist(), "uint8", int(self.rng.integers(256)))
        self._scales[y] = scale
        return y

    def vector(self) -> str:
        """A sum or product with floats that are stored."""
        x, op = self._image(), str(self._choice(["Add", "Mul", "Sub", "Div"]))
        channels = self.b.shape(x)[1]
        values = self.rng.uniform(0.5, 2, channels) * self.rng.choice([-1, 1], channels)
        if op in ("Add", "Sub"):
            values = values * self._scales[x] * 60
        y = self.b.node(op, [x, self.b.constant(values.tolist(), "float32", shape=(channels, 1, 1))], self.b.shape(x))
        return self._result(y, self._scales[x])

    def function(self) -> str:
        x, op = self._image(), str(self._choice(_FUNCTIONS))
        return self._result(self.b.unary(op, x), self._scales[x])

    def slopes(self) -> str:
        x = self._image()
        channels = self.b.shape(x)[1]
        slopes = self.b.constant(self.rng.uniform(-1, 1, channels).tolist(), "float32", shape=(channels, 1, 1))
        return self._result(self.b.node("PRelu", [x, slopes], self.b.shape(x)), self._scales[x])

    def joined(self) -> str:
        x = self._image()
        n, c, h, w = self.b.shape(x)
        others = [i for i in self._images if self.b.shape(i)[0] == n and self.b.shape(i)[2:] == (h, w)]
        other = str(self._choice(others))
        total = c + self.b.shape(other)[1]
        return self._result(self.b.node("Concat", [x, other], (n, total, h, w), axis=1), self._scales[x])

    def part(self) -> str:
        x = self._image()
        axis = int(self.rng.integers(1, 4))
        stop = int(self.rng.integers(1, self.b.shape(x)[axis] + 1))
        start = int(self.rng.integers(0, stop))
        y = self.b.slice(x, axis, start, stop)
        self._scales[y] = self._scales[x]
        return y

    def padded(self) -> str:
        x = self._image()
        shape, pads = self.b.shape(x), [0, 0, *(int(v) for v in self.rng.integers(0, 3, 2))] * 2
        mode = str(self._choice(["constant", "edge", "reflect"]))
        if mode == "reflect" and any(p >= n for p, n in zip(pads, shape, strict=False)):
            mode = "edge"
        size = tuple(n + pads[i] + pads[i + 4] for i, n in enumerate(shape))
        y = self.b.node("Pad", [x, self.b.constant(pads)], size, mode=mode)
        self._scales[y] = self._scales[x]
        return y

    def turned(self) -> str:
        x = self._image()
        order = [0, *(int(v) for v in 1 + self.rng.permutation(3))]
        y = self.b.transpose(x, order)
        self._scales[y] = self._scales[x]
        return y

    def resized(self) -> str:
        x = self._image()
        n, c, h, w = self.b.shape(x)
        factor = int(self.rng.integers(1, 4))
        if factor * max(h, w) > 40:
            return self.function()
        scales = self.b.constant([1.0, 1.0, float(factor), float(factor)], "float32")
        mode = str(self._choice(["nearest", "linear"]))
        settings = {"coordinate_transformation_mode": str(self._choice(["asymmetric", "half_pixel", "align_corners"]))}
        if mode == "nearest":
            settings |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        y = self.b.node("Resize", [x, "", scales], (n, c, factor * h, factor * w), mode=mode, **settings)
        if mode == "nearest":
            self._scales[y] = self._scales[x]
            return y
        return self._result(y, self._scales[x])

    def reduced(self) -> str:
        x, op = self._image(), str(self._choice(_REDUCTIONS))
        axes = sorted(int(v) for v in self.rng.choice(np.arange(1, 4), int(self.rng.integers(1, 4)), replace=False))
        size = tuple(1 if i in axes else n for i, n in enumerate(self.b.shape(x)))
        y = self.b.node(op, [x, self.b.constant(axes)], size, keepdims=1)
        return self._result(y, self._scales[x])

    def shares(self) -> str:
        x = self._image()
        y = self.b.softmax(x, axis=int(self.rng.integers(1, 4)))
        return self._result(y, 1 / 255)

    def normalized(self) -> str:
        x = self._image()
        shape = self.b.shape(x)
        values = self.rng.uniform(0.5, 1.5, shape[-1]).tolist()
        gain = self.b.constant(values, "float32", shape=shape[-1:])
        y = self.b.node("LayerNormalization", [x, gain], shape, axis=-1)
        return self._result(y, 1 / 50)

    def product(self) -> str:
        x = self._image()
        *lead, width = self.b.shape(x)
        outputs, scale = int(self.rng.integers(1, self._widest + 1)), float(2.0 ** self.rng.uniform(-9, -6))
        y = self.b.node("MatMul", [x, self._weight((width, outputs), scale)], (*lead, outputs))
        return self._result(y, self._scales[x] * scale * 75 * width**0.5)

    def attention(self) -> str:
        x = self._image()
        n, c, h, w = self.b.shape(x)
        turned = self.b.transpose(x, (0, 1, 3, 2))
        return self._result(self.b.node("MatMul", [x, turned], (n, c, h, h)), self._scales[x] ** 2 * 60 * w)


OPERATORS: tuple[Callable[[Drawn], str], ...] = (
    Drawn.convolution, Drawn.convolution, Drawn.convolution, Drawn.transposed_convolution, Drawn.pool, Drawn.pool,
    Drawn.pair, Drawn.pair, Drawn.vector, Drawn.function, Drawn.slopes, Drawn.joined, Drawn.part, Drawn.padded,
    Drawn.turned, Drawn.resized, Drawn.reduced, Drawn.shares, Drawn.normalized, Drawn.product, Drawn.attention,
)  # fmt: skip
