"""MobileNetV2 (Sandler et al., CVPR 2018) and MobileNetV3 (Howard et al., ICCV 2019), each layer as in torchvision.

Batch normalizations are folded into the convolutions, see `hwprof.workloads`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph

Activation = Literal["Relu", "HardSwish"]


class _Stage(NamedTuple):
    """`repeats` inverted residuals of MobileNetV2, the first one with the stride (table 2 of the paper)."""

    expansion: int
    channels: int
    repeats: int
    stride: int


_V2 = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)


class _Block(NamedTuple):
    """One inverted residual of MobileNetV3 (tables 1 and 2 of the paper)."""

    kernel: int
    expanded: int
    channels: int
    squeeze: bool
    activation: Activation
    stride: int


_V3_LARGE = (
    _Block(3, 16, 16, False, "Relu", 1),
    _Block(3, 64, 24, False, "Relu", 2),
    _Block(3, 72, 24, False, "Relu", 1),
    _Block(5, 72, 40, True, "Relu", 2),
    _Block(5, 120, 40, True, "Relu", 1),
    _Block(5, 120, 40, True, "Relu", 1),
    _Block(3, 240, 80, False, "HardSwish", 2),
    _Block(3, 200, 80, False, "HardSwish", 1),
    _Block(3, 184, 80, False, "HardSwish", 1),
    _Block(3, 184, 80, False, "HardSwish", 1),
    _Block(3, 480, 112, True, "HardSwish", 1),
    _Block(3, 672, 112, True, "HardSwish", 1),
    _Block(5, 672, 160, True, "HardSwish", 2),
    _Block(5, 960, 160, True, "HardSwish", 1),
    _Block(5, 960, 160, True, "HardSwish", 1),
)
_V3_SMALL = (
    _Block(3, 16, 16, True, "Relu", 2),
    _Block(3, 72, 24, False, "Relu", 2),
    _Block(3, 88, 24, False, "Relu", 1),
    _Block(5, 96, 40, True, "HardSwish", 2),
    _Block(5, 240, 40, True, "HardSwish", 1),
    _Block(5, 240, 40, True, "HardSwish", 1),
    _Block(5, 120, 48, True, "HardSwish", 1),
    _Block(5, 144, 48, True, "HardSwish", 1),
    _Block(5, 288, 96, True, "HardSwish", 2),
    _Block(5, 576, 96, True, "HardSwish", 1),
    _Block(5, 576, 96, True, "HardSwish", 1),
)


def mobilenet_v2(resolution: int = 224) -> Graph:
    """Image [1, 3, resolution, resolution] to logits [1, 1000]."""
    b = GraphBuilder("mobilenet_v2")
    x = b.input((1, 3, resolution, resolution), name="image")
    x = b.relu6(b.conv(x, 32, 3, stride=2, bias=True))
    for stage in _V2:
        for i in range(stage.repeats):
            x = _inverted_residual_v2(b, x, stage, stage.stride if i == 0 else 1)
    x = b.relu6(b.conv(x, 1280, bias=True))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 1000))


def mobilenet_v3_large(resolution: int = 224) -> Graph:
    """Image [1, 3, resolution, resolution] to logits [1, 1000]."""
    return _mobilenet_v3("mobilenet_v3_large", _V3_LARGE, hidden=1280, resolution=resolution)


def mobilenet_v3_small(resolution: int = 224) -> Graph:
    """Image [1, 3, resolution, resolution] to logits [1, 1000]."""
    return _mobilenet_v3("mobilenet_v3_small", _V3_SMALL, hidden=1024, resolution=resolution)


def _inverted_residual_v2(b: GraphBuilder, x: str, stage: _Stage, stride: int) -> str:
    channels = b.shape(x)[1]
    y = x
    if stage.expansion != 1:
        y = b.relu6(b.conv(y, channels * stage.expansion, bias=True))
    y = b.relu6(_depthwise(b, y, 3, stride))
    y = b.conv(y, stage.channels, bias=True)
    return b.add(x, y) if stride == 1 and channels == stage.channels else y


def _mobilenet_v3(name: str, blocks: tuple[_Block, ...], hidden: int, resolution: int) -> Graph:
    b = GraphBuilder(name)
    x = b.input((1, 3, resolution, resolution), name="image")
    x = b.unary("HardSwish", b.conv(x, 16, 3, stride=2, bias=True))
    for block in blocks:
        x = _inverted_residual_v3(b, x, block)
    x = b.unary("HardSwish", b.conv(x, 6 * b.shape(x)[1], bias=True))
    x = b.unary("HardSwish", b.gemm(b.flatten(b.global_average_pool(x)), hidden))
    return b.build(b.gemm(x, 1000))


def _inverted_residual_v3(b: GraphBuilder, x: str, block: _Block) -> str:
    channels = b.shape(x)[1]
    y = x
    if block.expanded != channels:
        y = b.unary(block.activation, b.conv(y, block.expanded, bias=True))
    y = b.unary(block.activation, _depthwise(b, y, block.kernel, block.stride))
    if block.squeeze:
        y = _squeeze_excite(b, y)
    y = b.conv(y, block.channels, bias=True)
    return b.add(x, y) if block.stride == 1 and channels == block.channels else y


def _depthwise(b: GraphBuilder, x: str, kernel: int, stride: int) -> str:
    channels = b.shape(x)[1]
    return b.conv(x, channels, kernel, stride=stride, groups=channels, bias=True)


def _squeeze_excite(b: GraphBuilder, x: str) -> str:
    channels = b.shape(x)[1]
    y = b.relu(b.conv(b.global_average_pool(x), _divisible(channels / 4), bias=True))
    y = b.conv(y, channels, bias=True)
    return b.mul(x, b.unary("HardSigmoid", y, alpha=1 / 6, beta=0.5))


def _divisible(channels: float) -> int:
    """The nearest multiple of 8, but at least nine tenths of the requested value."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
