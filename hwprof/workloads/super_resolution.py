"""Super-resolution by two: convolutions at the low resolution, then depth to space (ESPCN, Shi et al., arXiv
1609.05158)."""

from __future__ import annotations

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph

SCALE = 2


def super_resolution(side: int = 32, channels: int = 16) -> Graph:
    """Brightness [1, 1, side, side], 0 to 1, to what is added to the image enlarged by two, [1, 1, 2 side, 2 side]."""
    b = GraphBuilder("super_resolution")
    x = b.relu(b.conv(b.input((1, 1, side, side), name="images"), channels, 5, bias=True))
    x = b.relu(b.conv(x, channels, 3, bias=True))
    x = b.conv(x, SCALE**2, 3, bias=True)
    return b.build(b.node("DepthToSpace", [x], (1, 1, SCALE * side, SCALE * side), blocksize=SCALE))
