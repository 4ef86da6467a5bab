"""Replaces an If whose condition is stored by the branch that it takes.

With fixed shapes, the conditions that exporters write (how many axes a tensor has, whether a state was given) are
stored numbers; a quantizer and a runtime without control flow then see one network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwprof.graph import Constant, Graph, Node
from hwprof.integer.lowering.folding import folded
from hwprof.onnx_io.inference import infer_and_fold
from hwprof.onnx_io.proto import bodies_of

Arrays = Mapping[str, np.ndarray]


def taken(graph: Graph, weights: Arrays | None = None) -> tuple[Graph, dict[str, np.ndarray]]:
    """The network in which no If has a stored condition, and its weights and constants by name, each [*shape].

    Numbers that are given for an input (`Graph.given`) count as stored. weights: those of the network; without them the
    second result is empty.
    """
    arrays = dict(weights or {})
    if any(node.op == "If" for node in graph.nodes):
        written = _with_given_numbers(graph)
        graph = infer_and_fold(written) if written is not graph else graph
        if weights is not None:
            _add_folded(arrays, written, graph)
    while (node := _decided(graph, arrays if weights is not None else None)) is not None:
        written = _with_branch(graph, node)
        graph = infer_and_fold(written)
        if weights is not None:
            _add_folded(arrays, written, graph)
    return graph, arrays


def _with_given_numbers(graph: Graph) -> Graph:
    """The network in which integers and logical values that are given for an input are constants."""
    given = dict(graph.given)
    known = {}
    for tensor in graph.inputs:
        is_number = tensor.numel == 1 and not tensor.dtype.startswith("float")
        if is_number and given.get(tensor.name, "").lstrip("-").isdecimal():
            known[tensor.name] = Constant(tensor.name, tensor.dtype, tensor.shape, (int(given[tensor.name]),))
    if not known:
        return graph
    return replace(
        graph,
        inputs=tuple(t for t in graph.inputs if t.name not in known),
        constants=(*graph.constants, *known.values()),
        given=tuple((name, text) for name, text in graph.given if name not in known),
    )


def _decided(graph: Graph, arrays: Arrays | None) -> Node | None:
    """The first If with a stored condition, the weights of whose branches are known, too."""
    stored = graph.constant_values
    for node in graph.nodes:
        if node.op == "If" and node.inputs[0] in stored:
            weights = _branch(graph, node).weights
            if arrays is None or all(t.name in arrays for t in weights):
                return node
    return None


def _branch(graph: Graph, node: Node) -> Graph:
    takes_first = bool(graph.constant_values[node.inputs[0]][0])
    return bodies_of(node)["then_branch" if takes_first else "else_branch"]


def _with_branch(graph: Graph, node: Node) -> Graph:
    branch = _branch(graph, node)
    ends = [
        Node("Identity", (inner,), (outer,), (), name=f"{node.label} {i}")
        for i, (inner, outer) in enumerate(zip(branch.outputs, node.outputs, strict=True))
    ]
    place = graph.nodes.index(node)
    return replace(
        graph,
        nodes=(*graph.nodes[:place], *branch.nodes, *ends, *graph.nodes[place + 1 :]),
        weights=(*graph.weights, *branch.weights),
        constants=(*graph.constants, *branch.constants),
        values=(*graph.values, *branch.values),
    )


def _add_folded(arrays: dict[str, np.ndarray], before: Graph, after: Graph) -> None:
    """Adds the stored tensors that folding made."""
    arrays |= {c.name: np.array(c.values, c.dtype).reshape(c.shape) for c in before.constants if c.name not in arrays}
    wanted = {t.name for t in (*after.weights, *after.constants)} - arrays.keys()
    for node in before.nodes if wanted else ():
        arrays |= {name: array for name, array in folded(before, node, arrays).items() if name not in arrays}
