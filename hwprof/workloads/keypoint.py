"""A keypoint network after ZippyPoint (Kanakis et al., arXiv 2203.03610), at a quarter of its width.

Pairs of 3 x 3 convolutions with a pooling after each of three pairs, then three heads on cells of 8 x 8 pixels: the
score of a keypoint, its position in the cell, and the logits of a descriptor of 256 bits, which `bin_norm` turns into
bits. The paper's mixture of precisions is a variant of this network: int8 for the first convolution and the heads, one
bit for the others.
"""

from __future__ import annotations

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph

WIDTHS = (8, 16, 32, 32)
DESCRIPTOR_BITS = 256
_HEAD = 64


def keypoint_network(height: int = 120, width: int = 160) -> Graph:
    """Images [1, 3, height, width] to scores [1, 1, height / 8, width / 8], positions [1, 2, ...] of -1 to 1 and
    descriptors [1, 256, ...], logits."""
    b = GraphBuilder("keypoint_network")
    x = b.input((1, 3, height, width), name="images")
    for stage, channels in enumerate(WIDTHS):
        x = b.relu(b.conv(x, channels, 3, bias=True))
        x = _residual(b, x)
        x = b.pool("MaxPool", x, 2, 2) if stage < len(WIDTHS) - 1 else x
    score = b.unary("Sigmoid", _head(b, x, 1))
    position = b.unary("Tanh", _head(b, x, 2))
    return b.build(score, position, _head(b, x, DESCRIPTOR_BITS))


def _residual(b: GraphBuilder, x: str) -> str:
    """The block that the paper runs with binary weights next to a shortcut of more bits."""
    return b.relu(b.add(x, b.conv(x, b.shape(x)[1], 3, bias=True)))


def _head(b: GraphBuilder, x: str, channels: int) -> str:
    return b.conv(b.relu(b.conv(x, _HEAD, 3, bias=True)), channels, 1, bias=True)
