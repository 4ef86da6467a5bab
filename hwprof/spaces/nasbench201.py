"""NAS-Bench-201: one cell of 6 edges with 5 operations each, stacked 15 times (Dong and Yang, arXiv 2001.00326).

A node is the sum of its edges; position i of an architecture is edge i in the order of the benchmark's
strings, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

2026-11-20, edges that carry nothing. `skip_connect` is no operator. `none` is a multiplication by 0, as
frameworks run it, but its result enters no sum: it is a dead node. So is everything computed from a node
that is zero, or for a node that nobody reads. Whether a dead node costs time is the runtime's affair: eager
frameworks execute it, and so does ONNX Runtime 1.31, whose profile of a cell with a dead 3x3 convolution
has 38 convolutions against 23 for `Graph.live()`. Exporters and compilers that start from the outputs leave
it out; to measure what they make, open `Graph.live()`. An exporter's "x * 0" in the sum would hide the
difference, because no runtime may drop it (0 * NaN is NaN). Only a cell without any path from input to
output (341 of 15,625) has a live multiplication by 0: its output must be some tensor.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked, index_of
from hwprof.spaces.blocks import classify, conv_bn, relu_conv_bn, total, zeros_like

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from node, to node), in the order of the strings


class NasBench201:
    """The space at the benchmark's size for CIFAR-10 unless told otherwise."""

    choices: Sequence[int] = (len(OPERATIONS),) * len(EDGES)

    def __init__(self, channels: int = 16, cells: int = 5, resolution: int = 32, classes: int = 10) -> None:
        """`cells` per stage; there are three stages of 1, 2 and 4 times `channels`."""
        self.channels = channels
        self.cells = cells
        self.resolution = resolution
        self.classes = classes

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        operations = [OPERATIONS[choice] for choice in checked("nasbench201", self.choices, arch)]
        b = GraphBuilder("nasbench201")
        x = b.input((1, 3, self.resolution, self.resolution))
        x = conv_bn(b, x, self.channels, 3)
        for stage in range(3):
            if stage:
                x = _reduction(b, x)
            for _ in range(self.cells):
                x = _cell(b, x, operations)
        return b.build(classify(b, b.relu(b.batch_norm(x)), self.classes))

    def parse(self, text: str) -> Arch:
        """The architecture of an arch string. Raises InputError when it is not one."""
        edges = re.findall(r"([^|~+]+)~(\d+)", text)
        sources = [str(source) for source, _ in EDGES]
        if [source for _, source in edges] != sources or text != _text([name for name, _ in edges]):
            raise InputError(f"nasbench201: {text!r} is not an arch string like {self.format((0,) * 6)!r}")
        return tuple(index_of("nasbench201", "operation", name, OPERATIONS) for name, _ in edges)

    def format(self, arch: Arch) -> str:
        """The benchmark's arch string."""
        return _text([OPERATIONS[choice] for choice in checked("nasbench201", self.choices, arch)])


def _text(operations: Sequence[str]) -> str:
    edges = zip(EDGES, operations, strict=True)
    nodes = itertools.groupby(edges, key=lambda edge: edge[0][1])
    return "+".join("".join(f"|{name}~{source}" for (source, _), name in node) + "|" for _, node in nodes)


def _cell(b: GraphBuilder, x: str, operations: Sequence[str]) -> str:
    """`zero` holds the nodes whose value is zero: what is computed from them enters no sum."""
    nodes = [x]
    zero: set[int] = set()
    for target, group in itertools.groupby(zip(EDGES, operations, strict=True), key=lambda edge: edge[0][1]):
        arriving = [(source, name, _edge(b, nodes[source], name)) for (source, _), name in group]
        live = [tensor for source, name, tensor in arriving if name != "none" and source not in zero]
        if live:
            nodes.append(total(b, live))
        else:
            zero.add(target)
            nodes.append(arriving[0][2])  # the edge from the cell's input, which can only be `none` here
    return nodes[-1]


def _edge(b: GraphBuilder, x: str, operation: str) -> str:
    if operation == "none":
        return zeros_like(b, x)
    if operation == "skip_connect":
        return x
    if operation == "avg_pool_3x3":
        return b.pool("AveragePool", x, 3, 1, pad=1)
    return relu_conv_bn(b, x, b.shape(x)[1], 1 if operation == "nor_conv_1x1" else 3)


def _reduction(b: GraphBuilder, x: str) -> str:
    """The residual block between stages: half the size, twice the channels."""
    channels = 2 * b.shape(x)[1]
    y = relu_conv_bn(b, relu_conv_bn(b, x, channels, 3, stride=2), channels, 3)
    return b.add(b.conv(b.pool("AveragePool", x, 2, 2), channels, 1), y)


SPACE = NasBench201()
