"""Which operators of a graph a runtime executes: one mask over the nodes per execution hypothesis.

A graph does not say how a runtime executes it, so all hypotheses are kept, and the measurements choose
(`hwprof.predictors.physical`):

- every: all operators, as eager frameworks run them, dead branches too;
- live: those that an output depends on, where a multiplication by zero depends on nothing;
- folded: live operators whose result is not constant: the runtime evaluates beforehand whatever depends only on
  multiplications by zero;
- zeros: live operators, and dead ones computed from a multiplication by zero: a network may leave their results out of
  a sum that the runtime keeps;
- fused: live operators, where the kernel of a convolution or matrix product includes the batch normalization and the
  activation that follow it;
- path: the fused operators on the critical path, for runtimes that overlap branches;
- compiled: one of several operators that compute the same, where the kernel of a convolution or matrix product includes
  scalings by constants, one addition and one activation;
- compiled live: the compiled operators that are live.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence

import numpy as np

from hwprof.graph import Graph, Node, captured

HYPOTHESES = ("every", "live", "folded", "zeros", "fused", "path", "compiled", "compiled live")

# Matrix-like operators whose kernels include the operators that follow.
FUSING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "QLinearConv", "QLinearMatMul"})
# Element-wise operators of one tensor that runtimes fold into such a kernel.
ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu", "Mish",
     "Swish", "Softplus", "ThresholdedRelu"}
)  # fmt: skip
_ABSORBED = ACTIVATIONS | {"BatchNormalization"}
_IMAGE_RANK = 4
_BLOCK = 8  # channels, of AVX2; with AVX-512 16
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"})
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast"})
_LAYOUT_FREE = _ABSORBED | {"Add", "Sum", "Concat"}
# The further steps of a compiled kernel of a matrix-like operator, in this order: scalings by constants, an addition,
# an activation.
_EPILOGUE = {"BatchNormalization": 0, "Mul": 0, "Add": 1, **dict.fromkeys(ACTIVATIONS, 2)}


def masks(graph: Graph, weights: np.ndarray) -> np.ndarray:
    """weights: [n_nodes], as `Execution.masks` takes them. Returns [n_hypotheses, n_nodes] of bool."""
    return Execution(graph).masks(weights)


class Execution:
    """A graph by the numbers of its nodes, which all of the walks over it share.

    sources: [n_nodes], the numbers of the nodes that each node reads. This runs for every network that a search looks
    at: the walks are loops over lists of integers, each of about 50 ns a node and step.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._reads = _reads(graph.nodes)
        self._number: dict[str, int] = {}  # of the node that makes each tensor
        self._readers = [0] * len(graph.nodes)  # how often each node is read
        self._varies = [False] * len(graph.nodes)  # whether it reads an input of the graph
        self.sources = self._sources()

    def masks(self, weights: np.ndarray) -> np.ndarray:
        """weights: [n_nodes], a rough time of each node, which decides the critical path.

        Returns [n_hypotheses, n_nodes] of bool, rows in the order of `HYPOTHESES`.
        """
        zeroed = self._multiplied_by_zero()
        live = self._live(zeroed)
        everything = [True] * len(live)
        absorbed, merged = self._absorbed(), self._merged()
        compiled = _compiled(self.graph, merged, everything)
        compiled_live = compiled if all(live) else _compiled(self.graph, merged, live)
        rows = (everything, live, self._constant(zeroed), zeroed, absorbed, compiled, compiled_live)
        flags = np.frombuffer(b"".join(map(bytes, rows)), bool)  # of lists NumPy makes an array ten times as slowly
        every, lives, constant, zeros, inside, *ends = flags.reshape(len(rows), -1)
        fused = lives & ~inside
        path = _longest_path(self.sources, np.where(fused, weights, 0.0).tolist(), live) & fused
        return np.stack([every, lives, lives & ~constant, lives | (constant & ~zeros), fused, path, *ends])

    def places(self) -> list[tuple[bool, bool, bool, bool]]:
        """Returns [n_nodes]: whether a node is live, constant, in the kernel of the matrix-like operator before it, and
        launched when such a kernel includes all that it can."""
        zeroed = self._multiplied_by_zero()
        live = self._live(zeroed)
        compiled = _compiled(self.graph, self._merged(), [True] * len(live))
        return list(zip(live, self._constant(zeroed), self._absorbed(), compiled, strict=True))

    def reorders(self, executed: np.ndarray, blocking: Container[str]) -> np.ndarray:
        """Finds where images change between the plain layout and blocks of channels (NCHWc), in which runtimes for
        CPUs convolve and pool. Element-wise operators and concatenations run on either.

        executed: [n_hypotheses, n_nodes] of bool, as `masks` returns it; blocking: the operators that want blocks.
        Returns [n_hypotheses, n_nodes] of bool: an operator that wants the other layout reads the node's result.
        """
        bits = 1 << np.arange(len(executed))
        runs = (bits @ executed).tolist()  # of each node: the hypotheses under which it runs, as a set of bits
        everywhere = int(bits.sum())
        blocked, reordered = [0] * len(runs), [0] * len(runs)
        ranks = {t.name: len(t.shape) for t in self.graph.values}
        number = {
            name: i for name, i in self._number.items() if name and (ranks.get(name) or self._rank(name)) == _IMAGE_RANK
        }
        for i, node in enumerate(self.graph.nodes):
            images = [number[name] for name in node.inputs if name in number]
            if node.op in blocking:
                blocked[i] = everywhere
            elif images:
                as_read = blocked[images[0]]
                for source in images[1:]:
                    as_read &= blocked[source]
                # An operator that does not run is part of a kernel or a constant: its result has its input's layout.
                blocked[i] = as_read if node.op in _LAYOUT_FREE else as_read & ~runs[i]
            for source in images:
                reordered[source] |= (blocked[source] ^ blocked[i]) & runs[i]
        return np.asarray((np.array(reordered, int) & bits[:, None]) > 0)

    def moved_images(self, launched: Sequence[bool]) -> list[str]:
        """launched: [n_nodes], whether a node launches a kernel of its own. Returns the tensors that a runtime moves
        between the plain layout and blocks of channels, among them inputs and outputs of the graph: a single
        convolution pays for both, one inside of a network for neither."""
        inputs = self.graph.inputs
        blocked = {t.name: False for t in (*inputs, *self.graph.values) if len(t.shape) == _IMAGE_RANK}
        narrow = {
            t.name for t in inputs if len(t.shape) == _IMAGE_RANK and t.shape[1] < _BLOCK
        }  # convolutions read these unchanged
        moved = dict[str, None]()
        for node, is_launched in zip(self.graph.nodes, launched, strict=True):
            images = [name for name in node.inputs if name in blocked]
            if not images:
                continue
            wants = _works_on_blocks(self.graph, node)
            if not wants and (node.op in _LAYOUT_FREE or node.op in CONVERSIONS or not is_launched):
                wants = all(blocked[name] for name in images)
            for name in images:
                if blocked[name] != wants and name not in narrow:
                    moved[name] = None
            for name in node.outputs:
                if name in blocked:
                    blocked[name] = wants
        return [*moved, *(name for name in self.graph.outputs if blocked.get(name) and name not in moved)]

    def after_last_input(self) -> np.ndarray:
        """Returns [n_nodes] of bool: the node depends on the last input of the graph."""
        last = self.graph.inputs[-1].name if self.graph.inputs else ""
        after = [last in read for read in self._reads] if last else [False] * len(self._reads)
        for i, sources in enumerate(self.sources):
            for source in sources:
                if after[source]:
                    after[i] = True
        return np.array(after, bool)

    def _rank(self, name: str) -> int:
        return len(self.graph.shape(name))

    # -- walks -------------------------------------------------------------------------------------------

    def _sources(self) -> list[list[int]]:
        fixed = {t.name for group in (self.graph.weights, self.graph.constants) for t in group} | {""}
        number, readers, sources = self._number, self._readers, list[list[int]]()
        for i, (node, read) in enumerate(zip(self.graph.nodes, self._reads, strict=True)):
            found = []
            for name in read:
                if name in fixed:  # most are weights
                    continue
                if name in number:
                    found.append(source := number[name])
                    readers[source] += 1
                else:
                    self._varies[i] = True
            sources.append(found)
            for name in node.outputs:
                number[name] = i
        return sources

    def _multiplied_by_zero(self) -> list[bool]:
        """Returns [n_nodes]: the node multiplies by a constant that is zero."""
        zeros = {c.name for c in self.graph.constants if c.values and not any(c.values)}
        return [node.op == "Mul" and not zeros.isdisjoint(node.inputs) for node in self.graph.nodes]

    def _live(self, zeroed: list[bool]) -> list[bool]:
        """Returns [n_nodes]: an output depends on the node, not only through a multiplication by zero."""
        live = [False] * len(self.sources)
        for name in self.graph.outputs:
            if name in self._number:
                live[self._number[name]] = True
        for i in range(len(live) - 1, -1, -1):
            if live[i] and not zeroed[i]:
                for source in self.sources[i]:
                    live[source] = True
        return live

    def _constant(self, zeroed: list[bool]) -> list[bool]:
        """Returns [n_nodes]: the node multiplies by zero, or reads only constants."""
        constant = [not varies for varies in self._varies]
        for i, sources in enumerate(self.sources):
            if zeroed[i]:
                constant[i] = True
                continue
            for source in sources:
                if not constant[source]:
                    constant[i] = False
                    break
        return constant

    def _absorbed(self) -> list[bool]:
        """Returns [n_nodes]: the node runs inside the kernel of the matrix-like operator before it."""
        nodes, absorbed = self.graph.nodes, [False] * len(self.sources)
        for i, sources in enumerate(self.sources):
            if sources and nodes[i].op in _ABSORBED:
                s = sources[0]
                absorbed[i] = self._readers[s] == 1 and (absorbed[s] or nodes[s].op in FUSING)
        return absorbed

    def _merged(self) -> list[list[int] | None]:
        """Returns `sources` with the first of several nodes that compute the same in place of all; None for the
        others."""
        first: dict[Hashable, int] = {}  # by the inputs alone, and by all where these are not enough: hashing is slow
        stands_for, name_of = list(range(len(self.sources))), dict[str, str]()
        merged: list[list[int] | None] = []
        for i, node in enumerate(self.graph.nodes):
            inputs, sources = node.inputs, self.sources[i]
            if name_of and not name_of.keys().isdisjoint(self._reads[i]):
                inputs = tuple([name_of.get(name, name) for name in inputs])
                sources = [stands_for[source] for source in sources]
            same = first.setdefault(inputs, i)
            if same != i and not _compute_the_same(self.graph.nodes[same], node):
                same = first.setdefault((inputs, node.op, node.domain, node.attributes), i)
            stands_for[i] = same
            if same != i:
                name_of.update(zip(node.outputs, self.graph.nodes[same].outputs, strict=True))
            merged.append(sources if same == i else None)
        return merged


def _reads(nodes: Sequence[Node]) -> list[Sequence[str]]:
    """Returns [n_nodes]: the tensors that each node reads, including those that its control-flow bodies capture."""
    plain: set[int] = set()  # attributes without a body, by identity: equal layers of a builder share theirs
    reads: list[Sequence[str]] = []
    for node in nodes:
        attributes = node.attributes
        if attributes and id(attributes) not in plain:
            if any(isinstance(value, Graph) for _, value in attributes):
                reads.append((*node.inputs, *captured(node)))
                continue
            plain.add(id(attributes))
        reads.append(node.inputs)
    return reads


def _works_on_blocks(graph: Graph, node: Node) -> bool:
    """Whether a runtime has a kernel for blocks of channels: of grouped convolutions for those alone whose groups are
    single channels or whole blocks."""
    if node.op != "Conv" or not graph.has_type(node.inputs[1]):
        return node.op in _POOLS
    groups, weight = node.attribute("group", 1), graph.type_of(node.inputs[1])
    return groups == 1 or weight.shape[1] == 1 or (weight.shape[1] % _BLOCK == 0 == weight.shape[0] // groups % _BLOCK)


def _compute_the_same(first: Node, second: Node) -> bool:
    """Whether two nodes that read the same have the same results."""
    return first.op == second.op and first.domain == second.domain and first.attributes == second.attributes


def _compiled(graph: Graph, merged: list[list[int] | None], considered: list[bool]) -> list[bool]:
    """merged: as `Execution._merged` returns it; considered: [n_nodes].

    Returns [n_nodes]: the considered nodes that launch a kernel of their own when the kernels of matrix-like operators
    include the operators that follow.
    """
    launched = [own and sources is not None for own, sources in zip(considered, merged, strict=True)]
    readers = [0] * len(merged)
    for own, sources in zip(launched, merged, strict=True):
        if own and sources:
            for source in sources if len(sources) == 1 else set(sources):
                readers[source] += 1
    kernel: dict[int, int] = {}  # of each node that runs in a matrix-like operator's kernel: that operator
    reached: dict[int, int] = {}  # how far the epilogue of each of these has come
    for i, node in enumerate(graph.nodes):
        if not launched[i]:
            continue
        if node.op in FUSING:
            kernel[i], reached[i] = i, 0
            continue
        found, stage = merged[i] or [], _EPILOGUE.get(node.op)
        if stage is None or len(found) != (2 if stage == 1 else 1):
            continue
        for root in [kernel[source] for source in found if source in kernel and readers[source] == 1]:
            if stage > reached[root] or stage == reached[root] == 0:
                kernel[i], reached[root], launched[i] = root, stage, False
                break
    return launched


def _longest_path(sources: list[list[int]], weights: list[float], live: list[bool]) -> np.ndarray:
    """Returns [n_nodes] of bool: the live nodes on the path with the largest sum of weights."""
    ends, before = [0.0] * len(weights), [-1] * len(weights)
    for i, found in enumerate(sources):
        if not live[i]:
            continue
        if found:
            before[i] = found[0] if len(found) == 1 else max(found, key=ends.__getitem__)
            ends[i] = ends[before[i]] + weights[i]
        else:
            ends[i] = weights[i]
    on_path = np.zeros(len(weights), bool)
    last = max(range(len(ends)), key=ends.__getitem__, default=-1)
    while last >= 0:
        on_path[last] = True
        last = before[last]
    return on_path
