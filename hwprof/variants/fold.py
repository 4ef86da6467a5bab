"""Leaves out operators whose result is multiplied by zero, as runtimes do that optimize a graph when it is converted.

A search cell writes "no connection" as a multiplication by zero. A runtime that keeps to the rules of floating point
(0 * inf is not 0) executes it, and everything around it. `cut` leaves out operators whose results are multiplied by
zero. `folded` also stops computing with the zeros: zero terms leave the sums, and results of constants alone become
constants, that is, weights.

2026-11-21, two of them. On cells of NAS-Bench-201 with dead edges the latencies of TensorFlow Lite on a Raspberry
Pi 4 come closest to those of `cut`: cells with a convolution of zeros are 1.5 to 4.4 times as slow as `folded` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor
from hwprof.variants.weights import Weights, evaluated

# Zero where their first input is zero and they have no bias.
_KEEP_ZERO = frozenset(
    {"Conv", "Gemm", "MatMul", "Relu", "AveragePool", "MaxPool", "GlobalAveragePool", "Mul", "Identity"}
)
_INPUTS_WITHOUT_BIAS = 2


@dataclass(slots=True)
class _Known:
    """Tensors that are zero, that are constant for another reason, and that equal another one."""

    zeros: set[str]
    constants: set[str] = field(default_factory=set)
    equal: dict[str, str] = field(default_factory=dict)

    @property
    def folded(self) -> set[str]:
        return self.zeros | self.constants


def cut(graph: Graph) -> Graph:
    """The graph without operators on which only multiplications by zero depend; these read a new input instead, one for
    each shape. The graph itself where nothing multiplies by zero."""
    zeros = _zeros(graph)
    free: dict[tuple[str, tuple[int, ...]], Tensor] = {}
    nodes = []
    for node in graph.nodes:
        if node.op == "Mul" and not zeros.isdisjoint(node.inputs):
            made = graph.type_of(node.outputs[0])
            shape = "x".join(map(str, made.shape))
            free.setdefault((made.dtype, made.shape), Tensor(f"{made.dtype} {shape}", made.dtype, made.shape))
            operand = free[made.dtype, made.shape].name
            node = replace(node, inputs=tuple(i if i in zeros else operand for i in node.inputs))  # noqa: PLW2901
        nodes.append(node)
    if not free:
        return graph
    changed = replace(graph, inputs=(*graph.inputs, *free.values()), nodes=tuple(nodes), source=None).live()
    read = {name for node in changed.nodes for name in node.inputs}
    given = {t.name for t in graph.inputs}
    return replace(changed, inputs=tuple(t for t in changed.inputs if t.name in given | read))


def folded(graph: Graph) -> Graph:
    """The graph without multiplications by zero and everything that is computed from constants alone. The graph itself
    where nothing multiplies by zero.

    Raises InputError when an output does not depend on any input: nothing would be left to run.
    """
    known = _Known(_zeros(graph))
    given = {"", *graph.weight_names, *(c.name for c in graph.constants)}
    kept = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(known.equal.get(name, name) for name in node.inputs))  # noqa: PLW2901
        if not _is_folded(graph, node, known, given):
            kept.append(node)
    if len(kept) == len(graph.nodes):
        return graph
    outputs = tuple(known.equal.get(name, name) for name in graph.outputs)
    if stuck := known.folded.intersection(outputs):
        raise InputError(f"output {min(stuck)!r} of {graph.name!r} depends on no input once zeros are folded")
    return _without(graph, kept, outputs, known)


def kept_weights(graph: Graph, changed: Graph, weights: Weights) -> dict[str, np.ndarray]:
    """The weights of `changed`, which is `cut(graph)` or `folded(graph)`, by name, each [*shape] of its tensor.

    weights: those of `graph` by name.
    """
    names = changed.weight_names
    return {n: weights[n] for n in names & weights.keys()} | evaluated(graph, weights, names - weights.keys())


def _zeros(graph: Graph) -> set[str]:
    """The constants that are zero."""
    return {c.name for c in graph.constants if c.values and not any(c.values)}


def _is_folded(graph: Graph, node: Node, known: _Known, given: set[str]) -> bool:
    """Whether the node is left out. Notes in `known` whether its output is zero, constant, or equal to another."""
    (*_, out) = node.outputs
    inputs = [name for name in node.inputs if name]
    if len(node.outputs) != 1 or known.folded.isdisjoint(inputs):
        return False
    if node.op == "Mul" or (inputs[0] in known.zeros and node.op in _KEEP_ZERO and _has_no_bias(node, inputs)):
        if known.zeros.isdisjoint(inputs):
            return False
        known.zeros.add(out)
        return True
    if node.op == "Add" and not known.zeros.isdisjoint(inputs):
        (other,) = [name for name in inputs if name not in known.zeros][:1] or inputs[:1]
        if graph.has_type(other) and graph.has_type(out) and graph.shape(other) == graph.shape(out):
            known.equal[out] = other
            return True
    if set(inputs) <= known.folded | given:
        known.constants.add(out)
        return True
    return False


def _has_no_bias(node: Node, inputs: list[str]) -> bool:
    return node.op not in ("Conv", "Gemm") or len(inputs) <= _INPUTS_WITHOUT_BIAS


def _without(graph: Graph, kept: list[Node], outputs: tuple[str, ...], known: _Known) -> Graph:
    """The kept nodes, with the constants that they still read as weights."""
    read = {name for node in kept for name in node.inputs}
    own = {*graph.weight_names, *(c.name for c in graph.constants)}
    made = tuple(Tensor(t.name, t.dtype, t.shape) for t in graph.values if t.name in (known.folded & read) - own)
    produced = {name for node in kept for name in node.outputs}
    values = tuple(t for t in graph.values if t.name in produced)
    changed = replace(
        graph, nodes=tuple(kept), outputs=outputs, weights=(*graph.weights, *made), values=values, source=None
    )
    return _without_unread(changed.live())


def _without_unread(graph: Graph) -> Graph:
    """Weights and constants that no node reads are gone, too."""
    read = {name for node in graph.nodes for name in node.inputs}
    return replace(
        graph,
        weights=tuple(t for t in graph.weights if t.name in read),
        constants=tuple(t for t in graph.constants if t.name in read),
    )
