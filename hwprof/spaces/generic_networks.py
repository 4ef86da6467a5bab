"""Random networks of many block styles, by family: what kernels cost in the context of others.

Each function draws the style of one network (widths, depths, activation, normalization) and then, of a few sizes of its
input, the one whose work is nearest to a log-uniform target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from hwprof import cost
from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.spaces.blocks import attend, classify, conv_bn, squeeze_excite
from hwprof.spaces.drawing import Drawing
from hwprof.spaces.generic_operators import POOLS, Draw

MACS = (3e5, 5e9)
ACTIVATIONS = ("Relu", "Relu", "Relu", "relu6", "HardSwish", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "silu", "gelu")
Activation = Callable[[GraphBuilder, str], str]
_SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 320)
_LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_TIMES = (1, 4, 8, 16, 32, 64, 128, 256)


def plain(d: Drawing, name: str) -> Graph:
    """Convolutions and pools, one after the other (VGG)."""
    widths, depth, kernel = _widths(d, 3, 6), d.of((1, 1, 2, 3)), d.of((3, 3, 3, 5))
    conv, pooled = _convolution(d), d.of(POOLS)

    def body(b: GraphBuilder, x: str) -> str:
        for width in widths:
            for _ in range(depth):
                x = conv(b, x, width, kernel, 1, 1)
            x = b.pool(pooled, x, 2, 2) if b.shape(x)[2] > 3 else x
        return x

    return _image_network(d, name, body)


def residual(d: Drawing, name: str) -> Graph:
    """Basic, bottleneck or grouped residual blocks (ResNet, ResNeXt), each with or without squeeze-and-excite."""
    widths, depth, style = _widths(d, 2, 4), d.of((1, 2, 2, 3, 4)), d.of(("basic", "bottleneck", "grouped"))
    conv, act, squeeze, stem = _convolution(d), _activation(d), d.chance(0.2), d.of((3, 7))

    def block(b: GraphBuilder, x: str, width: int, stride: int) -> str:
        inner = max(8, width // 4) if style != "basic" else width
        y = conv(b, x, inner, 1 if style != "basic" else 3, stride if style == "basic" else 1, 1)
        if style != "basic":
            y = conv(b, y, inner, 3, stride, _divisor(inner, 8) if style == "grouped" else 1)
        y = conv_bn(b, y, width, 3 if style == "basic" else 1)
        y = squeeze_excite(b, y) if squeeze else y
        same = b.shape(x) == b.shape(y)
        return act(b, b.add(y, x if same else conv_bn(b, x, width, 1, stride)))

    def body(b: GraphBuilder, x: str) -> str:
        x = conv(b, x, widths[0], stem, 2, 1)
        x = b.pool("MaxPool", x, 3, 2, 1) if stem == 7 else x
        for i, width in enumerate(widths):
            for j in range(depth):
                x = block(b, x, width, 2 if i and not j and b.shape(x)[2] > 2 else 1)
        return x

    return _image_network(d, name, body)


def inverted(d: Drawing, name: str) -> Graph:
    """Depthwise convolutions between pointwise ones (MobileNet, EfficientNet, FBNet)."""
    widths, depth, expansion, kernel = _widths(d, 3, 6), d.of((1, 2, 3)), d.of((1, 2, 3, 4, 6)), d.of((3, 3, 5, 7))
    conv, squeeze = _convolution(d), d.chance(0.3)

    def block(b: GraphBuilder, x: str, width: int, stride: int) -> str:
        inner = expansion * b.shape(x)[1]
        y = conv(b, x, inner, 1, 1, 1) if expansion > 1 else x
        y = conv(b, y, inner, kernel, stride, inner)
        y = squeeze_excite(b, y) if squeeze else y
        y = conv_bn(b, y, width)
        return b.add(x, y) if b.shape(x) == b.shape(y) else y

    def body(b: GraphBuilder, x: str) -> str:
        x = conv(b, x, widths[0], 3, 2, 1)
        for i, width in enumerate(widths):
            for j in range(depth):
                x = block(b, x, width, 2 if i and not j and b.shape(x)[2] > kernel // 2 else 1)
        return x

    return _image_network(d, name, body)


def branches(d: Drawing, name: str) -> Graph:
    """Blocks whose branches are concatenated (Inception, SqueezeNet, DenseNet)."""
    widths, depth, dense, conv = _widths(d, 2, 4), d.of((1, 2, 3)), d.chance(0.5), _convolution(d)
    growth = d.size(8, 48)

    def block(b: GraphBuilder, x: str, width: int) -> str:
        if dense:
            return b.concat([x, conv(b, conv(b, x, 4 * growth, 1, 1, 1), growth, 3, 1, 1)])
        part = max(4, width // 4)
        found = [conv(b, x, part, 1, 1, 1), conv(b, conv(b, x, part, 1, 1, 1), 2 * part, 3, 1, 1)]
        found.append(conv(b, b.pool("MaxPool", x, 3, 1, 1), part, 1, 1, 1))
        return b.concat(found)

    def body(b: GraphBuilder, x: str) -> str:
        x = conv(b, x, widths[0], 3, 2, 1)
        for width in widths:
            for _ in range(depth * (2 if dense else 1)):
                x = block(b, x, width)
            x = b.pool("MaxPool", x, 2, 2) if b.shape(x)[2] > 3 else x
        return x

    return _image_network(d, name, body)


def shuffled(d: Drawing, name: str) -> Graph:
    """Grouped pointwise convolutions around a depthwise one, or a split half of the channels, then a shuffle of the
    channels (ShuffleNet V1, V2)."""
    widths, depth, conv = [8 * max(1, width // 8) for width in _widths(d, 2, 3)], d.of((1, 2, 3)), _convolution(d)
    groups = d.of((1, 2, 4, 8))  # 1: split

    def shuffle(b: GraphBuilder, x: str, groups: int) -> str:
        n, c, h, w = b.shape(x)
        x = b.transpose(b.reshape(x, (n, groups, c // groups, h, w)), (0, 2, 1, 3, 4))
        return b.reshape(x, (n, c, h, w))

    def split_block(b: GraphBuilder, x: str) -> str:
        c = b.shape(x)[1]
        kept, y = b.split(x, [c // 2, c - c // 2], 1)
        inner = b.shape(y)[1]
        y = conv(b, conv_bn(b, conv(b, y, inner, 1, 1, 1), inner, 3, 1, inner), inner, 1, 1, 1)
        return shuffle(b, b.concat([kept, y]), 2)

    def grouped_block(b: GraphBuilder, x: str) -> str:
        c = b.shape(x)[1]
        y = shuffle(b, conv(b, x, c, 1, 1, groups), groups)
        return b.relu(b.add(x, conv_bn(b, conv_bn(b, y, c, 3, 1, c), c, 1, 1, groups)))

    def body(b: GraphBuilder, x: str) -> str:
        x = conv(b, x, 24, 3, 2, 1)
        for width in widths:
            x = conv(b, x, width, 3, 2, 1)
            for _ in range(depth):
                x = split_block(b, x) if groups == 1 else grouped_block(b, x)
        return x

    return _image_network(d, name, body)


def encoder_decoder(d: Drawing, name: str) -> Graph:
    """Down, and up again with skip connections (U-Net)."""
    width, levels, depth, conv = d.size(8, 64), d.of((2, 3, 4)), d.of((1, 2)), _convolution(d)
    transposed = d.chance(0.5)

    def up(b: GraphBuilder, x: str, channels: int) -> str:
        n, c, h, w = b.shape(x)
        if transposed:
            kernel = b.weight((c, channels, 2, 2))
            return b.node("ConvTranspose", [x, kernel], (n, channels, 2 * h, 2 * w), kernel_shape=(2, 2),
                          strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1), group=1)  # fmt: skip
        scales = b.constant([1.0, 1.0, 2.0, 2.0], "float32")
        x = b.node("Resize", [x, "", scales], (n, c, 2 * h, 2 * w), mode="nearest", nearest_mode="floor",
                   coordinate_transformation_mode="asymmetric")  # fmt: skip
        return conv(b, x, channels, 1, 1, 1)

    def net(b: GraphBuilder, side: int) -> str:
        x, skipped = b.input((1, 3, side, side)), []
        for level in range(levels):
            for _ in range(depth):
                x = conv(b, x, width << level, 3, 1, 1)
            skipped.append(x)
            x = b.pool("MaxPool", x, 2, 2)
        x = conv(b, x, width << levels, 3, 1, 1)
        for level in reversed(range(levels)):
            x = b.concat([up(b, x, width << level), skipped[level]])
            x = conv(b, x, width << level, 3, 1, 1)
        return b.conv(x, 2, bias=True)

    return _fitted(d, name, net, tuple(side for side in _SIDES if side % 16 == 0))


def sequence_convolutions(d: Drawing, name: str) -> Graph:
    """1-D convolutions over a signal (speech, sensors)."""
    widths, kernel, depth, act = _widths(d, 2, 6), d.of((3, 3, 5, 9, 15)), d.of((1, 2)), _activation(d)
    separable, channels = d.chance(0.3), d.of((1, 1, 3, 40, 64))

    def conv(b: GraphBuilder, x: str, width: int, kernel: int, stride: int, groups: int = 1) -> str:
        n, c, length = b.shape(x)
        half = kernel // 2
        weights = [b.weight((width, c // groups, kernel)), b.weight((width,))]
        return b.node("Conv", [x, *weights], (n, width, (length + 2 * half - kernel) // stride + 1),
                      kernel_shape=(kernel,), strides=(stride,), pads=(half, half), dilations=(1,),
                      group=groups)  # fmt: skip

    def net(b: GraphBuilder, length: int) -> str:
        x = b.input((1, channels, length))
        for width in widths:
            for j in range(depth):
                stride = 1 if j or b.shape(x)[2] < 4 else 2
                c = b.shape(x)[1]
                x = conv(b, conv(b, x, c, kernel, stride, c), width, 1, 1) if separable else conv(b, x, width, kernel,
                                                                                                stride)  # fmt: skip
                x = act(b, x)
        return b.gemm(b.flatten(b.global_average_pool(x)), 10)

    return _fitted(d, name, net, _LENGTHS)


def transformer(d: Drawing, name: str) -> Graph:
    """Encoder layers of attention and two products (BERT, ViT)."""
    heads, width, depth, ratio = d.of((1, 2, 4, 6, 8, 12)), d.of((16, 32, 32, 64)), d.of((1, 2, 3, 4, 6)), d.of((2, 4))
    act, first = _activation(d), d.chance(0.5)
    features = heads * width

    def attention(b: GraphBuilder, x: str) -> str:
        if first:
            q, k, v = b.split(b.linear(x, 3 * features), [features] * 3, axis=2)
        else:
            q, k, v = (b.linear(x, features) for _ in range(3))
        return b.linear(attend(b, q, k, v, heads), features)

    def net(b: GraphBuilder, time: int) -> str:
        x = b.input((1, time, features))
        for _ in range(depth):
            x = b.layer_norm(b.add(x, attention(b, x)))
            x = b.layer_norm(b.add(x, b.linear(act(b, b.linear(x, ratio * features)), features)))
        return b.linear(x, d_out)

    d_out = d.size(2, 1000)
    return _fitted(d, name, net, _TIMES)


def recurrent(d: Drawing, name: str) -> Graph:
    """LSTM layers over a sequence, with products before and after."""
    hidden, depth, width, norm = d.size(16, 650), d.of((1, 1, 2, 3)), d.size(8, 256), d.chance(0.3)
    features = d.size(2, 2000)

    def net(b: GraphBuilder, time: int) -> str:
        x = b.linear(b.input((time, 1, width)), hidden)
        for _ in range(depth):
            x = b.lstm(x, hidden)
            x = b.layer_norm(x) if norm else x
        return b.linear(x, features)

    return _fitted(d, name, net, _TIMES)


def perceptron(d: Drawing, name: str) -> Graph:
    """Fully connected layers, or mixers of tokens and channels."""
    widths, act, mixes = [d.size(16, 2048) for _ in range(d.of((2, 3, 4, 6)))], _activation(d), d.chance(0.4)

    def net(b: GraphBuilder, time: int) -> str:
        if not mixes:
            x = b.input((time, widths[0]))
            for width in widths[1:]:
                x = act(b, b.gemm(x, width))
            return b.gemm(x, 10)
        x = b.input((1, time, min(widths[0], 512)))
        for width in widths:
            turned = b.transpose(b.layer_norm(x), (0, 2, 1))
            turned = b.linear(act(b, b.linear(turned, min(width, 256))), time)
            x = b.add(x, b.transpose(turned, (0, 2, 1)))
            x = b.add(x, b.linear(act(b, b.linear(b.layer_norm(x), min(width, 1024))), b.shape(x)[-1]))
        return x

    return _fitted(d, name, net, _TIMES)


NETWORKS: Mapping[str, Draw] = {
    "plain": plain, "residual": residual, "inverted": inverted, "branches": branches, "shuffled": shuffled,
    "encoder_decoder": encoder_decoder, "sequence_convolutions": sequence_convolutions, "transformer": transformer,
    "recurrent": recurrent, "perceptron": perceptron,
}  # fmt: skip


# -- parts ---------------------------------------------------------------------------------------------

_Convolution = Callable[[GraphBuilder, str, int, int, int, int], str]


def _widths(d: Drawing, fewest: int, most: int) -> list[int]:
    """The widths of the stages, each at least as wide as the one before."""
    count = fewest + int(d.unit() * (most - fewest + 1))
    width, growth = d.size(8, 64), d.of((1.0, 1.5, 2.0, 2.0))
    return [min(1024, 4 * round(width * growth**i / 4)) for i in range(count)]


def _activation(d: Drawing) -> Activation:
    kind = d.of(ACTIVATIONS)
    if kind == "relu6":
        return GraphBuilder.relu6
    if kind == "gelu":
        return GraphBuilder.gelu
    if kind == "silu":
        return lambda b, x: b.mul(x, b.unary("Sigmoid", x))
    return lambda b, x: b.unary(kind, x)


def _convolution(d: Drawing) -> _Convolution:
    """A convolution of (channels, kernel, stride, groups) with the network's activation, with or without
    normalization, before or after it."""
    act, norm = _activation(d), d.of(("none", "after", "after", "before"))

    def conv(b: GraphBuilder, x: str, channels: int, kernel: int, stride: int, groups: int) -> str:
        if norm == "before":
            return b.conv(act(b, b.batch_norm(x)), channels, kernel, stride, groups=groups)
        y = b.conv(x, channels, kernel, stride, groups=groups, bias=norm == "none")
        return act(b, b.batch_norm(y) if norm == "after" else y)

    return conv


def _divisor(number: int, most: int) -> int:
    return math.gcd(number, most)


def _image_network(d: Drawing, name: str, body: Callable[[GraphBuilder, str], str]) -> Graph:
    channels, classes = d.of((3, 3, 3, 1)), d.of((10, 100, 1000))
    return _fitted(d, name, lambda b, side: classify(b, body(b, b.input((1, channels, side, side))), classes), _SIDES)


def _fitted(d: Drawing, name: str, net: Callable[[GraphBuilder, int], str], sizes: tuple[int, ...]) -> Graph:
    """The network at the size whose work is nearest to the one that is drawn."""
    wanted, found = math.log(d.log(*MACS)), []
    for size in sizes:
        b = GraphBuilder(name)
        graph = b.build(net(b, size))
        macs = math.log(max(cost.of(graph).macs, 1))
        found.append((abs(macs - wanted), graph))
        if macs > wanted:
            break
    return min(found, key=lambda pair: pair[0])[1]
