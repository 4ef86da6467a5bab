"""NAS-Bench-201: one cell of 6 edges with 5 operations each, stacked 15 times (Dong and Yang, arXiv 2001.00326).

A node is the sum of its edges; position i of an architecture is edge i in the order of the benchmark's
strings, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

2026-11-20, edges that carry nothing. The graph is what the benchmark's code computes: `skip_connect` is not
an operator, `none` is a multiplication by 0, and all edges enter the sum, those from a zero node too (a
convolution of zeros still runs, and its batch norm adds a bias). So nothing is dead by its wiring, and
`Graph.live()` is the whole graph. The space does not say what a runtime leaves out: the execution
hypotheses of `hwprof.encoders.execution` stop at a multiplication by zero ("live") or drop what comes only
out of zeros ("folded"). The alternative, sums without zero terms, predicted 12 devices that others measured
no better (mean errors of 6.28 / 4.02 / 3.67 % at N = 10 / 20 / 50 against 6.18 / 3.99 / 3.63 % here; 1,500
cells, 3 seeds), and is not the network that was measured there.
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
    nodes = [x]
    for _, group in itertools.groupby(zip(EDGES, operations, strict=True), key=lambda edge: edge[0][1]):
        nodes.append(total(b, [_edge(b, nodes[source], name) for (source, _), name in group]))
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
