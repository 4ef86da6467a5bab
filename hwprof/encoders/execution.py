"""Which operators of a graph a runtime executes: one mask over the nodes per execution hypothesis.

Nothing in a graph says what a runtime does with it, so the hypotheses stand side by side and the
measurements choose (`hwprof.predictors.physical`):

- every: each operator, as eager frameworks run them, dead branches too;
- live: those that an output depends on, where a multiplication by zero depends on nothing;
- folded: live ones that compute more than a constant: what comes only out of multiplications by zero
  is evaluated beforehand;
- zeros: live ones, and dead ones computed from a multiplication by zero: a network may leave their
  results out of a sum that the runtime keeps;
- fused: live ones, where a convolution or matrix product takes the batch normalization and the
  activation behind it along;
- path: the fused ones on the critical path, for runtimes that overlap branches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof.graph import Graph, Node, captured

HYPOTHESES = ("every", "live", "folded", "zeros", "fused", "path")

# Matrix-like operators into whose kernel runtimes fold what follows.
FUSING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "QLinearConv", "QLinearMatMul"})
# Element-wise operators of one tensor that runtimes fold into such a kernel.
ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu", "Mish",
     "Swish", "Softplus", "ThresholdedRelu"}
)  # fmt: skip
_ABSORBED = ACTIVATIONS | {"BatchNormalization"}


def masks(graph: Graph, weights: np.ndarray) -> np.ndarray:
    """weights: [n_nodes], a rough time of each node, by which the critical path is the longest one.

    Returns [n_hypotheses, n_nodes] of bool, rows in the order of `HYPOTHESES`.
    """
    sources = _sources(graph)
    zeroed = _multiplied_by_zero(graph)
    live = _live(graph, zeroed)
    fused = live & ~_absorbed(graph, sources)
    path = _longest_path(sources, np.where(fused, weights, 0.0), live) & fused
    every = np.ones(len(graph.nodes), bool)
    constant = _constant(graph, zeroed)
    return np.stack([every, live, live & ~constant, live | (constant & ~zeroed), fused, path])


def after_last_input(graph: Graph) -> np.ndarray:
    """[n_nodes] of bool: the node depends on the last input of the graph."""
    reached = {graph.inputs[-1].name} if graph.inputs else set()
    after = np.zeros(len(graph.nodes), bool)
    for i, node in enumerate(graph.nodes):
        if not reached.isdisjoint(_read(node)):
            after[i] = True
            reached.update(name for name in node.outputs if name)
    return after


def _sources(graph: Graph) -> list[list[int]]:
    """For each node the numbers of the nodes that it reads."""
    number: dict[str, int] = {}
    sources: list[list[int]] = []
    for i, node in enumerate(graph.nodes):
        sources.append([number[name] for name in _read(node) if name in number])
        number.update((name, i) for name in node.outputs if name)
    return sources


def _read(node: Node) -> Sequence[str]:
    """The tensors that the node reads, captures of control-flow bodies included."""
    outer = captured(node) if any(isinstance(value, Graph) for _, value in node.attributes) else ()
    return (*node.inputs, *outer)


def _multiplied_by_zero(graph: Graph) -> np.ndarray:
    """[n_nodes] of bool: the node multiplies by a constant that is zero."""
    zeros = {c.name for c in graph.constants if c.values and not any(c.values)}
    return np.array([n.op == "Mul" and not zeros.isdisjoint(n.inputs) for n in graph.nodes], bool)


def _live(graph: Graph, zeroed: np.ndarray) -> np.ndarray:
    """[n_nodes] of bool: an output depends on the node, other than through a multiplication by zero."""
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
    """[n_nodes] of bool: a multiplication by zero, or all that the node reads is constant."""
    known = {"", *graph.weight_names, *(c.name for c in graph.constants)}
    constant = zeroed.copy()
    for i, node in enumerate(graph.nodes):
        if constant[i] or known.issuperset(_read(node)):
            constant[i] = True
            known.update(node.outputs)
    return constant


def _absorbed(graph: Graph, sources: list[list[int]]) -> np.ndarray:
    """[n_nodes] of bool: the node runs inside of the kernel of the matrix-like operator before it."""
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


def _longest_path(sources: list[list[int]], weights: np.ndarray, live: np.ndarray) -> np.ndarray:
    """[n_nodes] of bool: the live nodes on the path of the greatest sum of weights."""
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
