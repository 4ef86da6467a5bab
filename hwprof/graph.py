"""A network without weights: ONNX operators, attributes and tensor types; frozen and hashable.

2026-11-20, what the digest covers. It is a Merkle hash: a node is its operator, attributes and the hashes of its
inputs. So neither names, nor the order of independent nodes, nor weight values matter, while a dead branch counts
(eager runtimes execute it). Integer constants (a Reshape's target) shape the network and count with their values; float
constants (a quantization scale) count with their type only, otherwise two calibrations of one network would be two
networks. The alternative, a canonical form exact up to isomorphism, is costlier, and for DAGs with ordered inputs it
separates nothing that matters to a latency.

2026-11-29, zero points count with their type only, as scales do. Until then the zero points that
`hwprof.variants.quantize` writes counted with their values, which no file of a calibrated network has, so
that a network's int8 variant had another digest once it was written and loaded. `former_digest` is the
digest of that time, which data sets of quantized networks hold.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from hwprof.errors import InputError

BITS_PER_ELEMENT = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16,
    "float8e4m3fn": 8, "float8e5m2": 8,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint4": 4,
    "bool": 8, "complex64": 64, "complex128": 128,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor type: ONNX element type in lower case ("float32", "int8") and a static shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        try:
            bits = BITS_PER_ELEMENT[self.dtype]
        except KeyError:
            raise InputError(f"tensor {self.name!r} has type {self.dtype!r}, whose size is unknown") from None
        return (self.numel * bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Constant(Tensor):
    """A small tensor whose values belong to the network: a shape, axes, a clipping bound. Row-major values."""

    values: tuple[int | float | bool, ...] = ()


AttributeValue: TypeAlias = Any  # int, float, str, tuples of one of these, Constant or Graph


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. An empty string in `inputs` or `outputs` is an omitted optional one, as in ONNX.

    Attribute values are int, float, str, tuples of one of these, `Constant` (a tensor attribute) or
    `Graph` (the body of a control-flow operator).
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    domain: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """The name, or the first output's name where the file gives none."""
        return self.name or next(out for out in self.outputs if out)

    def attribute(self, name: str, default: AttributeValue = None) -> AttributeValue:
        for key, value in self.attributes:
            if key == name:
                return value
        return default


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network. Equal to another when their digests are equal.

    `nodes` are in topological order. `values` holds the type of every node output that is known. `weights` are tensors
    without values, `constants` small ones with values. `source` names the .onnx file to run when real weights matter,
    `given` holds the values of inputs that are not drawn (`hwprof.onnx_io.input_values`), `warnings` what the reader of
    its figures must know, such as that its weights are random; none of these and no name is compared.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    weights: tuple[Tensor, ...] = ()
    constants: tuple[Constant, ...] = ()
    values: tuple[Tensor, ...] = ()
    opsets: tuple[tuple[str, int], ...] = (("", 17),)
    name: str = "graph"
    source: str | None = None
    given: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    _types: dict[str, Tensor] = field(init=False, repr=False)
    _digest: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_types", {})
        object.__setattr__(self, "_digest", [])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits, the same in every process and on every machine. What a body of control flow captures
        counts by its name as long as the body is looked at alone."""
        if not self._digest:
            self._digest.append(_graph_hash(self, {}))
        return self._digest[0]

    @property
    def former_digest(self) -> str:
        """The digest until 2026-11-29; another one where zero points are constants."""
        return _graph_hash(self, {}, with_zero_points=True)

    def type_of(self, name: str) -> Tensor:
        """The type of the tensor with its shape [...]. Raises InputError when it is unknown."""
        found = self._types.get(name) or self._type(name)
        if found is None:
            raise InputError(f"the shape of tensor {name!r} is not known in graph {self.name!r}")
        return found

    def has_type(self, name: str) -> bool:
        return self._type(name) is not None

    def _type(self, name: str) -> Tensor | None:
        """None where it is not known. All are collected when the first is asked for: many graphs are only encoded."""
        if not self._types:
            groups = (self.values, self.weights, self.constants, self.inputs)
            self._types.update({t.name: t for group in groups for t in group})
        return self._types.get(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.type_of(name).shape

    @property
    def is_program(self) -> bool:
        """Whether its source is a traced PyTorch module in place of an .onnx file."""
        return self.source is not None and self.source.endswith(".pt2")

    @property
    def weight_names(self) -> frozenset[str]:
        return frozenset(t.name for t in self.weights)

    @property
    def constant_values(self) -> dict[str, tuple[int | float | bool, ...]]:
        return {c.name: c.values for c in self.constants}

    @property
    def weight_bytes(self) -> int:
        return sum(t.size_bytes for t in (*self.weights, *self.constants))

    def producers(self) -> dict[str, Node]:
        return {out: node for node in self.nodes for out in node.outputs if out}

    def consumers(self) -> dict[str, list[Node]]:
        """For each tensor the nodes that read it, including captures of control-flow bodies."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in {*node.inputs, *captured(node)} - {""}:
                readers.setdefault(name, []).append(node)
        return readers

    def live(self) -> Graph:
        """The graph without operators, weights and constants on which no output depends."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs, captured(node))
        if len(kept) == len(self.nodes):
            return self
        made = {out for node in kept for out in node.outputs}  # outputs that nobody reads keep their types
        return replace(
            self,
            nodes=tuple(reversed(kept)),
            weights=tuple(t for t in self.weights if t.name in needed),
            constants=tuple(t for t in self.constants if t.name in needed),
            values=tuple(t for t in self.values if t.name in needed or t.name in made),
            source=None,
        )

    def renamed(self, name: str, source: str | None = None) -> Graph:
        return replace(self, name=name, source=source if source is not None else self.source)

    def to_json(self) -> str:
        """One line of JSON. `Graph.from_json` reads it back; the digest survives."""
        return json.dumps(_graph_record(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Raises InputError when the text is not a graph written by `to_json`."""
        try:
            return _graph_from_record(json.loads(text))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise InputError(f"not a graph in JSON: {error}") from None


def captured(node: Node) -> frozenset[str]:
    """Names that control-flow bodies of the node read from the surrounding graph."""
    names: set[str] = set()
    for _, value in node.attributes:
        if isinstance(value, Graph):
            inner = {t.name for t in (*value.inputs, *value.weights, *value.constants)}
            inner.update(out for n in value.nodes for out in n.outputs)
            read = {i for n in value.nodes for i in (*n.inputs, *captured(n))} | set(value.outputs)
            names |= read - inner - {""}
    return frozenset(names)


def is_quantized(node: Node) -> bool:
    """Whether the operator reads integers together with their scales."""
    return "quantize" in node.op.lower() or node.op.startswith(("QLinear", "QGemm", "QAttention", "MatMulNBits"))


def quantizes(before: Graph, after: Graph) -> bool:
    """Whether the second network is quantized and the first is not."""
    return any(map(is_quantized, after.nodes)) and not any(map(is_quantized, before.nodes))


def sort_nodes(nodes: Iterable[Node], available: Iterable[str]) -> tuple[Node, ...]:
    """The nodes in an order in which each reads only earlier results. Raises InputError on a cycle.

    It is the order in which repeated passes over the nodes find them ready, so that a sorted list is unchanged; here it
    takes one walk over the edges.
    """
    nodes = list(nodes)
    known = {*available, ""}
    producers = {out: i for i in reversed(range(len(nodes))) for out in nodes[i].outputs if out not in known}
    reads = [{*node.inputs, *captured(node)} - known for node in nodes]
    waits = [{producers.get(name, -1) for name in names} for names in reads]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, producing in enumerate(waits):
        for producer in producing - {-1}:
            readers[producer].append(i)
    unmet = [len(producing) for producing in waits]
    passes = [0] * len(nodes)
    ready = [i for i, count in enumerate(unmet) if not count]
    for i in ready:  # grows while it is walked
        for reader in readers[i]:
            passes[reader] = max(passes[reader], passes[i] + (reader < i))
            unmet[reader] -= 1
            if not unmet[reader]:
                ready.append(reader)
    if len(ready) < len(nodes):
        raise _unsorted([node for node, count in zip(nodes, unmet, strict=True) if count], known | producers.keys())
    return tuple(nodes[i] for i in sorted(ready, key=lambda i: (passes[i], i)))


def _unsorted(waiting: list[Node], produced: set[str]) -> InputError:
    for node in waiting:
        missing = [i for i in (*node.inputs, *sorted(captured(node))) if i not in produced]
        if missing:
            return InputError(f"operator {_title(node)} reads {missing[0]!r}, which nothing produces")
    return InputError(f"the graph has a cycle through operator {_title(waiting[0])}")


def _title(node: Node) -> str:
    return f"{node.op} {node.name!r}" if node.name else node.op


# -- digest ------------------------------------------------------------------------------------------


def _hash(*parts: object) -> str:
    # Attributes of custom operators may hold bytes that are not UTF-8; they are surrogates in a str.
    text = "\x1f".join(map(str, parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _graph_hash(graph: Graph, outer: Mapping[str, str], with_zero_points: bool = False) -> str:
    hashes = dict(outer)
    hashes[""] = "-"
    for i, t in enumerate(graph.inputs):
        hashes[t.name] = _hash("input", i, t.dtype, t.shape)
    of_type: dict[tuple[str, tuple[int, ...]], str] = {}  # most weights have the type of another
    for t in graph.weights:
        kind = (t.dtype, t.shape)
        if kind not in of_type:
            of_type[kind] = _hash("weight", *kind)
        hashes[t.name] = of_type[kind]
    quantized = {name for n in graph.nodes if is_quantized(n) for name in n.inputs} if not with_zero_points else ()
    for c in graph.constants:
        is_weight = c.dtype.startswith(("float", "bfloat")) or c.name in quantized
        hashes[c.name] = _hash(
            "weight" if is_weight else "constant", c.dtype, c.shape, *(() if is_weight else c.values)
        )
    node_hashes = []
    for node in graph.nodes:
        attributes = sorted((key, _attribute_hash(value, hashes, with_zero_points)) for key, value in node.attributes)
        inputs = [hashes[i] if i in hashes else _hash("captured", i) for i in node.inputs]
        own = _hash(node.domain, node.op, attributes, inputs, len(node.outputs))
        node_hashes.append(own)
        for i, out in enumerate(node.outputs):
            if out:
                hashes[out] = _hash(own, i)
    opset = dict(graph.opsets).get("", 0)
    outputs = [hashes[o] if o in hashes else _hash("captured", o) for o in graph.outputs]
    return _hash("graph", opset, sorted(node_hashes), outputs)


def _attribute_hash(value: AttributeValue, hashes: Mapping[str, str], with_zero_points: bool) -> str:
    if isinstance(value, Graph):
        return _graph_hash(value, hashes, with_zero_points)
    if isinstance(value, Constant):
        return _hash(value.dtype, value.shape, _as_stored(value.values))
    return repr(_as_stored(value))


def _as_stored(value: AttributeValue) -> AttributeValue:
    """Floats with the 32 bits of an .onnx file, so that writing and reading one does not change the digest."""
    if isinstance(value, tuple):
        return tuple(map(_as_stored, value))
    return ctypes.c_float(value).value if isinstance(value, float) else value


# -- JSON --------------------------------------------------------------------------------------------


def _tensor_record(t: Tensor) -> list[Any]:
    return [t.name, t.dtype, list(t.shape)] + ([list(t.values)] if isinstance(t, Constant) else [])


def _attributes_record(node: Node) -> dict[str, Any]:
    record = {key: _attribute_record(value) for key, value in node.attributes}
    if len(record) < len(node.attributes):
        raise InputError(f"operator {_title(node)} has an attribute twice; JSON holds each once")
    return record


def _attribute_record(value: AttributeValue) -> Any:
    if isinstance(value, Graph):
        return {"graph": _graph_record(value)}
    if isinstance(value, Constant):
        return {"tensor": _tensor_record(value)}
    return list(value) if isinstance(value, tuple) else value


def _attribute_from_record(record: Any) -> AttributeValue:
    if isinstance(record, dict):
        return _graph_from_record(record["graph"]) if "graph" in record else _constant(record["tensor"])
    return tuple(record) if isinstance(record, list) else record


def _graph_record(g: Graph) -> dict[str, Any]:
    return {
        "name": g.name,
        "opsets": [list(pair) for pair in g.opsets],
        "inputs": [_tensor_record(t) for t in g.inputs],
        "outputs": list(g.outputs),
        "nodes": [
            [
                n.op,
                list(n.inputs),
                list(n.outputs),
                _attributes_record(n),
                n.domain,
                n.name,
            ]
            for n in g.nodes
        ],
        "weights": [_tensor_record(t) for t in g.weights],
        "constants": [_tensor_record(t) for t in g.constants],
        "values": [_tensor_record(t) for t in g.values],
        "source": g.source,
        **({"given": [list(pair) for pair in g.given]} if g.given else {}),
        **({"warnings": list(g.warnings)} if g.warnings else {}),
    }


def _tensors(records: list[Any]) -> Iterator[Tensor]:
    return (Tensor(name, dtype, tuple(shape)) for name, dtype, shape in records)


def _constant(record: list[Any]) -> Constant:
    name, dtype, shape, values = record
    return Constant(name, dtype, tuple(shape), tuple(values))


def _graph_from_record(r: dict[str, Any]) -> Graph:
    return Graph(
        inputs=tuple(_tensors(r["inputs"])),
        outputs=tuple(r["outputs"]),
        nodes=tuple(
            Node(
                op, tuple(inputs), tuple(outputs),
                tuple((k, _attribute_from_record(v)) for k, v in attributes.items()), domain, name,
            )
            for op, inputs, outputs, attributes, domain, name in r["nodes"]
        ),
        weights=tuple(_tensors(r["weights"])),
        constants=tuple(_constant(c) for c in r["constants"]),
        values=tuple(_tensors(r["values"])),
        opsets=tuple((domain, version) for domain, version in r["opsets"]),
        name=r["name"],
        source=r["source"],
        given=tuple((name, text) for name, text in r.get("given", ())),
        warnings=tuple(r.get("warnings", ())),
    )  # fmt: skip
