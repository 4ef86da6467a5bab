"""Where a quantized network loses time against its float original, from both graphs and the kernels that ran.

The rules are those of ONNX Runtime 1.31 on the CPU, found by running each operator between Q/DQ pairs and reading which
kernels remained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hwprof.graph import Graph, Node
from hwprof.measurement import OperatorTime

# A kernel is slower than its float counterpart from this factor on; two profiled runs differ by less.
SLOWER_FROM = 1.1
# Quantizing the network's inputs and dequantizing its outputs is reported from this share on.
EDGE_FROM = 0.01

_X86 = {"x86_64", "amd64", "i386", "i686"}
_Q, _DQ = CONVERSIONS = "QuantizeLinear", "DequantizeLinear"
_INTEGER_KERNELS = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger", "DynamicQuantize")
# They form an integer kernel with the Q/DQ pairs around them, the first three also without a Q after them.
_OPEN_ENDED = {"MatMul", "Gemm", "ArgMax"}
_COMPUTING = _OPEN_ENDED | {
    "Conv", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax", "Where",
}  # fmt: skip
# They run on integers directly; a Relu or Clip is merged into the Q after it.
_INDIFFERENT = {
    "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "GatherElements",
    "Resize", "Expand", "Tile", "Identity", "Dropout", "ReduceMax", "ReduceMin", "DepthToSpace", "Relu", "Clip",
}  # fmt: skip
# Operators that take almost no time in any type.
_FREE = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Cast", "Dropout"}
# Which inputs are the two factors of a product.
_FACTORS = {
    "Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1), "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1), "QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3),
}  # fmt: skip


class Kind(StrEnum):
    """The kind of a finding; those from ADDED on are only the causes of a difference."""

    FLOAT = "left in float"
    UNFUSED = "Q/DQ not fused"
    SLOW_TYPES = "slow types"
    SLOWER = "slower than float"
    ADDED = "only when quantized"
    FASTER = "faster than float"
    REMOVED = "only in float"
    SAME = "no clear difference"
    REST = "the rest"
    OUTSIDE = "outside of kernels"
    TOTAL = "in all"


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where time is lost.

    `ns` of one inference: how much longer the operator's kernels take than their float counterparts; no operator is in
    two findings that have a time. `share`: of the whole quantized network. Both are None where nothing was measured.
    """

    kind: Kind
    node: str
    op: str
    message: str
    ns: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Findings about the networks named `before` and `after`, the costliest first; the sums of all kernels, ns, are
    None where nothing was measured."""

    before: str
    after: str
    findings: tuple[Finding, ...]
    before_ns: float | None = None
    after_ns: float | None = None
    kernels: tuple[tuple[OperatorTime, ...], tuple[OperatorTime, ...]] = ((), ())  # that ran, before and after


def explain(
    before: Graph,
    after: Graph,
    operators_before: Sequence[OperatorTime] = (),
    operators_after: Sequence[OperatorTime] = (),
    machine: str = "x86_64",
    *,
    slower_from: float = SLOWER_FROM,
    edge_from: float = EDGE_FROM,
) -> Explanation:
    """The reasons why `after`, a quantized `before`, is slow on a `machine` as named by `platform.machine()`.

    The operator times are from profiled runs of both; without them only the findings in the graphs are returned. With
    limits of 0, every kernel is a finding, also one that is faster than its float counterpart (of negative time).
    """
    old, new = _Kernels(operators_before), _Kernels(operators_after)
    wiring = _Wiring(after)
    found = list(_left_in_float(wiring, old, new))
    told = {kernel for finding in found for kernel in new.of(finding.node)}
    found += _executed_pairs(wiring, new, edge_from) if operators_after else _broken_pairs(wiring)
    if machine.lower() in _X86:
        found += _slow_types(wiring, old, new, told)
        told |= {kernel for finding in found for kernel in new.of(finding.node)}
    found += _slower(before, old, new, slower_from, told)
    found.sort(key=lambda finding: -(finding.ns or 0.0))
    ran = (tuple(operators_before), tuple(operators_after))
    return Explanation(before.name, after.name, tuple(found), old.total_ns, new.total_ns, ran)


def rows(explanation: Explanation) -> list[dict[str, str | float | None]]:
    """One record per finding, for a table or JSON."""
    return [
        {
            "finding": f.kind.value,
            "operator": f.node,
            "op": f.op,
            "us": None if f.ns is None else round(f.ns / 1e3, 3),
            "share": None if f.share is None else round(f.share, 4),
            "why": f.message,
        }
        for f in explanation.findings
    ]


class _Kernels:
    """Executed kernels by the nodes in them. A node can be in several, since runtimes also split operators."""

    def __init__(self, operators: Sequence[OperatorTime]) -> None:
        self.all = operators
        self.total_ns = sum(o.ns for o in operators) if operators else None
        self._of_node: dict[str, list[OperatorTime]] = {}
        for operator in operators:
            for member in dict.fromkeys((*operator.members, operator.name)):
                self._of_node.setdefault(member, []).append(operator)

    def of(self, label: str) -> list[OperatorTime]:
        """The kernels that compute the node, without those that only convert for it."""
        return [o for o in self._of_node.get(label, ()) if o.op not in (_Q, _DQ)]

    def finding(self, kind: Kind, label: str, op: str, message: str, ns: float | None = None) -> Finding:
        return Finding(kind, label, op, message, ns, ns / self.total_ns if ns and self.total_ns else None)

    def longer_ns(self, label: str, old: _Kernels) -> float | None:
        """How much longer than in the other network."""
        return sum(o.ns for o in self.of(label)) - sum(o.ns for o in old.of(label)) if self.all else None


class _Wiring:
    """The producers and readers of tensors in a quantized graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = graph.producers()
        self.readers = graph.consumers()

    def is_dequantized(self, name: str) -> bool:
        return name in self.producers and self.producers[name].op == _DQ

    def is_quantized(self, name: str) -> bool:
        """Whether everything that reads the tensor is a QuantizeLinear."""
        return bool(self.readers.get(name)) and all(r.op == _Q for r in self.readers[name])

    def floats(self, names: Sequence[str]) -> list[str]:
        """The computed float tensors among them."""
        known = (n for n in names if n in self.producers and self.graph.has_type(n))
        return [n for n in known if self.graph.type_of(n).dtype.startswith(("float", "bfloat"))]

    def is_between_pairs(self, node: Node) -> bool:
        """Whether the node is between Q/DQ pairs, so that the runtime can build an integer kernel from it."""
        inputs = self.floats(node.inputs)
        closed = node.op in _OPEN_ENDED or all(map(self.is_quantized, self.floats(node.outputs)))
        return bool(inputs) and all(map(self.is_dequantized, inputs)) and closed


# -- operators left in float ---------------------------------------------------------------------------


def _left_in_float(wiring: _Wiring, old: _Kernels, kernels: _Kernels) -> Iterator[Finding]:
    """Float operators with quantized ones before and after them; only the first one of each kernel."""
    nodes = wiring.graph.nodes
    integer = [n for n in nodes if n.op in (_Q, _DQ) or n.op.startswith(_INTEGER_KERNELS)]
    behind = _reached(nodes, {out for n in integer for out in n.outputs})
    before = _reaching(nodes, {name for n in integer if n.op != _DQ for name in n.inputs})
    told: set[OperatorTime] = set()
    for node in nodes:
        if behind.isdisjoint(node.inputs) or before.isdisjoint(node.outputs):
            continue
        executed = set(kernels.of(node.label))
        if _runs_in_float(wiring, node, kernels) and not (executed and executed <= told):
            told |= executed
            longer_ns = kernels.longer_ns(node.label, old)
            yield kernels.finding(Kind.FLOAT, node.label, node.op, _why_float(wiring, node), longer_ns)


def _runs_in_float(wiring: _Wiring, node: Node, kernels: _Kernels) -> bool:
    if node.op in (_Q, _DQ) or node.op in _FREE or not wiring.floats(node.outputs):
        return False
    if wiring.is_between_pairs(node) and node.op in _INDIFFERENT:
        return False
    if kernels.all:
        return any(not o.op.startswith(_INTEGER_KERNELS) for o in kernels.of(node.label))
    return not (wiring.is_between_pairs(node) and node.op in _COMPUTING)


def _why_float(wiring: _Wiring, node: Node) -> str:
    if node.op not in _COMPUTING | _INDIFFERENT:
        return f"the runtime has no integer kernel for {node.op}"
    bare = [name for name in wiring.floats(node.inputs) if not wiring.is_dequantized(name)]
    if bare:
        return f"its input {bare[0]!r} is not quantized"
    if not wiring.is_between_pairs(node):
        return f"its output {node.outputs[0]!r} is not quantized"
    return "the runtime kept the float kernel in spite of the Q/DQ pairs around it"


def _reached(nodes: Sequence[Node], start: set[str]) -> set[str]:
    """The tensors `start` and all that depend on them."""
    reached = set(start)
    for node in nodes:
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
    return reached


def _reaching(nodes: Sequence[Node], end: set[str]) -> set[str]:
    """The tensors `end` and all on which they depend."""
    reaching = set(end)
    for node in reversed(nodes):
        if not reaching.isdisjoint(node.outputs):
            reaching.update(node.inputs)
    return reaching


# -- Q/DQ pairs ----------------------------------------------------------------------------------------


def _executed_pairs(wiring: _Wiring, kernels: _Kernels, edge_from: float) -> Iterator[Finding]:
    """QuantizeLinear and DequantizeLinear kernels that ran."""
    by_label = {node.label: node for node in wiring.graph.nodes}
    for kernel in kernels.all:
        if kernel.op not in (_Q, _DQ):
            continue
        node = next((by_label[m] for m in (*kernel.members, kernel.name) if m in by_label), None)
        if node is not None and _is_at_edge(wiring, node):
            if kernels.total_ns and kernel.ns / kernels.total_ns >= edge_from:
                message = "converts at the edge of the network; a network with integer inputs or outputs does not"
                yield kernels.finding(Kind.UNFUSED, kernel.name, kernel.op, message, kernel.ns)
        else:
            yield kernels.finding(Kind.UNFUSED, kernel.name, kernel.op, _neighbour(wiring, node), kernel.ns)


def _is_at_edge(wiring: _Wiring, node: Node) -> bool:
    if node.op == _Q:
        return node.inputs[0] not in wiring.producers
    return node.outputs[0] in wiring.graph.outputs


def _neighbour(wiring: _Wiring, node: Node | None) -> str:
    """Names the float operator that makes the conversion necessary."""
    if node is not None and node.op == _Q and node.inputs[0] in wiring.producers:
        source = wiring.producers[node.inputs[0]]
        return f"quantizes the float result of {source.op} {source.label!r}"
    if node is not None and (readers := wiring.readers.get(node.outputs[0])):
        return f"dequantizes for {readers[0].op} {readers[0].label!r}, which computes in float"
    return "converts between integers and floats"


def _broken_pairs(wiring: _Wiring) -> Iterator[Finding]:
    """Operators that have an integer kernel but Q/DQ nodes only on one side."""
    for node in wiring.graph.nodes:
        if node.op not in _COMPUTING | _INDIFFERENT - _FREE or wiring.is_between_pairs(node):
            continue
        inputs, outputs = wiring.floats(node.inputs), wiring.floats(node.outputs)
        if any(map(wiring.is_dequantized, inputs)) or any(map(wiring.is_quantized, outputs)):
            message = f"Q/DQ around {node.op} cannot be fused: {_why_float(wiring, node)}"
            yield Finding(Kind.UNFUSED, node.label, node.op, message)


# -- types, and kernels against kernels ----------------------------------------------------------------


def _slow_types(wiring: _Wiring, old: _Kernels, kernels: _Kernels, told: set[OperatorTime]) -> Iterator[Finding]:
    for node in wiring.graph.nodes:
        if node.op not in _FACTORS or not told.isdisjoint(kernels.of(node.label)):
            continue
        types = [_integer_type(wiring, node.inputs[i]) for i in _FACTORS[node.op]]
        if types in (["int8", "int8"], ["uint8", "uint8"]):
            message = f"multiplies {types[0]} by {types[1]}; on x86, uint8 activations times int8 weights are fast"
            longer_ns = kernels.longer_ns(node.label, old)
            yield kernels.finding(Kind.SLOW_TYPES, node.label, node.op, message, longer_ns)


def _integer_type(wiring: _Wiring, name: str) -> str:
    """The type in which the tensor is stored before its DequantizeLinear."""
    stored = wiring.producers[name].inputs[0] if wiring.is_dequantized(name) else name
    return wiring.graph.type_of(stored).dtype if wiring.graph.has_type(stored) else ""


def _slower(
    before: Graph, old: _Kernels, new: _Kernels, slower_from: float, told: set[OperatorTime]
) -> Iterator[Finding]:  # fmt: skip
    """Kernels that take longer than the float kernels of the same operators; each is reported once, under the operator
    that it computes rather than under an Identity that was merged into it."""
    titles = {kernel.name for kernel in new.all}
    for node in sorted(before.nodes, key=lambda node: node.label not in titles):
        then, now = old.of(node.label), new.of(node.label)
        if not then or not now or not told.isdisjoint(now):
            continue
        told = told | set(now)
        before_ns, after_ns = sum(o.ns for o in then), sum(o.ns for o in now)
        if after_ns > slower_from * before_ns:
            label, op = (now[0].name, now[0].op) if node.op in _FREE else (node.label, node.op)
            names = "+".join(o.op for o in now)
            message = f"{names} takes {after_ns / 1e3:.1f} us, {after_ns / before_ns:.2f} times its float counterpart"
            yield new.finding(Kind.SLOWER, label, op, message, after_ns - before_ns)
