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
from functools import reduce
from operator import and_

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
_LAYOUT_FREE = _ABSORBED | {"Add", "Sum", "Concat"}
# The further steps of a compiled kernel of a matrix-like operator, in this order: scalings by constants, an addition,
# an activation.
_EPILOGUE = {"BatchNormalization": 0, "Mul": 0, "Add": 1, **dict.fromkeys(ACTIVATIONS, 2)}


def masks(graph: Graph, weights: np.ndarray) -> np.ndarray:
    """weights: [n_nodes], a rough time of each node, which decides the critical path.

    Returns [n_hypotheses, n_nodes] of bool, rows in the order of `HYPOTHESES`.
    """
    sources = _sources(graph)
    zeroed = _multiplied_by_zero(graph)
    live = _live(graph, zeroed)
    fused = live & ~_absorbed(graph, sources)
    path = _longest_path(sources, np.where(fused, weights, 0.0), live) & fused
    every = np.ones(len(graph.nodes), bool)
    constant = _constant(graph, zeroed)
    merged = _merged(graph, sources)
    compiled = [_compiled(graph, merged, considered.tolist()) for considered in (every, live)]
    return np.stack([every, live, live & ~constant, live | (constant & ~zeroed), fused, path, *compiled])


def reorders(graph: Graph, executed: np.ndarray, blocking: Container[str]) -> np.ndarray:
    """Finds where images change between the plain layout and blocks of channels (NCHWc), in which runtimes for CPUs
    convolve and pool. Element-wise operators and concatenations run on either.

    executed: [n_hypotheses, n_nodes] of bool, as `masks` returns it; blocking: the operators that want blocks.
    Returns [n_hypotheses, n_nodes] of bool: an operator that wants the other layout reads the node's result.
    """
    n_hypotheses = len(executed)
    bits = 1 << np.arange(n_hypotheses)
    runs = (bits @ executed).tolist()  # of each node: the hypotheses under which it runs, as a set of bits
    everywhere = int(bits.sum())
    blocked, reordered = [0] * len(runs), [0] * len(runs)
    number: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        images = [number[name] for name in node.inputs if name in number and len(graph.type_of(name).shape) == 4]
        if node.op in blocking:
            blocked[i] = everywhere
        elif images:
            as_read = reduce(and_, (blocked[source] for source in images))
            # An operator that does not run is part of a kernel or a constant: its result has the layout of its input.
            blocked[i] = as_read if node.op in _LAYOUT_FREE else as_read & ~runs[i]
        for source in images:
            reordered[source] |= (blocked[source] ^ blocked[i]) & runs[i]
        number.update(dict.fromkeys(filter(None, node.outputs), i))
    return np.asarray((np.array(reordered, int) & bits[:, None]) > 0)


def after_last_input(graph: Graph) -> np.ndarray:
    """Returns [n_nodes] of bool: the node depends on the last input of the graph."""
    reached = {graph.inputs[-1].name} if graph.inputs else set()
    after = np.zeros(len(graph.nodes), bool)
    for i, node in enumerate(graph.nodes):
        if not reached.isdisjoint(_read(node)):
            after[i] = True
            reached.update(name for name in node.outputs if name)
    return after


def _sources(graph: Graph) -> list[list[int]]:
    """Returns, for each node, the numbers of the nodes that it reads."""
    number: dict[str, int] = {}
    sources: list[list[int]] = []
    for i, node in enumerate(graph.nodes):
        sources.append([number[name] for name in _read(node) if name in number])
        number.update(dict.fromkeys(filter(None, node.outputs), i))
    return sources


def _read(node: Node) -> Sequence[str]:
    """Returns the tensors that the node reads, including those that its control-flow bodies capture."""
    for _, value in node.attributes:  # a loop, because a generator takes three times as long, and this runs often
        if isinstance(value, Graph):
            return (*node.inputs, *captured(node))
    return node.inputs


def _multiplied_by_zero(graph: Graph) -> np.ndarray:
    """Returns [n_nodes] of bool: the node multiplies by a constant that is zero."""
    zeros = {c.name for c in graph.constants if c.values and not any(c.values)}
    return np.array([n.op == "Mul" and not zeros.isdisjoint(n.inputs) for n in graph.nodes], bool)


def _live(graph: Graph, zeroed: np.ndarray) -> np.ndarray:
    """Returns [n_nodes] of bool: an output depends on the node, not only through a multiplication by zero."""
    live = np.zeros(len(graph.nodes), bool)
    needed = set(graph.outputs)
    for i in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[i]
        if not needed.isdisjoint(node.outputs):
            live[i] = True
            if not zeroed[i]:
                needed.update(_read(node))
    return live


def _constant(graph: Graph, zeroed: np.ndarray) -> np.ndarray:
    """Returns [n_nodes] of bool: the node multiplies by zero, or reads only constants."""
    known = {"", *graph.weight_names, *(c.name for c in graph.constants)}
    constant = zeroed.copy()
    for i, node in enumerate(graph.nodes):
        if constant[i] or known.issuperset(_read(node)):
            constant[i] = True
            known.update(node.outputs)
    return constant


def _absorbed(graph: Graph, sources: list[list[int]]) -> np.ndarray:
    """Returns [n_nodes] of bool: the node runs inside the kernel of the matrix-like operator before it."""
    readers = np.zeros(len(graph.nodes), int)
    for found in sources:
        for s in found:
            readers[s] += 1
    absorbed = np.zeros(len(graph.nodes), bool)
    for i, node in enumerate(graph.nodes):
        if node.op in _ABSORBED and sources[i]:
            s = sources[i][0]
            absorbed[i] = readers[s] == 1 and (graph.nodes[s].op in FUSING or absorbed[s])
    return absorbed


def _merged(graph: Graph, sources: list[list[int]]) -> list[list[int] | None]:
    """Returns `sources` with the first of several nodes that compute the same in place of all; None for the others."""
    first: dict[Hashable, int] = {}
    stands_for: list[int] = []
    name_of: dict[str, str] = {}
    merged: list[list[int] | None] = []
    for i, node in enumerate(graph.nodes):
        inputs = tuple([name_of.get(name, name) for name in node.inputs])
        same = first.setdefault((node.op, node.domain, inputs, node.attributes), i)
        stands_for.append(same)
        if same != i:
            name_of.update(zip(node.outputs, graph.nodes[same].outputs, strict=True))
        merged.append([stands_for[source] for source in sources[i]] if same == i else None)
    return merged


def _compiled(graph: Graph, merged: list[list[int] | None], considered: list[bool]) -> np.ndarray:
    """merged: as `_merged` returns it; considered: [n_nodes].

    Returns [n_nodes] of bool: the considered nodes that launch a kernel of their own when the kernels of matrix-like
    operators include the operators that follow.
    """
    launched = [own and sources is not None for own, sources in zip(considered, merged, strict=True)]
    readers = [0] * len(merged)
    for own, sources in zip(launched, merged, strict=True):
        for source in set(sources or ()) if own else ():
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
        roots = (kernel[source] for source in found if source in kernel and readers[source] == 1)
        root = next((r for r in roots if stage > reached[r] or stage == reached[r] == 0), None)
        if root is not None:
            kernel[i], reached[root], launched[i] = root, stage, False
    return np.array(launched, bool)


def _longest_path(sources: list[list[int]], weights: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Returns [n_nodes] of bool: the live nodes on the path with the largest sum of weights."""
    ends = np.zeros(len(weights))
    before = np.full(len(weights), -1)
    for i in np.flatnonzero(live).tolist():
        if sources[i]:
            before[i] = max(sources[i], key=ends.__getitem__)
            ends[i] = ends[before[i]]
        ends[i] += weights[i]
    on_path = np.zeros(len(weights), bool)
    last = int(np.argmax(ends)) if len(weights) else -1
    while last >= 0:
        on_path[last] = True
        last = int(before[last])
    return on_path
