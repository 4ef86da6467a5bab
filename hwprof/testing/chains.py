"""A small space for contracts that need networks: chains of convolutions."""

from __future__ import annotations

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.spaces import checked


class ChainSpace(SearchSpace):
    """36 chains of one to three convolutions, of three widths and two kernels, on images of two sizes."""

    choices = (3, 3, 2, 2)

    def graph(self, arch: Arch) -> Graph:
        depth, width, kernel, stride = checked("chains", self.choices, arch)
        b = GraphBuilder("chain")
        x = b.conv(b.input((1, 3, 16, 16)), 8, 3, stride=1 + stride)
        for _ in range(depth + 1):
            x = b.relu(b.conv(x, 8 * (width + 1), 3 if kernel else 1))
        return b.build(b.global_average_pool(x))
