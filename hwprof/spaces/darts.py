"""DARTS: a normal and a reduction cell of 14 edges with 8 operations each (Liu et al., arXiv 1806.09055).

An architecture is one operation per edge, normal cell first, as in the relaxed search; PC-DARTS,
LA-DARTS and P-DARTS search the same space. A *derived* cell keeps two inputs per node: in it 8 of the 14
edges have an operation and 6 are `none`. Only derived architectures have a genotype and are sampled for
measuring (`repair`), 1.08e18 of the 1.9e25 points.

2026-11-20, `none`: a derived network has no operator for an edge that was dropped, so here `none` is
nothing at all, unlike in NAS-Bench-201. A node of a non-derived architecture without any input is a
multiplication of the cell's input by 0.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked, index_of
from hwprof.spaces.blocks import classify, conv_bn, relu_conv_bn, total, zeros_like

NAME = "darts"
OPERATIONS = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect",
    "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
NONE = 0
NODES = 4
INPUTS_PER_NODE = 2
EDGES = tuple((source, node) for node in range(NODES) for source in range(node + 2))
_EXAMPLE = "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=...)"


class Edge(NamedTuple):
    """Where an operation is added: number, an index into EDGES, of a normal or a reduction cell."""

    reduces: bool
    number: int
    stride: int


EdgeRule = Callable[[GraphBuilder, Edge, str], str | None]  # (builder, edge, input) -> output; None for no operator


class Darts:
    """The space at the published size for CIFAR-10, without the auxiliary head, which only training runs."""

    choices: Sequence[int] = (len(OPERATIONS),) * (2 * len(EDGES))

    def __init__(self, channels: int = 36, cells: int = 20, resolution: int = 32, classes: int = 10) -> None:
        self.channels = channels
        self.cells = cells
        self.resolution = resolution
        self.classes = classes

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        cells = _cells(arch)

        def chosen(b: GraphBuilder, edge: Edge, x: str) -> str | None:
            choice = cells[edge.reduces][edge.number]
            return None if choice == NONE else add_operation(b, OPERATIONS[choice], x, edge.stride)

        b = GraphBuilder(NAME)
        return b.build(self.add_network(b, b.input((1, 3, self.resolution, self.resolution)), chosen))

    def add_network(self, b: GraphBuilder, images: str, add_edge: EdgeRule) -> str:
        """Adds stem, cells and classifier to images [1, 3, resolution, resolution] and returns the logits
        [1, classes]. Raises InputError when the two reduction cells cannot halve the resolution."""
        if self.resolution % 4:
            raise InputError(f"two reduction cells need a resolution that 4 divides, not {self.resolution}")
        before = last = conv_bn(b, images, 3 * self.channels, 3)
        channels = self.channels
        for number in range(self.cells):
            reduces = number in (self.cells // 3, 2 * self.cells // 3)
            channels = 2 * channels if reduces else channels
            before, last = last, _cell(b, before, last, channels, reduces, add_edge)
        return classify(b, last, self.classes)

    def repair(self, arch: Arch, rng: np.random.Generator | None = None) -> Arch:
        """The architecture with exactly two inputs per node: edges are dropped or added at random.

        Repaired uniform points are uniform over the derived architectures. Without `rng` the first edges stay
        and an added one is a skip connection.
        """
        arch = checked(NAME, self.choices, arch)
        repaired = list(arch)
        for start in range(0, len(arch), len(EDGES)):
            for node in range(NODES):
                _repair_node(repaired, [start + i for i, (_, target) in enumerate(EDGES) if target == node], rng)
        return tuple(repaired)

    def parse(self, text: str) -> Arch:
        """The architecture of a genotype as DARTS prints it. Raises InputError when it is not one."""
        fields = _fields(text)
        for name in ("normal_concat", "reduce_concat"):
            if sorted(fields[name]) != list(range(2, NODES + 2)):
                raise InputError(f"{NAME}: {name} must be the nodes 2 to {NODES + 1}, not {fields[name]}")
        return (*_edges(fields["normal"]), *_edges(fields["reduce"]))

    def format(self, arch: Arch) -> str:
        """The genotype, inputs in ascending order. Raises InputError when a node has not exactly two inputs."""
        arch = checked(NAME, self.choices, arch)
        if self.repair(arch) != arch:
            raise InputError(f"{NAME}: a genotype has two inputs per node; this architecture needs `repair` first")
        normal, reduction = (
            [(OPERATIONS[choice], source) for choice, (source, _) in zip(cell, EDGES, strict=True) if choice != NONE]
            for cell in _cells(arch)
        )
        concat = f"range(2, {NODES + 2})"
        return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduction}, reduce_concat={concat})"


def _cells(arch: Arch) -> tuple[Arch, Arch]:
    arch = checked(NAME, Darts.choices, arch)
    return arch[: len(EDGES)], arch[len(EDGES) :]


def _repair_node(arch: list[int], edges: Sequence[int], rng: np.random.Generator | None) -> None:
    """Changes the choices at the positions `edges`, the edges into one node, until two are not `none`."""
    used = [edge for edge in edges if arch[edge] != NONE]
    free = [edge for edge in edges if arch[edge] == NONE]
    if rng is not None:
        rng.shuffle(used)
        rng.shuffle(free)
    for edge in used[INPUTS_PER_NODE:]:
        arch[edge] = NONE
    for edge in free[: max(0, INPUTS_PER_NODE - len(used))]:
        arch[edge] = OPERATIONS.index("skip_connect") if rng is None else int(rng.integers(1, len(OPERATIONS)))


# -- the network -------------------------------------------------------------------------------------


def _cell(b: GraphBuilder, before: str, last: str, channels: int, reduces: bool, add_edge: EdgeRule) -> str:
    """`before` and `last` are the outputs of the two cells before this one."""
    shrinks = b.shape(before)[2] != b.shape(last)[2]
    first = _factorized_reduction(b, before, channels) if shrinks else relu_conv_bn(b, before, channels)
    nodes = [first, relu_conv_bn(b, last, channels)]
    for node in range(NODES):
        arriving = [
            add_edge(b, Edge(reduces, number, 2 if reduces and source < 2 else 1), nodes[source])
            for number, (source, target) in enumerate(EDGES)
            if target == node
        ]
        real = [tensor for tensor in arriving if tensor is not None]
        nodes.append(total(b, real) if real else _zeros(b, nodes[0], 2 if reduces else 1))
    return b.concat(nodes[2:])


def add_operation(b: GraphBuilder, name: str, x: str, stride: int) -> str:
    """Adds one of OPERATIONS except `none`; x: [1, channels, height, width]. Returns the output, with as many
    channels and a resolution divided by the stride."""
    channels = b.shape(x)[1]
    if name == "skip_connect":
        return x if stride == 1 else _factorized_reduction(b, x, channels)
    if name == "max_pool_3x3":
        return b.pool("MaxPool", x, 3, stride, pad=1)
    if name == "avg_pool_3x3":
        return b.pool("AveragePool", x, 3, stride, pad=1)
    kernel = 5 if name.endswith("5x5") else 3
    if name.startswith("dil_conv"):
        return _depthwise_separable(b, x, kernel, stride, dilation=2)
    return _depthwise_separable(b, _depthwise_separable(b, x, kernel, stride), kernel)


def _depthwise_separable(b: GraphBuilder, x: str, kernel: int, stride: int = 1, dilation: int = 1) -> str:
    channels = b.shape(x)[1]
    return conv_bn(b, b.conv(b.relu(x), channels, kernel, stride, groups=channels, dilation=dilation), channels)


def _factorized_reduction(b: GraphBuilder, x: str, channels: int) -> str:
    """Half of the channels from the even, half from the odd pixels."""
    x = b.relu(x)
    n, c, h, w = b.shape(x)
    limits = [b.constant(values) for values in ((1, 1), (h, w), (2, 3))]
    shifted = b.node("Slice", [x, *limits], (n, c, h - 1, w - 1))
    halves = [b.conv(half, channels // 2, stride=2) for half in (x, shifted)]
    return b.batch_norm(b.concat(halves))


def _zeros(b: GraphBuilder, x: str, stride: int) -> str:
    return zeros_like(b, x if stride == 1 else b.pool("MaxPool", x, 1, stride))


# -- genotypes ---------------------------------------------------------------------------------------


def _fields(text: str) -> dict[str, list[Any]]:
    """The four fields of a genotype, read as Python's syntax but never run."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        keywords = call.keywords if isinstance(call, ast.Call) else []
        fields = {keyword.arg: _literal(keyword.value) for keyword in keywords}
        return {name: fields[name] for name in ("normal", "normal_concat", "reduce", "reduce_concat")}
    except (SyntaxError, ValueError, TypeError) as error:
        raise InputError(f"{NAME}: not a genotype like {_EXAMPLE}: {error}") from None
    except KeyError as error:
        raise InputError(f"{NAME}: not a genotype like {_EXAMPLE}: {error} is missing") from None


def _literal(node: ast.expr) -> list[Any]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return list(range(*(ast.literal_eval(argument) for argument in node.args)))
    return list(ast.literal_eval(node))


def _edges(pairs: Sequence[Any]) -> Arch:
    """The choices of one cell from its (operation, input) pairs, two per node."""
    if len(pairs) != INPUTS_PER_NODE * NODES:
        raise InputError(f"{NAME}: a cell has {INPUTS_PER_NODE * NODES} (operation, input) pairs, not {len(pairs)}")
    choices = [NONE] * len(EDGES)
    for number, pair in enumerate(pairs):
        node = number // INPUTS_PER_NODE
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise InputError(f"{NAME}: a cell has pairs ('operation', input), not {pair!r}")
        name, source = pair
        if (source, node) not in EDGES:
            raise InputError(f"{NAME}: input {source!r} of node {node + 2} must be a node from 0 to {node + 1}")
        position = EDGES.index((source, node))
        if choices[position] != NONE:
            raise InputError(f"{NAME}: node {node + 2} has the input {source} twice; its two inputs must differ")
        choices[position] = index_of(NAME, "operation", name, OPERATIONS)
    return tuple(choices)


SPACE = Darts()
