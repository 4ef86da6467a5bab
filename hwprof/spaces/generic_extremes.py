"""Operators and networks at the edges of what real networks have, by family: weights beyond every cache, filters as
long as a signal's window, oblong images, many small matrices, recurrences in both directions.

`hwprof.spaces.generic_operators` and `generic_networks` do not reach them, and data sets keep how these draw. So they
are families of their own, after the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hwprof.builder import GraphBuilder, window
from hwprof.graph import Graph
from hwprof.spaces.drawing import Drawing, side, solved
from hwprof.spaces.generic_operators import Draw

_MACS = (1e5, 5e8)
_LARGEST = 2**23  # elements of an image
_WINDOWS = ((1, 3), (3, 1), (1, 5), (5, 1), (1, 7), (7, 1), (7, 3), (3, 9), (3, 39))
_STRIDES = ((1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (1, 3))


def wide_product(d: Drawing, name: str) -> Graph:
    """The fully connected layers of early image networks: more weights than a cache holds, mostly for a single row."""
    rows, inner = (1 if d.chance(0.75) else d.size(2, 16)), d.size(1024, 24576)
    features = solved(d.log(2e6, 6e7) / inner, 8, 16384)
    b = GraphBuilder(name)
    return b.build(b.gemm(b.input((rows, inner)), features))


def filterbank(d: Drawing, name: str) -> Graph:
    """Long windows of one signal by many filters, as speech networks compute spectra, in one dimension or in two."""
    kernel, channels, height = d.size(64, 1024), d.size(1, 512), (() if d.chance(0.6) else (1,))
    stride = d.of((2, kernel // 4, kernel // 2, kernel))
    frames = solved(d.log(*_MACS) / (kernel * channels), 1, _LARGEST // max(channels, stride))
    b = GraphBuilder(name)
    x = b.input((1, 1, *height, (frames - 1) * stride + kernel))
    sides = len(height) + 1
    return b.build(
        _convolved(b, x, channels, (*height, kernel), (*height, stride), (0,) * sides, bias=d.chance(0.5)),
    )


def oblong(d: Drawing, name: str) -> Graph:
    """Windows and images that are longer in one direction than in the other: of text lines and of spectra."""
    kernel, stride, c, channels = d.of(_WINDOWS), d.of(_STRIDES), d.size(1, 256), d.size(1, 256)
    pixels = min(d.log(*_MACS) / (c * channels * math.prod(kernel)), _LARGEST / max(c, channels))
    height = solved(math.sqrt(pixels * d.log(1 / 32, 32)), 1, 4096)
    b = GraphBuilder(name)
    x = b.input((1, c, height, solved(pixels / height, 1, 4096)))
    y = _convolved(b, x, channels, kernel, stride, [k // 2 for k in kernel], bias=d.chance(0.6))
    return b.build(b.relu(y) if d.chance(0.4) else y)


def last_upsampling(d: Drawing, name: str) -> Graph:
    """Transposed convolutions to few channels, with a bias, as at the end of a segmentation."""
    kernel, c, channels = d.of((2, 2, 3, 4)), d.size(4, 256), d.size(1, 64)
    image = side(min(d.log(*_MACS) / (c * channels * kernel**2), _LARGEST / (4 * max(c, channels))))
    b = GraphBuilder(name)
    x, result = b.input((1, c, image, image)), (image - 1) * 2 + kernel
    weights = [b.weight((c, channels, kernel, kernel)), b.weight((channels,))]
    return b.build(
        b.node(
            "ConvTranspose", [x, *weights], (1, channels, result, result), kernel_shape=(kernel, kernel),
            strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1), group=1,
        )
    )  # fmt: skip


def many_products(d: Drawing, name: str) -> Graph:
    """Many small matrices, as in attention by windows; a third by one stored matrix, from the left."""
    batch, rows, inner, columns = d.size(8, 512), d.size(4, 128), d.size(4, 128), d.size(4, 128)
    b = GraphBuilder(name)
    first = b.weight((rows, inner)) if d.chance(0.33) else b.input((batch, rows, inner))
    return b.build(b.matmul(first, b.input((batch, inner, columns))))


def composed_function(d: Drawing, name: str) -> Graph:
    """A function of each element that exporters write as several operators, and runtimes compute as one."""
    shape = _image(d) if d.chance(0.5) else (d.size(1, 1024), d.size(8, 4096))
    b = GraphBuilder(name)
    x = b.input(shape)
    return b.build(b.gelu(x) if d.chance(0.5) else b.mul(x, b.unary(d.of(("Sigmoid", "HardSigmoid")), x)))


def along_a_signal(d: Drawing, name: str) -> Graph:
    """The parts of separable convolutions over a signal: windows of one element, and each channel on its own."""
    alone, c, stride = d.chance(0.5), d.size(4, 1024), d.of((1, 1, 2))
    kernel, channels = (d.of((3, 5, 9, 15)), c) if alone else (1, d.size(4, 1024))
    each = c * (kernel if alone else channels)
    length = solved(min(d.log(*_MACS) / each, _LARGEST / max(c, channels)) * stride, kernel, 65536)
    b = GraphBuilder(name)
    x, half = b.input((1, c, length)), kernel // 2
    return b.build(_convolved(b, x, channels, (kernel,), (stride,), (half,), bias=True, groups=c if alone else 1))


def two_directions(d: Drawing, name: str) -> Graph:
    """A recurrence in both directions."""
    hidden, width, batch = d.size(8, 512), d.size(8, 512), d.of((1, 1, 1, 4))
    time = solved(d.log(*_MACS) / (8 * hidden * (hidden + width) * batch), 1, 256)
    b = GraphBuilder(name)
    return b.build(_in_two_directions(b, b.input((time, batch, width)), hidden, d.of(("LSTM", "GRU"))))


def tagger(d: Drawing, name: str) -> Graph:
    """Tokens, embedded, through recurrences in both directions to a class each; half of the time after convolutions."""
    rows, width, hidden, depth = d.size(50, 30000), d.size(16, 256), d.size(16, 256), d.of((1, 1, 2, 3))
    op, time, classes, windows = d.of(("LSTM", "GRU")), d.size(4, 256), d.size(2, 200), d.chance(0.5)
    b = GraphBuilder(name)
    x = b.embedding(b.input((1, time), "int64"), rows, width)
    if windows:
        y = b.transpose(x, (0, 2, 1))
        for _ in range(d.of((1, 2))):
            y = b.relu(_convolved(b, y, width, (3,), (1,), (1,), bias=True))
        x = b.transpose(y, (0, 2, 1))
    x = b.transpose(x, (1, 0, 2))
    for _ in range(depth):
        x = _merged(b, _in_two_directions(b, x, hidden, op))
    return b.build(b.softmax(b.linear(x, classes)))


def text_line(d: Drawing, name: str) -> Graph:
    """Convolutions down to a line of features, then a recurrence in both directions and a class each (CRNN)."""
    widths, hidden, classes = [d.size(8, 256) for _ in range(d.of((3, 4, 5)))], d.size(16, 256), d.size(10, 6000)
    norm, height = d.chance(0.5), 2 ** len(widths)
    b = GraphBuilder(name)
    x = b.input((1, d.of((1, 3)), height, height * d.size(2, 24)))
    for i, width in enumerate(sorted(widths)):
        y = b.conv(x, width, 3, bias=not norm)
        y = b.relu(b.batch_norm(y) if norm else y)
        x = b.pool("MaxPool", y, 2, 2) if i < 2 else _halved(b, y)
    n, c, _, time = b.shape(x)
    x = b.transpose(b.reshape(x, (n, c, time)), (2, 0, 1))
    x = _merged(b, _in_two_directions(b, x, hidden, d.of(("LSTM", "GRU"))))
    return b.build(b.softmax(b.linear(x, classes)))


EXTREMES: Mapping[str, Draw] = {
    "wide_product": wide_product, "filterbank": filterbank, "oblong": oblong, "last_upsampling": last_upsampling,
    "many_products": many_products, "two_directions": two_directions, "tagger": tagger, "text_line": text_line,
    "composed_function": composed_function, "along_a_signal": along_a_signal,
}  # fmt: skip


def _convolved(
    b: GraphBuilder, x: str, channels: int, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int],
    bias: bool, groups: int = 1,
) -> str:  # fmt: skip
    """A convolution with a window of any shape; pads: at each end of each side."""
    n, c, *sides = b.shape(x)
    result = [window(s, k, by, 2 * pad) for s, k, by, pad in zip(sides, kernel, stride, pads, strict=True)]
    weights = [b.weight((channels, c // groups, *kernel)), *([b.weight((channels,))] if bias else [])]
    return b.node(
        "Conv", [x, *weights], (n, channels, *result), kernel_shape=tuple(kernel), strides=tuple(stride),
        pads=(*pads, *pads), dilations=(1,) * len(sides), group=groups,
    )  # fmt: skip


def _image(d: Drawing) -> Sequence[int]:
    channels = d.size(1, 512)
    return 1, channels, *[side(d.log(1e3, 1e7) / channels)] * 2


def _halved(b: GraphBuilder, x: str) -> str:
    """Half as high, as wide as before."""
    n, c, height, width = b.shape(x)
    return b.node(
        "MaxPool", [x], (n, c, height // 2, width), kernel_shape=(2, 1), strides=(2, 1), pads=(0, 0, 0, 0), ceil_mode=0
    )


def _in_two_directions(b: GraphBuilder, x: str, hidden: int, op: str) -> str:
    """[time, batch, in] to [time, 2, batch, hidden]."""
    (time, batch, width), gates = b.shape(x), 4 if op == "LSTM" else 3
    weights = [
        b.weight((2, gates * hidden, width)), b.weight((2, gates * hidden, hidden)), b.weight((2, 2 * gates * hidden)),
    ]  # fmt: skip
    (y,) = b.nodes(
        op, [x, *weights], [("float32", (time, 2, batch, hidden))], direction="bidirectional", hidden_size=hidden,
        linear_before_reset=1 if op == "GRU" else None,
    )  # fmt: skip
    return y


def _merged(b: GraphBuilder, x: str) -> str:
    """[time, 2, batch, hidden] to [time, batch, 2 * hidden]."""
    time, _, batch, hidden = b.shape(x)
    return b.reshape(b.transpose(x, (0, 2, 1, 3)), (time, batch, 2 * hidden))
