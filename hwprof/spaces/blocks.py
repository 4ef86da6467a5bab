"""Groups of operators that several spaces are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwprof.builder import GraphBuilder, block

Activation = Callable[[GraphBuilder, str], str]


def relu(b: GraphBuilder, x: str) -> str:
    """The `Activation` of most networks."""
    return b.relu(x)


def hard_swish(b: GraphBuilder, x: str) -> str:
    """The `Activation` of MobileNetV3, as the single operator that today's exporters write."""
    return b.unary("HardSwish", x)


@block
def conv_bn(b: GraphBuilder, x: str, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
    """Convolution, batch norm."""
    return b.batch_norm(b.conv(x, channels, kernel, stride, groups=groups))


@block
def relu_conv_bn(b: GraphBuilder, x: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
    """ReLU, convolution, batch norm: the order of the cell-based spaces."""
    return conv_bn(b, b.relu(x), channels, kernel, stride)


def total(b: GraphBuilder, tensors: Sequence[str]) -> str:
    """The sum of one or more tensors of the same shape."""
    result = tensors[0]
    for tensor in tensors[1:]:
        result = b.add(result, tensor)
    return result


@block
def zeros_like(b: GraphBuilder, x: str) -> str:
    """A multiplication by 0, as frameworks run the operation `none`."""
    return b.mul(x, b.constant([0.0], "float32", scalar=True))


def squeeze_excite(b: GraphBuilder, x: str) -> str:
    """Scales each channel by a gate; a quarter of the channels inside, rounded to a multiple of 8 (MobileNetV3)."""
    channels = b.shape(x)[1]
    gate = b.relu(b.conv(b.global_average_pool(x), round_to_8(channels // 4), bias=True))
    return b.mul(x, b.unary("HardSigmoid", b.conv(gate, channels, bias=True), alpha=1 / 6, beta=0.5))


def round_to_8(channels: float) -> int:
    """The nearest multiple of 8 that is not more than 10 % lower, at least 8 (the MobileNet rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


@block
def inverted_residual(
    b: GraphBuilder, x: str, channels: int, kernel: int, stride: int, inner: int, *,
    groups: int = 1, expand: bool = True, squeeze: bool = False, activation: Activation = relu,
) -> str:  # fmt: skip
    """1x1 to `inner` channels (left out without `expand`), depthwise, 1x1 to `channels`; a shortcut where shapes agree.

    The 1x1 convolutions have `groups` groups; with several, the channels are shuffled after the first.
    """
    y = x
    if expand:
        y = activation(b, conv_bn(b, y, inner, groups=groups))
    if groups > 1:
        y = channel_shuffle(b, y, groups)
    y = activation(b, conv_bn(b, y, inner, kernel, stride, groups=inner))
    if squeeze:
        y = squeeze_excite(b, y)
    y = conv_bn(b, y, channels, groups=groups)
    return b.add(x, y) if b.shape(x) == b.shape(y) else y


def channel_shuffle(b: GraphBuilder, x: str, groups: int) -> str:
    """Takes the channels of the groups in turns (ShuffleNet)."""
    n, c, h, w = b.shape(x)
    split = b.reshape(x, (n, groups, c // groups, h, w))
    return b.reshape(b.transpose(split, (0, 2, 1, 3, 4)), (n, c, h, w))


def classify(b: GraphBuilder, x: str, classes: int) -> str:
    """Global average pooling and one fully connected layer."""
    return b.gemm(b.flatten(b.global_average_pool(x)), classes)


def attend(b: GraphBuilder, queries: str, keys: str, values: str, heads: int, mask: str | None = None) -> str:
    """Scaled dot-product attention. queries: [batch, time, width]; keys, values: [batch, memory, width];
    mask is added to the scores [batch, heads, time, memory]. Returns [batch, time, width]."""
    batch, time, width = b.shape(queries)
    size = width // heads
    scaled = b.mul(queries, b.constant([size**-0.5], "float32", scalar=True))
    scores = b.matmul(_heads(b, scaled, heads, (0, 2, 1, 3)), _heads(b, keys, heads, (0, 2, 3, 1)))
    weights = b.softmax(b.add(scores, mask) if mask else scores)
    mixed = b.matmul(weights, _heads(b, values, heads, (0, 2, 1, 3)))
    return b.reshape(b.transpose(mixed, (0, 2, 1, 3)), (batch, time, width))


def _heads(b: GraphBuilder, x: str, heads: int, order: Sequence[int]) -> str:
    batch, time, width = b.shape(x)
    return b.transpose(b.reshape(x, (batch, time, heads, width // heads)), order)


def causal_mask(b: GraphBuilder, time: int) -> str:
    """[time, time]: 0 where a position may look, a large negative number where it is ahead."""
    rows = [0.0 if memory <= now else -1e9 for now in range(time) for memory in range(time)]
    return b.constant(rows, "float32", shape=(time, time))
