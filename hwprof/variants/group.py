"""Grouped convolutions: a dense convolution keeps the blocks on the diagonal of its weight.

The i-th group of output channels reads only the i-th group of input channels, which takes 1 / groups of the
multiply-adds. It is faster only where the runtime has a good kernel for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor


def grouped(graph: Graph, groups: Mapping[str, int]) -> Graph:
    """The graph with dense convolutions replaced by grouped ones. groups: by operator name, how many.

    Raises InputError for a name that is not one of `groupable`, and for a number that does not divide its channels.
    """
    found = _checked(graph, groups)
    weights = {node.inputs[1]: groups[node.label] for node in found}
    changed = {node.label for node in found}
    return replace(
        graph,
        nodes=tuple(_with_groups(n, groups[n.label]) if n.label in changed else n for n in graph.nodes),
        weights=tuple(_narrowed(t, weights[t.name]) if t.name in weights else t for t in graph.weights),
        name=f"{graph.name}-grouped" if groups else graph.name,
        source=None if groups else graph.source,
    )


def grouped_weights(
    graph: Graph, weights: Mapping[str, np.ndarray], groups: Mapping[str, int]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Like `grouped`, with the weights of the new graph by name, each [*shape] of its tensor. weights: those of the
    graph by name; elements outside of the blocks are lost."""
    made = grouped(graph, groups)
    blocks = {
        node.inputs[1]: diagonal_blocks(np.asarray(weights[node.inputs[1]]), groups[node.label])
        for node in _checked(graph, groups)
    }
    return made, {t.name: blocks[t.name] if t.name in blocks else weights[t.name] for t in made.weights}


def groupable(graph: Graph) -> dict[str, tuple[int, int]]:
    """By the name of each dense convolution whose weight no other operator reads, its output and input channels."""
    return {node.label: graph.shape(node.inputs[1])[:2] for node in _dense(graph)}  # type: ignore[misc]


def diagonal_blocks(weight: np.ndarray, groups: int) -> np.ndarray:
    """weight: [out, in, *kernel]. Returns the weight of the grouped convolution, [out, in / groups, *kernel]."""
    outputs, inputs = (n // groups for n in weight.shape[:2])
    rows = (weight[i * outputs : (i + 1) * outputs, i * inputs : (i + 1) * inputs] for i in range(groups))
    return np.concatenate(list(rows))


def _dense(graph: Graph) -> list[Node]:
    readers = graph.consumers()
    return [
        node
        for node in graph.nodes
        if node.op == "Conv"
        and node.domain in ("", "ai.onnx")
        and node.attribute("group", 1) == 1
        and node.inputs[1] in graph.weight_names
        and len(readers[node.inputs[1]]) == 1
    ]


def _checked(graph: Graph, groups: Mapping[str, int]) -> list[Node]:
    """The convolutions that are named."""
    dense = {node.label: node for node in _dense(graph)}
    for name, n in groups.items():
        if name not in dense:
            raise InputError(f"no dense convolution is named {name!r}; known: {', '.join(dense) or 'none'}")
        outputs, inputs = graph.shape(dense[name].inputs[1])[:2]
        if n < 1 or outputs % n or inputs % n:
            raise InputError(
                f"convolution {name!r} of {inputs} to {outputs} channels cannot have {n} groups; give a divisor of both"
            )
    return [dense[name] for name in groups]


def _with_groups(node: Node, groups: int) -> Node:
    return replace(node, attributes=tuple({**dict(node.attributes), "group": groups}.items()))


def _narrowed(weight: Tensor, groups: int) -> Tensor:
    outputs, inputs, *kernel = weight.shape
    return replace(weight, shape=(outputs, inputs // groups, *kernel))
