"""Maps the operators of a graph to the kernels that a runtime executed.

Runtimes fuse, fold and reorder operators; only names survive. A backend says which nodes each kernel claims by name. A
node that no kernel claims went into the kernel that consumes its result, unless it was computed when the network was
loaded: then it is in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import TypeVar

from hwprof.graph import Graph, captured

Key = TypeVar("Key")

# Every shape of a Graph is static, so runtimes evaluate these once, when they load the network.
_KNOWN_AHEAD = frozenset({"Shape", "Size", "Constant"})

_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Reshape", "Transpose"})


def producer_indices(graph: Graph) -> dict[str, int]:
    """For each tensor the index in `graph.nodes` of the node that computes it."""
    return {out: i for i, node in enumerate(graph.nodes) for out in node.outputs if out}


def absorb(graph: Graph, claims: Mapping[Key, Set[int]]) -> dict[Key, frozenset[int]]:
    """claims: kernel -> indices in `graph.nodes`. Returns the same, extended by the unclaimed nodes before each
    kernel."""
    producer = producer_indices(graph)
    closed = frozenset().union(*claims.values()) | _computed_ahead(graph)
    absorbed = {}
    for kernel, own in claims.items():
        inside, waiting = set(own), list(own)
        while waiting:
            node = graph.nodes[waiting.pop()]
            before = {producer[name] for name in (*node.inputs, *captured(node)) if name in producer}
            fresh = before - closed - inside
            inside |= fresh
            waiting.extend(fresh)
        absorbed[kernel] = frozenset(inside)
    return absorbed


def title(graph: Graph, indices: Iterable[int]) -> str:
    """The member that gives a kernel its name: the first that computes rather than converts."""
    nodes = [graph.nodes[i] for i in sorted(indices)]
    return next((n for n in nodes if n.op not in _CONVERSIONS), nodes[0]).label


def member_names(graph: Graph, indices: Iterable[int]) -> tuple[str, ...]:
    """The label of each index in `graph.nodes`, in the graph's order."""
    return tuple(graph.nodes[i].label for i in sorted(indices))


def _computed_ahead(graph: Graph) -> frozenset[int]:
    """Nodes that do not depend on an input of the graph."""
    fixed = {t.name for t in (*graph.weights, *graph.constants)} | {""}
    ahead = set()
    for i, node in enumerate(graph.nodes):
        if node.op in _KNOWN_AHEAD or fixed.issuperset((*node.inputs, *captured(node))):
            fixed.update(node.outputs)
            ahead.add(i)
    return frozenset(ahead)
