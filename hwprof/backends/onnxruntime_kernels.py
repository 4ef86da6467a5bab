"""Reads what ONNX Runtime executed: the time of each kernel, and the graph's nodes that went into it.

ONNX Runtime tells neither directly. Its profile names kernels, and its optimized model shows how they
hang together. `label` therefore numbers the nodes before the runtime sees them: up to the level
"extended", a fused kernel keeps the number of one of its nodes and the name of its output tensor. The
layout pass behind that level renames tensors to `reorder_token_N` and nodes to TENSOR_nchwc, and folds
additions and activations into the convolution *before* them. So the trace goes in two steps: from nodes to
the kernels of "extended", from those to the kernels that ran. Reorders, transposes and casts that the
runtime inserted have no member.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import onnx

from hwprof.backends import fusion
from hwprof.graph import Graph
from hwprof.measurement import OperatorTime

_NUMBER = re.compile(r"#(\d+)")
_UNIQUE_SUFFIX = re.compile(r"_token_\d+$")
_LAYOUT_SUFFIX = re.compile(r"_nchwc$")
_REWRITTEN_SUFFIX = re.compile(r"_(bn|mul)$")  # an affine operator that the layout pass made a convolution of
_KERNEL_EVENT = "_kernel_time"
_RUN_EVENT = "model_run"
# The profiler cuts durations down to whole microseconds: half of one is given back.
_CUT_NS = 500


@dataclass(frozen=True, slots=True)
class Kernel:
    """A node of an optimized model."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def label(model: onnx.ModelProto, graph: Graph) -> None:
    """Names each node of the model #N, N its place in `graph.nodes`; the nodes in control-flow bodies lose theirs."""
    index = fusion.producer_indices(graph)
    for node in model.graph.node:
        numbers = [index[out] for out in node.output if out in index]
        node.name = f"#{numbers[0]}" if numbers else ""
        _clear_bodies(node)


def _clear_bodies(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        for inner in attribute.g.node:
            inner.name = ""
            _clear_bodies(inner)


def read_kernels(model: onnx.ModelProto) -> tuple[Kernel, ...]:
    """The kernels of an optimized model, in its order."""
    return tuple(Kernel(n.name, n.op_type, tuple(n.input), tuple(n.output)) for n in model.graph.node)


def mean_times(events: Iterable[Mapping[str, Any]], warmup: int) -> dict[str, tuple[str, float]]:
    """events: the profile's. Returns kernel -> (operator, mean ns per run) over the runs after the first `warmup`,
    in the order of execution; empty when there is none."""
    total_ns: dict[str, float] = {}
    operators: dict[str, str] = {}
    current: dict[str, float] = {}
    runs = 0
    for event in events:
        name = str(event["name"])
        if name.endswith(_KERNEL_EVENT):
            name = name.removesuffix(_KERNEL_EVENT)
            operators[name] = event["args"]["op_name"]
            current[name] = current.get(name, 0.0) + event["dur"] * 1000 + _CUT_NS
        elif name == _RUN_EVENT:  # stands behind the kernels of its run
            runs += 1
            if runs > warmup:
                for kernel, ns in current.items():
                    total_ns[kernel] = total_ns.get(kernel, 0.0) + ns
            current.clear()
    return {name: (operators[name], ns / (runs - warmup)) for name, ns in total_ns.items()}


def operator_times(
    graph: Graph, extended: Sequence[Kernel], executed: Sequence[Kernel], times: Mapping[str, tuple[str, float]]
) -> tuple[OperatorTime, ...]:
    """extended, executed: kernels of the labelled model at level "extended" and at the level that ran; times: of
    `mean_times`. Kernels inside a control-flow body are part of the time of the operator that holds it."""
    nodes = members(graph, extended, executed)
    titles = _titles(graph, executed, nodes)
    return tuple(
        OperatorTime(titles[name], op, ns, fusion.member_names(graph, nodes[name]))
        for name, (op, ns) in times.items()
        if name in nodes
    )


def members(graph: Graph, extended: Sequence[Kernel], executed: Sequence[Kernel]) -> dict[str, frozenset[int]]:
    """For each executed kernel the places of its nodes in `graph.nodes`."""
    inside = fusion.absorb(graph, _claims(graph, extended))
    fused = _folded(extended, executed)
    return {k.name: frozenset().union(*(inside[e] for e in fused[k.name])) for k in executed}


def _titles(graph: Graph, executed: Sequence[Kernel], nodes: Mapping[str, frozenset[int]]) -> dict[str, str]:
    """A kernel is called after one of its nodes, an inserted one after what it reads: "ReorderOutput(Conv_12)"."""
    titles: dict[str, str] = {}
    origin: dict[str, str] = {}
    for kernel in executed:
        read = next((origin.get(i, i) for i in kernel.inputs), "")
        own = nodes[kernel.name]
        titles[kernel.name] = fusion.title(graph, own) if own else f"{kernel.op}({read})"
        origin.update(dict.fromkeys(kernel.outputs, titles[kernel.name]))
    return titles


def _claims(graph: Graph, kernels: Sequence[Kernel]) -> dict[str, Set[int]]:
    """The nodes that each kernel names: by its number, and by its outputs unless another kernel has their number."""
    index = fusion.producer_indices(graph)
    numbered = {k.name: {int(n)} for k in kernels if (n := _number(k.name))}
    owned = {i for own in numbered.values() for i in own}
    return {
        k.name: numbered.get(k.name, set()) | ({index[out] for out in k.outputs if out in index} - owned)
        for k in kernels
    }


def _folded(extended: Sequence[Kernel], executed: Sequence[Kernel]) -> dict[str, list[str]]:
    """For each executed kernel the names of the kernels of level "extended" that it stands for."""
    by_output = {out: k.name for k in extended for out in k.outputs}
    known = {k.name for k in extended}
    fused = {k.name: [origin] if (origin := _origin(k.name, known, by_output)) else [] for k in executed}
    place = {k.name: i for i, k in enumerate(executed)}
    host = {origin: name for name, origins in fused.items() for origin in origins}
    for kernel in extended:
        if kernel.name in host:
            continue
        before = {host[by_output[i]] for i in kernel.inputs if by_output.get(i) in host}
        if before:  # folded into the last of the kernels that feed it
            host[kernel.name] = max(before, key=place.__getitem__)
            fused[host[kernel.name]].append(kernel.name)
    return fused


def _origin(name: str, known: Set[str], by_output: Mapping[str, str]) -> str | None:
    """The kernel of level "extended" from which the layout pass made the kernel of this name."""
    plain = _UNIQUE_SUFFIX.sub("", name)
    for candidate in (name, plain):
        if candidate in known:
            return candidate
    tensor, is_layout = _LAYOUT_SUFFIX.subn("", plain)
    if not is_layout:
        return None
    return by_output.get(tensor) or by_output.get(_REWRITTEN_SUFFIX.sub("", tensor))


def _number(name: str) -> str | None:
    found = _NUMBER.search(name)
    return found[1] if found else None
