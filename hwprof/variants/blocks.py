"""Residual blocks: which branches a network has whose result is added to what skips them, and the network without some.

Without its branch a residual block is the identity, or what its shortcut computes, so that the network still fits
together (as in Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks, NIPS 2016).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class ResidualBlock:
    """name: that of the Add at its end. branch: the operators that only it needs, in the order of the network.
    made: the tensor that the branch makes. shortcut: the one to which it is added."""

    name: str
    branch: tuple[Node, ...]
    made: str
    shortcut: str


def residual_blocks(graph: Graph) -> tuple[ResidualBlock, ...]:
    """The blocks that `without_blocks` can remove, in the order of the network.

    The branch is the longer one of the two operands; it reads only the shortcut or what the shortcut is made of. An
    Add that makes an output of the network is not among them.
    """
    producers, consumers = graph.producers(), graph.consumers()
    found = []
    for add in graph.nodes:
        if add.op != "Add" or add.outputs[0] in graph.outputs or add.inputs[0] == add.inputs[1]:
            continue
        pairs = (add.inputs, add.inputs[::-1])
        cones = {made: _cone(graph, add, made, other, producers, consumers) for made, other in pairs}
        made, shortcut = sorted(add.inputs, key=lambda name: -len(cones[name]))
        reads, known = _outside(graph, cones[made]), {shortcut, *_outside(graph, cones[shortcut])}
        if reads and reads <= known and graph.shape(shortcut) == graph.shape(add.outputs[0]):
            found.append(ResidualBlock(add.label, cones[made], made, shortcut))
    return tuple(found)


def without_blocks(graph: Graph, names: Collection[str]) -> Graph:
    """The graph without the branches of these residual blocks, and without the weights that only they read.

    Raises InputError for a name that is not one of `residual_blocks`.
    """
    if not names:
        return graph
    blocks = {block.name: block for block in residual_blocks(graph)}
    for name in names:
        if name not in blocks:
            raise InputError(f"no residual block is named {name!r}; known: {', '.join(blocks) or 'none'}")
    gone = {blocks[name].name: blocks[name].shortcut for name in names}
    renamed = {node.outputs[0]: gone[node.label] for node in graph.nodes if node.label in gone}
    nodes = tuple(
        replace(node, inputs=tuple(_followed(name, renamed) for name in node.inputs))
        for node in graph.nodes
        if node.label not in gone
    )
    return replace(graph, nodes=nodes, name=f"{graph.name}-shorter", source=None).live()


def without_blocks_weights(
    graph: Graph, weights: Mapping[str, np.ndarray], names: Collection[str]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Like `without_blocks`, with the weights of the new graph by name, each [*shape] of its tensor. weights: those of
    the graph by name."""
    shorter = without_blocks(graph, names)
    return shorter, {t.name: weights[t.name] for t in shorter.weights}


def _cone(
    graph: Graph, add: Node, made: str, other: str, producers: Mapping[str, Node], consumers: Mapping[str, list[Node]]
) -> tuple[Node, ...]:
    """The operators that make one operand of the Add and on which nothing else depends, without the one that makes the
    other operand, in the order of the network."""
    inside: set[str] = set()
    waiting = [made]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.label in inside:
            continue
        readers = [reader for out in node.outputs if out for reader in consumers.get(out, [])]
        is_read = {reader.label for reader in readers} <= inside | {add.label}
        if is_read and not set(node.outputs) & {*graph.outputs, other}:
            inside.add(node.label)
            waiting += filter(None, node.inputs)
    return tuple(node for node in graph.nodes if node.label in inside)


def _outside(graph: Graph, nodes: Collection[Node]) -> set[str]:
    """The tensors that the operators read and do not make, without weights and constants."""
    made = {out for node in nodes for out in node.outputs}
    static = graph.weight_names | {c.name for c in graph.constants}
    return {name for node in nodes for name in node.inputs if name} - made - static


def _followed(name: str, renamed: Mapping[str, str]) -> str:
    """A shortcut may itself end at a block that is gone."""
    while name in renamed:
        name = renamed[name]
    return name
