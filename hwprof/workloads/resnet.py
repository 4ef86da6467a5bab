"""ResNet-18 and ResNet-50 (He et al., CVPR 2016), each layer as in torchvision.

ResNet-50 has the stride in the 3 x 3 convolution ("v1.5"). Batch normalizations are folded into the
convolutions, see `hwprof.workloads`.
"""

from __future__ import annotations

from collections.abc import Callable

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph


def resnet18(resolution: int = 224) -> Graph:
    """Image [1, 3, resolution, resolution] to logits [1, 1000]."""
    return _resnet("resnet18", _basic_block, repeats=(2, 2, 2, 2), resolution=resolution)


def resnet50(resolution: int = 224) -> Graph:
    """Image [1, 3, resolution, resolution] to logits [1, 1000]."""
    return _resnet("resnet50", _bottleneck, repeats=(3, 4, 6, 3), resolution=resolution)


def _resnet(
    name: str, block: Callable[[GraphBuilder, str, int, int], str], repeats: tuple[int, ...], resolution: int
) -> Graph:
    b = GraphBuilder(name)
    x = b.input((1, 3, resolution, resolution), name="image")
    x = b.relu(b.conv(x, 64, 7, stride=2, bias=True))
    x = b.pool("MaxPool", x, 3, stride=2, pad=1)
    for stage, count in enumerate(repeats):
        for i in range(count):
            x = block(b, x, 64 * 2**stage, 2 if stage > 0 and i == 0 else 1)
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 1000))


def _basic_block(b: GraphBuilder, x: str, width: int, stride: int) -> str:
    y = b.relu(b.conv(x, width, 3, stride=stride, bias=True))
    y = b.conv(y, width, 3, bias=True)
    return b.relu(b.add(y, _shortcut(b, x, width, stride)))


def _bottleneck(b: GraphBuilder, x: str, width: int, stride: int) -> str:
    y = b.relu(b.conv(x, width, bias=True))
    y = b.relu(b.conv(y, width, 3, stride=stride, bias=True))
    y = b.conv(y, 4 * width, bias=True)
    return b.relu(b.add(y, _shortcut(b, x, 4 * width, stride)))


def _shortcut(b: GraphBuilder, x: str, channels: int, stride: int) -> str:
    """The input itself where the shapes match, a projection elsewhere."""
    if stride == 1 and b.shape(x)[1] == channels:
        return x
    return b.conv(x, channels, stride=stride, bias=True)
