"""Reads what ONNX Runtime executed: the time of each kernel, and the graph's nodes that went into it.

ONNX Runtime does not report either directly. Its profile names kernels, and the optimized model that it writes shows
how they are connected. Therefore `label` numbers the nodes before the runtime sees them: up to the level "extended" a
fused kernel carries the number of one of its nodes, or the name of the tensor that the last of them computes. The
layout pass after that level renames tensors to `reorder_token_N` and nodes to TENSOR_nchwc, and folds additions and
activations into the convolution *before* them. So nodes are traced in two steps: to the kernels of "extended", then
from those to the kernels that run. Reorders, reshapes, transposes and casts that the runtime inserted have no member.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import onnx

from hwprof.backends import fusion
from hwprof.graph import Graph
from hwprof.interfaces import ExecutedKernel
from hwprof.measurement import OperatorTime

_LABEL = re.compile(r"#(\d+)")
_UNIQUE_SUFFIX = re.compile(r"_token_\d+$")
_LAYOUT_SUFFIX = re.compile(r"_nchwc$")
_REWRITTEN_SUFFIX = re.compile(r"_(bn|mul)$")  # an affine operator that the layout pass turned into a convolution
_MOVES = frozenset({"Reshape", "Transpose", "Cast"})  # operators that the runtime inserts around a kernel
_BLOCKED = "com.microsoft.nchwc"  # the domain of operators on blocks of channels
T = TypeVar("T")

_KERNEL_EVENT = re.compile(r"kernel#(\d+)_kernel_time")
_RUN_EVENT = "model_run"
# The profiler truncates durations to whole microseconds: half of one is added back.
_CUT_NS = 500


@dataclass(frozen=True, slots=True)
class Kernel:
    """A node of an optimized model, identified by its index there, since the name may be empty."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str = ""


def label(model: onnx.ModelProto, graph: Graph) -> None:
    """Names each node of the model #N, N its index in `graph.nodes`; nodes in control-flow bodies lose their names."""
    index = fusion.producer_indices(graph)
    for node in model.graph.node:
        numbers = [index[out] for out in node.output if out in index]
        node.name = f"#{numbers[0]}" if numbers else ""
        _clear_bodies(node)


def label_kernels(model: onnx.ModelProto) -> tuple[Kernel, ...]:
    """The kernels of an optimized model in its order. Renames its nodes so that `mean_times` recognizes them."""
    kernels = tuple(Kernel(n.name, n.op_type, tuple(n.input), tuple(n.output), n.domain) for n in model.graph.node)
    for place, node in enumerate(model.graph.node):
        node.name = f"kernel#{place}"
    return kernels


def _clear_bodies(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        for inner in attribute.g.node:
            inner.name = ""
            _clear_bodies(inner)


# -- times ---------------------------------------------------------------------------------------------


def mean_times(events: Iterable[Mapping[str, Any]], warmup: int) -> dict[int, float]:
    """events: the profile's. Returns index of the kernel -> mean ns per run, in the order of execution.

    The first `warmup` runs are left out, and of the others all but the middle half by total time: otherwise one run
    that lost its core would decide the shares of its kernels. Kernels in control-flow bodies have no index: their time
    is part of the operator that holds them. Empty when no run is left.
    """
    runs: list[dict[int, float]] = [{}]
    for event in events:
        if found := _KERNEL_EVENT.fullmatch(str(event["name"])):
            runs[-1][int(found[1])] = event["dur"] * 1000 + _CUT_NS
        elif event["name"] == _RUN_EVENT:  # comes after the kernels of its run
            runs.append({})
    kept = _middle_half(runs[warmup:-1])
    return {place: sum(run.get(place, 0.0) for run in kept) / len(kept) for place in (kept[0] if kept else ())}


def idle(events: Iterable[Mapping[str, Any]]) -> set[int]:
    """events: the profile's. Returns the indices of the kernels whose outputs had no elements in any run: they had
    nothing to do."""
    made: dict[int, bool] = {}
    for event in events:
        if found := _KERNEL_EVENT.fullmatch(str(event["name"])):
            types = (event.get("args") or {}).get("output_type_shape") or ()
            shapes = [shape for entry in types for shape in entry.values()]
            made[int(found[1])] = made.get(int(found[1]), False) or not shapes or any(0 not in s for s in shapes)
    return {place for place, is_made in made.items() if not is_made}


def middle_mean(latencies_ns: Sequence[int]) -> float:
    """The mean of the middle half, which `mean_times` uses for the kernels."""
    kept = _middle(sorted(latencies_ns))
    return sum(kept) / len(kept)


def _middle_half(runs: Sequence[dict[int, float]]) -> Sequence[dict[int, float]]:
    return _middle(sorted(runs, key=lambda run: sum(run.values())))


def _middle(ordered: Sequence[T]) -> Sequence[T]:
    quarter = len(ordered) // 4
    return ordered[quarter : len(ordered) - quarter]


def operator_times(
    graph: Graph, extended: Sequence[Kernel], executed: Sequence[Kernel], times: Mapping[int, float]
) -> tuple[OperatorTime, ...]:
    """extended, executed: kernels of the labelled model at level "extended" and at the level that ran; times: the
    result of `mean_times`."""
    nodes = members(graph, extended, executed)
    titles = _titles(graph, executed, nodes)
    return tuple(
        OperatorTime(titles[place], executed[place].op, ns, fusion.member_names(graph, nodes[place]))
        for place, ns in times.items()
    )


def _titles(graph: Graph, executed: Sequence[Kernel], nodes: Sequence[Set[int]]) -> list[str]:
    """A kernel is named after one of its nodes, an inserted one after its input: "ReorderOutput(Conv_12)"."""
    titles: list[str] = []
    origin: dict[str, str] = {}
    for kernel, own in zip(executed, nodes, strict=True):
        read = next((origin.get(i, i) for i in kernel.inputs), "")
        titles.append(fusion.title(graph, own) if own else f"{kernel.op}({read})")
        origin.update(dict.fromkeys(kernel.outputs, titles[-1]))
    return titles


def executed(graph: Graph, extended: Sequence[Kernel], kernels: Sequence[Kernel]) -> tuple[ExecutedKernel, ...]:
    """extended, kernels: as `operator_times` takes them. Returns the kernels that run, in their order."""
    known = {t.name for t in (*graph.inputs, *graph.values)}
    found = []
    for kernel, own in zip(kernels, members(graph, extended, kernels), strict=True):
        moved = "" if own else next((name for name in (*kernel.inputs, *kernel.outputs) if name in known), "")
        how = "blocked" if kernel.domain == _BLOCKED else ""
        found.append(ExecutedKernel(kernel.op, tuple(sorted(own)), moved, how))
    return tuple(found)


# -- members -------------------------------------------------------------------------------------------


def members(graph: Graph, extended: Sequence[Kernel], executed: Sequence[Kernel]) -> list[frozenset[int]]:
    """For each executed kernel the indices of its nodes in `graph.nodes`."""
    inside = fusion.absorb(graph, dict(enumerate(_claims(graph, extended))))
    return [frozenset().union(*(inside[e] for e in origins)) for origins in _folded(extended, executed)]


def _claims(graph: Graph, kernels: Sequence[Kernel]) -> list[set[int]]:
    """The nodes that each kernel names: by its number, and by its outputs unless another kernel has their number."""
    index = fusion.producer_indices(graph)
    claims = [{int(found[1])} if (found := _LABEL.match(k.name)) else set() for k in kernels]
    numbered = {i for own in claims for i in own}
    writer = {out: place for place, k in enumerate(kernels) for out in k.outputs}
    for place, kernel in enumerate(kernels):
        for node in {index[out] for out in kernel.outputs if out in index} - numbered:
            computed_by = place
            # An inserted move only passes on, under the right name, the result of the kernel before it.
            if kernel.op in _MOVES and kernel.op != graph.nodes[node].op:
                computed_by = writer.get(kernel.inputs[0], place)
            claims[computed_by].add(node)
    return claims


def _folded(extended: Sequence[Kernel], executed: Sequence[Kernel]) -> list[list[int]]:
    """For each executed kernel the indices of the kernels of level "extended" that it contains."""
    writer = {out: place for place, k in enumerate(extended) for out in k.outputs}
    labelled = {k.name: place for place, k in enumerate(extended) if _LABEL.match(k.name)}
    folded: list[list[int]] = [[] for _ in executed]
    host: dict[int, int] = {}
    for place, kernel in enumerate(executed):
        origin = _origin(kernel, extended, labelled, writer)
        if origin is not None and origin not in host:
            host[origin] = place
            folded[place].append(origin)
    for origin, lost in enumerate(extended):
        feeders = [host[writer[i]] for i in lost.inputs if writer.get(i) in host]
        if origin not in host and feeders:  # folded into the last of the kernels that feed it
            host[origin] = max(feeders)
            folded[host[origin]].append(origin)
    return folded


def _origin(
    kernel: Kernel, extended: Sequence[Kernel], labelled: Mapping[str, int], writer: Mapping[str, int]
) -> int | None:
    """The kernel of level "extended" that became this one: by its label, its output, or the layout pass' name."""
    plain = _UNIQUE_SUFFIX.sub("", kernel.name)
    for name in (kernel.name, plain):
        if name in labelled:
            return labelled[name]
    for out in kernel.outputs:
        if out in writer and extended[writer[out]].op == kernel.op:
            return writer[out]
    tensor, is_layout = _LAYOUT_SUFFIX.subn("", plain)
    if not is_layout:
        return None
    return writer.get(tensor, writer.get(_REWRITTEN_SUFFIX.sub("", tensor)))
