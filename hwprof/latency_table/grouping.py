"""Finds the nodes that make one operator of a latency table: a node alone, or with the Q/DQ pairs around it.

To a runtime that computes with integers, the nodes between DequantizeLinears and QuantizeLinears are one operation,
which cannot be timed without them. That is not so where one of them has its weights as floats: no kernel with integers
computes it, so that it is the operator of a float network, between two that convert.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hwprof.graph import Graph, Node
from hwprof.onnx_io.packed import unpacked

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_LEADING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")


@dataclass(frozen=True, slots=True)
class OperatorNodes:
    """nodes: those that compute, in order; before, after: the DequantizeLinears and QuantizeLinears around them, and
    before them what unpacks their weights."""

    nodes: tuple[Node, ...]
    before: tuple[Node, ...] = ()
    after: tuple[Node, ...] = ()

    @property
    def leading(self) -> Node:
        """The node that says most about the latency."""
        return next((node for node in self.nodes if node.op in _LEADING), self.nodes[0])

    @property
    def is_quantized(self) -> bool:
        return bool(self.before or self.after) or self.nodes[0].op in (_QUANTIZE, _DEQUANTIZE)


def operator_nodes(graph: Graph) -> list[OperatorNodes]:
    """All operators of the graph, in order. Every node belongs to one of them; a DequantizeLinear belongs to each that
    reads its result."""
    unpacking = unpacked(graph)
    if unpacking or any(n.op == _DEQUANTIZE for n in graph.nodes):
        return _Grouping(graph, unpacking).all()
    return [OperatorNodes((node,)) for node in graph.nodes]


class _Grouping:
    """Follows the float tensors between nodes."""

    def __init__(self, graph: Graph, unpacking: Mapping[str, Node]) -> None:
        self._graph, self._unpacking = graph, unpacking
        self._producers, self._readers = graph.producers(), graph.consumers()
        self._static = {t.name for t in (*graph.weights, *graph.constants)}

    def all(self) -> list[OperatorNodes]:
        found: list[OperatorNodes] = []
        absorbed: set[str] = set()  # outputs of QuantizeLinears that an operator holds
        seen: set[str] = set()
        for node in self._graph.nodes:
            if node.op in (_QUANTIZE, _DEQUANTIZE) or _name(node) in seen or _name(node) in self._unpacking:
                continue
            region = self._region(node)
            is_float = any(map(self._has_float_weights, region))
            for nodes in [region] if not is_float and self._is_closed(region) else [(node,)]:
                found.append(OperatorNodes(nodes) if self._has_float_weights(node) else self._operator(nodes))
                seen.update(map(_name, nodes))
                absorbed.update(n.outputs[0] for n in found[-1].after)
        found += [
            OperatorNodes((node,), self._before((node,)))
            for node in self._graph.nodes
            if node.op == _QUANTIZE and node.outputs[0] not in absorbed
        ]
        held = {before.outputs[0] for operator in found for before in operator.before}
        found += [
            OperatorNodes((node,))
            for node in self._graph.nodes
            if node.op == _DEQUANTIZE and (self._is_end(node) or node.outputs[0] not in held)
        ]
        place = {_name(node): i for i, node in enumerate(self._graph.nodes)}
        return sorted(found, key=lambda operator: place[_name(operator.nodes[0])])

    def _region(self, start: Node) -> tuple[Node, ...]:
        """The float nodes that are joined to this one by float tensors, in order."""
        region, waiting = {_name(start)}, [start]
        while waiting:
            for other in self._neighbours(waiting.pop()):
                if _name(other) not in region:
                    region.add(_name(other))
                    waiting.append(other)
        return tuple(node for node in self._graph.nodes if _name(node) in region)

    def _neighbours(self, node: Node) -> Iterator[Node]:
        made = (self._producers[name] for name in node.inputs if name in self._producers)
        read = (reader for out in node.outputs if out for reader in self._readers.get(out, ()))
        for other in (*made, *read):
            if other.op not in (_QUANTIZE, _DEQUANTIZE) and _name(other) not in self._unpacking:
                yield other

    def _is_closed(self, region: tuple[Node, ...]) -> bool:
        """Whether every tensor that enters is dequantized and every one that leaves is quantized."""
        made = {out for node in region for out in node.outputs if out}
        entering = {name for node in region for name in node.inputs if name} - made - self._static
        entering -= self._unpacking.keys()
        leaving = {out for out in made if out in self._graph.outputs or not self._readers.get(out)}
        return not leaving and all(self._made_by(name) == _DEQUANTIZE for name in entering)

    def _has_float_weights(self, node: Node) -> bool:
        """Whether it is a layer whose weights are stored as floats."""
        return node.op in _LEADING and len(node.inputs) > 1 and node.inputs[1] in self._static

    def _operator(self, nodes: tuple[Node, ...]) -> OperatorNodes:
        made = {out for node in nodes for out in node.outputs if out}
        after = []
        for out in made - set(self._graph.outputs):
            outside = [reader for reader in self._readers.get(out, ()) if made.isdisjoint(reader.outputs)]
            after += outside if all(reader.op == _QUANTIZE for reader in outside) else []
        return OperatorNodes(nodes, self._before(nodes), tuple(after))

    def _before(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        found: dict[str, Node] = {}
        for name in (name for node in nodes for name in node.inputs):
            if self._made_by(name) == _DEQUANTIZE or name in self._unpacking:
                self._add_with_unpacking(name, found)
        return tuple(found.values())

    def _add_with_unpacking(self, name: str, found: dict[str, Node]) -> None:
        """Adds the node that makes the tensor, after those that unpack what it reads."""
        for read in self._producers[name].inputs:
            if read in self._unpacking:
                self._add_with_unpacking(read, found)
        found.setdefault(name, self._producers[name])

    def _is_end(self, node: Node) -> bool:
        """Whether none of the operators that read the result of the DequantizeLinear contains it."""
        return node.outputs[0] in self._graph.outputs or not self._readers.get(node.outputs[0])

    def _made_by(self, name: str) -> str:
        return self._producers[name].op if name in self._producers else ""


def _name(node: Node) -> str:
    """The name of the node's first result, which is unique; that of a node need not be."""
    return next(out for out in node.outputs if out)
