"""Single operators of random sizes, by family. They give a predictor the range of each kind of kernel; whole networks
(`hwprof.spaces.generic_networks`) give it the context.

Each function draws one graph. Its work, multiply-adds or elements, is log-uniform; the other sizes are drawn first, and
one is solved for the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from hwprof.builder import GraphBuilder, window
from hwprof.graph import Graph
from hwprof.spaces.drawing import Drawing, side, solved

Draw: TypeAlias = Callable[[Drawing, str], Graph]  # the name of the graph

MACS = (1e5, 2e9)
ELEMENTS = (1e3, 2e7)
FUNCTIONS = (
    "Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "LeakyRelu", "Softplus", "Exp", "Log", "Sqrt", "Erf",
    "Abs", "Neg", "Reciprocal", "Sin", "Floor",
)  # fmt: skip
POOLS: tuple[Literal["MaxPool", "AveragePool"], ...] = ("MaxPool", "AveragePool")
_LARGEST = 2**24  # elements of a tensor


def convolution(d: Drawing, name: str) -> Graph:
    """A window larger than one pixel."""
    return _convolution(d, name, kernel=d.of((3, 3, 3, 5, 7, 2)), groups=1)


def pointwise(d: Drawing, name: str) -> Graph:
    """A window of one pixel."""
    return _convolution(d, name, kernel=1, groups=1)


def grouped(d: Drawing, name: str) -> Graph:
    """Groups of several channels each."""
    return _convolution(d, name, kernel=d.of((1, 3, 3, 5)), groups=d.of((2, 4, 8, 16, 32)))


def depthwise(d: Drawing, name: str) -> Graph:
    """Each channel on its own."""
    kernel, stride, channels = d.of((3, 3, 3, 5, 7)), _stride(d), d.size(4, 1024)
    pixels = d.log(MACS[0], MACS[1] / 20) / (channels * kernel**2)
    image = side(_at_most(pixels, channels) * stride**2, kernel)
    b = GraphBuilder(name)
    x = b.input((1, channels, image, image))
    return b.build(_followed(d, b, b.conv(x, channels, kernel, stride, groups=channels, bias=d.chance(0.5))))


def convolution_1d(d: Drawing, name: str) -> Graph:
    """Over a signal; each channel on its own a quarter of the time."""
    kernel, stride, c = d.of((1, 3, 3, 5, 9, 15, 31)), _stride(d), d.size(1, 512)
    channels = c if (alone := d.chance(0.25)) else d.size(4, 512)
    groups = c if alone else 1
    length = solved(d.log(*MACS) / (channels * c // groups * kernel) * stride, kernel, _LARGEST // max(c, channels))
    b = GraphBuilder(name)
    x, w = b.input((1, c, length)), b.weight((channels, c // groups, kernel))
    half = (kernel - 1) // 2
    return b.build(
        b.node(
            "Conv", [x, w], (1, channels, window(length, kernel, stride, 2 * half)), kernel_shape=(kernel,),
            strides=(stride,), pads=(half, half), dilations=(1,), group=groups,
        )
    )  # fmt: skip


def transposed_convolution(d: Drawing, name: str) -> Graph:
    """Twice as large an image, or a window that overlaps."""
    kernel, c, channels = d.of((2, 2, 4, 4, 3)), d.size(4, 512), d.size(2, 512)
    stride = min(2, kernel)
    image = side(_at_most(d.log(*MACS) / (c * channels * kernel**2), max(c, channels) * stride**2), 1)
    b = GraphBuilder(name)
    x, w = b.input((1, c, image, image)), b.weight((c, channels, kernel, kernel))
    result = (image - 1) * stride + kernel
    return b.build(
        b.node(
            "ConvTranspose", [x, w], (1, channels, result, result), kernel_shape=(kernel, kernel),
            strides=(stride, stride), pads=(0, 0, 0, 0), dilations=(1, 1), group=1,
        )
    )  # fmt: skip


def product(d: Drawing, name: str) -> Graph:
    """Rows by a stored matrix; a single row half of the time."""
    rows = 1 if d.chance(0.4) else d.size(2, 1024)
    inner = d.size(8, 4096)
    features = solved(_at_most(d.log(*MACS) / (rows * inner), inner), 1, 32768)
    b = GraphBuilder(name)
    x = b.input((rows, inner))
    return b.build(b.gemm(x, features) if d.chance(0.5) else b.linear(x, features))


def batched_product(d: Drawing, name: str) -> Graph:
    """Activations by activations, as in attention."""
    heads, width = d.of((1, 2, 4, 8, 12, 16)), d.of((16, 32, 64, 64, 96, 128))
    rows = side(d.log(*MACS) / (heads * width), 2, 2048)
    b = GraphBuilder(name)
    first = b.input((1, heads, rows, width))
    second = b.input((1, heads, width, rows))
    return b.build(b.matmul(first, second) if d.chance(0.5) else b.matmul(second, first))


def lstm(d: Drawing, name: str) -> Graph:
    """One layer."""
    return _recurrence(d, name, "LSTM", 4)


def gru(d: Drawing, name: str) -> Graph:
    """One layer."""
    return _recurrence(d, name, "GRU", 3)


def function(d: Drawing, name: str) -> Graph:
    """One function of each element."""
    b = GraphBuilder(name)
    return b.build(b.unary(d.of(FUNCTIONS), b.input(_shape(d))))


def two_tensors(d: Drawing, name: str) -> Graph:
    """Added, multiplied, ...: of the same shape, by a channel's number, or by a scalar of each image."""
    b = GraphBuilder(name)
    shape = _shape(d)
    other = d.of((shape, shape, (1, shape[1], *(1 for _ in shape[2:])), shape[-1:]))
    return b.build(b.binary(d.of(("Add", "Mul", "Sub", "Div", "Max", "Min")), b.input(shape), b.input(other)))


def normalization(d: Drawing, name: str) -> Graph:
    """Layer, batch, instance or local response normalization, or softmax."""
    b = GraphBuilder(name)
    if d.chance(0.4):
        return b.build(b.layer_norm(b.input(_rows(d))))
    if d.chance(0.5):
        return b.build(b.softmax(b.input(_rows(d))))
    x = b.input(_image(d))
    if d.chance(0.4):
        return b.build(b.batch_norm(x))
    if d.chance(0.3):
        return b.build(b.unary("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0))
    weights = [b.weight(b.shape(x)[1:2]) for _ in range(2)]
    return b.build(b.node("InstanceNormalization", [x, *weights], b.shape(x), epsilon=1e-5))


def movement(d: Drawing, name: str) -> Graph:
    """No arithmetic: transposed, concatenated, sliced, padded, gathered, split, depth to space."""
    b = GraphBuilder(name)
    kind = d.of(("Transpose", "Concat", "Slice", "Pad", "Gather", "Split", "DepthToSpace"))
    if kind == "Transpose":
        order = d.of(((0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3), (0, 1, 3, 2)))
        return b.build(b.transpose(b.input(_image(d)), order))
    if kind == "Gather":
        return b.build(b.embedding(b.input((1, d.size(1, 1024)), "int64"), d.size(100, 30000), d.size(16, 1024)))
    x = b.input(_image(d))
    n, c, h, w = b.shape(x)
    if kind == "Concat":
        return b.build(b.concat([x, b.input((n, d.size(1, 256), h, w))]))
    if kind == "Slice":
        return b.build(b.slice(x, d.of((1, 2, 3)), 0, max(1, min(c, h, w) // 2)))
    if kind == "Split" and c > 1:
        return b.build(*b.split(x, [c // 2, c - c // 2], 1))
    if kind == "DepthToSpace" and c >= 4:
        x = b.slice(x, 1, 0, c // 4 * 4) if c % 4 else x
        return b.build(b.node("DepthToSpace", [x], (n, c // 4, 2 * h, 2 * w), blocksize=2))
    pads = b.constant([0, 0, 1, 1, 0, 0, 1, 1])
    return b.build(b.node("Pad", [x, pads], (n, c, h + 2, w + 2), mode="constant"))


def resize(d: Drawing, name: str) -> Graph:
    """Nearest or linear."""
    b = GraphBuilder(name)
    channels, scale = d.size(1, 256), d.of((2, 2, 4))
    image = side(d.log(ELEMENTS[0], ELEMENTS[1] / 8) / channels / scale**2, 2)
    x, scales = b.input((1, channels, image, image)), b.constant([1.0, 1.0, scale, scale], "float32")
    linear = d.chance(0.5)
    return b.build(
        b.node(
            "Resize", [x, "", scales], (1, channels, image * scale, image * scale),
            mode="linear" if linear else "nearest",
            coordinate_transformation_mode="half_pixel" if linear else "asymmetric",
            nearest_mode=None if linear else "floor",
        )
    )  # fmt: skip


def pool(d: Drawing, name: str) -> Graph:
    """Largest or mean, of a window or of all."""
    b = GraphBuilder(name)
    x = b.input(_image(d, least_side=4))
    if d.chance(0.3):
        return b.build(b.global_average_pool(x))
    kernel = d.of((2, 2, 3, 3, 4))
    return b.build(b.pool(d.of(POOLS), x, kernel, d.of((1, 2, kernel)), (kernel - 1) // 2))


def reduction(d: Drawing, name: str) -> Graph:
    """Over the last axis, or over an image."""
    b = GraphBuilder(name)
    x = b.input(_rows(d) if d.chance(0.5) else _image(d))
    axes = (len(b.shape(x)) - 1,) if d.chance(0.5) else tuple(range(2, len(b.shape(x))))
    shape = [1 if i in axes else n for i, n in enumerate(b.shape(x))]
    return b.build(b.node(d.of(("ReduceMean", "ReduceMax", "ReduceMean")), [x], shape, axes=axes, keepdims=1))


OPERATORS: Mapping[str, Draw] = {
    "convolution": convolution, "pointwise": pointwise, "depthwise": depthwise, "grouped": grouped,
    "convolution_1d": convolution_1d, "transposed_convolution": transposed_convolution, "product": product,
    "batched_product": batched_product, "lstm": lstm, "gru": gru, "function": function, "two_tensors": two_tensors,
    "normalization": normalization, "movement": movement, "resize": resize, "pool": pool, "reduction": reduction,
}  # fmt: skip


def _convolution(d: Drawing, name: str, kernel: int, groups: int) -> Graph:
    stride = _stride(d)
    c = groups * max(1, d.size(1, 1024) // groups)
    channels = groups * max(1, d.size(4, 1024) // groups)
    c = 3 if groups == 1 and kernel > 1 and d.chance(0.1) else c  # the first layer of an image network
    pixels = _at_most(d.log(*MACS) / (c * channels // groups * kernel**2), max(channels, c * stride**2))
    image = side(pixels * stride**2, kernel)
    b = GraphBuilder(name)
    x = b.input((d.of((1, 1, 1, 1, 4)) if image < 32 else 1, c, image, image))
    dilation = 2 if kernel > 1 and stride == 1 and image > 2 * kernel and d.chance(0.05) else 1
    y = b.conv(x, channels, kernel, stride, groups=groups, dilation=dilation, bias=d.chance(0.6))
    return b.build(_followed(d, b, y))


def _followed(d: Drawing, b: GraphBuilder, x: str) -> str:
    """Half of the time an activation follows, which runtimes fuse."""
    return b.relu(x) if d.chance(0.35) else b.relu6(x) if d.chance(0.2) else x


def _recurrence(d: Drawing, name: str, op: str, gates: int) -> Graph:
    hidden, width = d.size(16, 1536), d.size(16, 1536)
    batch = 1 if d.chance(0.7) else d.of((2, 4, 8, 16))
    time = solved(d.log(1e5, 1e9) / (gates * hidden * (hidden + width) * batch), 1, 256)
    b = GraphBuilder(name)
    x = b.input((time, batch, width))
    weights = [
        b.weight((1, gates * hidden, width)), b.weight((1, gates * hidden, hidden)), b.weight((1, 2 * gates * hidden)),
    ]  # fmt: skip
    (y,) = b.nodes(
        op, [x, *weights], [("float32", (time, 1, batch, hidden))], hidden_size=hidden,
        linear_before_reset=1 if op == "GRU" else None,
    )  # fmt: skip
    return b.build(y)


def _stride(d: Drawing) -> int:
    return d.of((1, 1, 1, 2))


def _at_most(size: float, others: int) -> float:
    """A size whose tensor, with the other sizes, is not too large."""
    return min(size, _LARGEST / others)


def _image(d: Drawing, least_side: int = 1) -> Sequence[int]:
    channels = d.size(1, 512)
    return 1, channels, *[side(d.log(*ELEMENTS) / channels, least_side)] * 2


def _rows(d: Drawing) -> Sequence[int]:
    width = d.size(8, 2048)
    return 1, solved(d.log(*ELEMENTS) / width, 1, 4096), width


def _shape(d: Drawing) -> Sequence[int]:
    return _image(d) if d.chance(0.6) else _rows(d)
