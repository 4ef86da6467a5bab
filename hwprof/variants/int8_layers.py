"""Which operators of a network become int8 when only some of its layers do.

A layer is a convolution, a matrix product or a normalization. The operators between layers (an Add, a Relu, a pooling)
follow them: they become int8 where no layer that they read from stays float.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from hwprof.errors import InputError
from hwprof.graph import Graph, Node, captured

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "InstanceNormalization", "LayerNormalization")


def layers(graph: Graph) -> list[str]:
    """The names of the layers, in the order of the network."""
    return [node.label for node in graph.nodes if _is_layer(node)]


def with_names(graph: Graph) -> Graph:
    """The graph with the label of each operator as its name, which it keeps when its outputs are renamed."""
    return replace(graph, nodes=tuple(replace(node, name=node.label) for node in graph.nodes))


def deciding_layers(graph: Graph) -> dict[str, set[str]]:
    """For the first output of each operator the layers that must all be int8 for it to become int8: itself; for an
    operator between layers the nearest ones that it reads from, before the first layer those that read from it. Empty
    where no layer is near."""
    read, given_to = _layers_before(graph), _layers_after(graph)
    return {
        node.outputs[0]: {node.label} if _is_layer(node) else read[node.outputs[0]] or given_to[node.outputs[0]]
        for node in graph.nodes
    }


def quantized_operators(graph: Graph, chosen: Collection[str]) -> set[str]:
    """The first outputs of the operators that become int8 with the chosen layers: all operators where all are chosen.

    Raises InputError for a name that is not one of `layers`.
    """
    known = layers(graph)
    if unknown := sorted(set(chosen).difference(known)):
        raise InputError(f"no layer of {graph.name!r} that can be int8 is named {unknown[0]!r}; known: {_few(known)}")
    return {out for out, found in deciding_layers(graph).items() if found and found.issubset(chosen)}


def _is_layer(node: Node) -> bool:
    return node.op in LAYERS and node.domain in ("", "ai.onnx")


def _layers_before(graph: Graph) -> Mapping[str, set[str]]:
    """For the first output of each operator the nearest layers from which it reads."""
    found: dict[str, set[str]] = {}
    producers = graph.producers()
    for node in graph.nodes:
        made_by = [producers[name] for name in (*node.inputs, *captured(node)) if name in producers]
        found[node.outputs[0]] = set().union(*({p.label} if _is_layer(p) else found[p.outputs[0]] for p in made_by))
    return found


def _layers_after(graph: Graph) -> Mapping[str, set[str]]:
    """For the first output of each operator the nearest layers that read from it."""
    found: dict[str, set[str]] = {}
    readers = graph.consumers()
    for node in reversed(graph.nodes):
        read_by = [reader for out in node.outputs for reader in readers.get(out, ())]
        found[node.outputs[0]] = set().union(*({r.label} if _is_layer(r) else found[r.outputs[0]] for r in read_by))
    return found


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown or "none"
