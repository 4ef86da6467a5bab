"""A search space of 32 small networks, each of which two architectures build."""

from __future__ import annotations

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.spaces.blocks import zeros_like


class TinySpace:
    """Convolutions: how many (1 to 4), channels (8 to 32), kernel (1 or 3); the last position does nothing."""

    choices = (4, 4, 2, 2)

    def graph(self, arch):
        depth, channels, kernel, _ = arch
        b = GraphBuilder("tiny")
        x = b.input((1, 3, 16, 16))
        for _ in range(depth + 1):
            x = b.relu(b.conv(x, 8 * (channels + 1), 3 if kernel else 1))
        return b.build(b.global_average_pool(x))


class ZeroedSpace:
    """One or two channels; or, where the last position is 1, a network that multiplies its input by zero."""

    choices = (2, 2)

    def graph(self, arch) -> Graph:
        channels, zeroed = arch
        b = GraphBuilder("zeroed")
        if zeroed:
            return b.build(b.relu(zeros_like(b, b.input((1, 4)))))
        return b.build(b.relu(b.input((1, channels + 1))))


SPACE = TinySpace()
ZEROED = ZeroedSpace()
