"""The operators of a graph as rows of a latency table: their keys, and each as a network of its own to be measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hwprof.errors import InputError
from hwprof.graph import Graph, Node, captured
from hwprof.latency_table import bits
from hwprof.latency_table.grouping import OperatorNodes, operator_nodes

Attribute: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a network, under the key of its table row. Names and weights do not matter to the key.

    In a quantized network the step takes and gives quantized tensors: its Q/DQ nodes belong to it.
    """

    op: str
    attributes: dict[str, Attribute]
    nodes: OperatorNodes

    @property
    def key(self) -> tuple[str, tuple[tuple[str, Attribute], ...]]:
        return self.op, tuple(sorted(self.attributes.items()))


def of(graph: Graph) -> tuple[Operator, ...]:
    """Every operator of the graph, in order. Raises InputError when a tensor's type is not known."""
    return tuple(_operator(graph, nodes) for nodes in operator_nodes(graph))


def pairs(graph: Graph) -> Counter[tuple[str, str]]:
    """How often an operator of the second kind reads one of the first."""
    readers = graph.consumers()
    return Counter(
        (node.op, reader.op) for node in graph.nodes for out in node.outputs if out for reader in readers.get(out, [])
    )


def distinct(graphs: Sequence[Graph]) -> list[tuple[Operator, Graph]]:
    """The operators of all graphs with different keys, each with the network that holds only it."""
    found: dict[tuple[str, tuple[tuple[str, Attribute], ...]], tuple[Operator, Graph]] = {}
    for graph in graphs:
        for operator in of(graph):
            if operator.key not in found:
                found[operator.key] = (operator, standalone(graph, operator.nodes))
    return list(found.values())


def standalone(graph: Graph, operator: OperatorNodes) -> Graph:
    """The network of this operator alone: the tensors that it reads from other operators become inputs."""
    nodes = (*operator.before, *operator.nodes, *operator.after)
    made = {out for node in nodes for out in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in (*node.inputs, *sorted(captured(node))) if name)
    weights = tuple(t for t in graph.weights if t.name in read)
    constants = tuple(t for t in graph.constants if t.name in read)
    given = {t.name for t in (*weights, *constants)} | made
    results = [out for node in nodes for out in node.outputs if out and graph.has_type(out)]
    last = [out for node in operator.after or operator.nodes for out in node.outputs]
    return Graph(
        inputs=tuple(graph.type_of(name) for name in read if name not in given),
        outputs=tuple(out for out in results if out in last),
        nodes=nodes,
        weights=weights,
        constants=constants,
        values=tuple(graph.type_of(out) for out in results),
        opsets=graph.opsets,
        name=_title(operator),
    )


def _title(operator: OperatorNodes) -> str:
    return "+".join(f"{node.domain}::{node.op}" if node.domain else node.op for node in operator.nodes)


def _operator(graph: Graph, operator: OperatorNodes) -> Operator:
    leading = operator.leading
    stored = _stored(graph, operator)
    key = _attributes(graph, leading, stored)
    for name in leading.inputs:
        if name in stored and stored[name].op == "Gather":
            key["levels"] = graph.type_of(stored[name].inputs[0]).numel
    for place, node in enumerate(operator.nodes):
        if node is not leading:
            general = ",".join(f"{name}={value}" for name, value in sorted(_general(graph, node).items()))
            key[f"with{place}"] = f"{node.op}({general})"
    return Operator(_title(operator), key | bits.of(graph, operator), operator)


def _attributes(graph: Graph, node: Node, stored: Collection[str]) -> dict[str, Attribute]:
    """stored: the tensors that the node reads as floats and that are made of stored ones."""
    if node.op == "Conv" and len(graph.shape(node.inputs[0])) == 4:
        return _convolution(graph, node)
    if node.op in ("Gemm", "MatMul") and len(graph.shape(node.inputs[1])) == 2:
        return _matrix(graph, node, node.inputs[1] in graph.weight_names.union(stored))
    return _general(graph, node)


def _stored(graph: Graph, operator: OperatorNodes) -> dict[str, Node]:
    """By name the tensors that are made of stored ones before the operator, and their nodes."""
    found: dict[str, Node] = {}
    for node in operator.before:
        if node.inputs[0] in graph.weight_names or node.inputs[0] in found:
            found[node.outputs[0]] = node
    return found


def _convolution(graph: Graph, node: Node) -> dict[str, Attribute]:
    batch, cin, h, w = graph.shape(node.inputs[0])
    cout, _, *kernel = graph.shape(node.inputs[1])
    padding = node.attribute("pads") or node.attribute("auto_pad", "NOTSET")
    return {
        "batch": batch, "cin": cin, "h": h, "w": w, "cout": cout, "groups": node.attribute("group", 1),
        "kernel": _square(kernel), "stride": _square(node.attribute("strides", (1, 1))),
        "dilation": _square(node.attribute("dilations", (1, 1))),
        "padding": padding if isinstance(padding, str) else _square(padding),
        "bias": int(len(node.inputs) > 2), "dtype": graph.type_of(node.inputs[0]).dtype,
    }  # fmt: skip


def _matrix(graph: Graph, node: Node, is_weight: bool) -> dict[str, Attribute]:
    left, right = graph.shape(node.inputs[0]), graph.shape(node.inputs[1])
    if node.attribute("transA", 0):
        left = left[::-1]
    if node.attribute("transB", 0):
        right = right[::-1]
    return {
        "rows": math.prod(left[:-1]), "cin": right[0], "cout": right[1],
        "transposed": int(bool(node.attribute("transB", 0))), "bias": int(len(node.inputs) > 2),
        "weight": int(is_weight), "dtype": graph.type_of(node.inputs[0]).dtype,
    }  # fmt: skip


def _general(graph: Graph, node: Node) -> dict[str, Attribute]:
    """Everything that can change the latency, as text: shapes and types of all inputs, and the attributes."""
    key: dict[str, Attribute] = {
        "inputs": ",".join(_type(graph, name) if name else "-" for name in node.inputs),
        "outputs": ",".join(_type(graph, name) for name in node.outputs if name and graph.has_type(name)),
    }
    for name, value in node.attributes:
        if isinstance(value, Graph):
            key[f"attribute_{name}"] = value.digest
        elif isinstance(value, str | int | float):
            key[f"attribute_{name}"] = value
        else:
            key[f"attribute_{name}"] = str(value)
    return key


def _type(graph: Graph, name: str) -> str:
    tensor = graph.type_of(name)
    return f"{tensor.dtype}:{'x'.join(map(str, tensor.shape))}"


def _square(values: Sequence[int]) -> Attribute:
    """3 for (3, 3); "1x7" for (1, 7)."""
    if not values:
        raise InputError("an operator attribute holds an empty list")
    return int(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))
