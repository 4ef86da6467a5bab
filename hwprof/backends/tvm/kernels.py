"""The operator pass: a hook around each call of the virtual machine, and the nodes that each call computed.

TVM's kernel names say what a kernel does, not for which node. But a kernel computes a tensor of the graph: the hook
copies each kernel's output, and the node with the same value is the kernel's last. The nodes before it that no other
kernel computed went into it (`fusion.absorb`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import numpy as np
from onnx import ValueInfoProto

from hwprof import onnx_io
from hwprof.backends import fusion
from hwprof.backends.tvm import reference
from hwprof.graph import Graph
from hwprof.measurement import OperatorTime

_SAME = 1e-4  # relative to the largest value; no two layers' values come this close by chance
_OWN_CALLS = "vm.builtin."  # the machine's own: memory, shapes


@dataclass(slots=True)
class Kernel:
    """One call in an inference: its symbol, its mean time and its output."""

    symbol: str
    ns: float
    output: np.ndarray


@dataclass(frozen=True, slots=True)
class Profiled:
    """The calls of an inference in their order, and the mean latency of the profiled inferences, ns."""

    kernels: Sequence[Kernel]
    latency_ns: float


class _Hook:
    """Called before and after every call; adds up the time in between."""

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self.is_first = True
        self._next = 0
        self._start = 0

    def __call__(self, _function: Any, symbol: str, before: bool, _result: Any, *arguments: Any) -> int:
        now = perf_counter_ns()
        if symbol.startswith(_OWN_CALLS):
            return 0
        if before:
            self._start = perf_counter_ns()
        elif self.is_first:
            self.kernels.append(Kernel(str(symbol), 0.0, arguments[-1].numpy()))
        else:
            self.kernels[self._next].ns += now - self._start
            self._next += 1
        return 0

    def start_run(self) -> None:
        self._next = 0

    def start_counting(self) -> None:
        self.is_first = False
        for kernel in self.kernels:
            kernel.ns = 0.0


def profile(machine: Any, warmup: int, n: int) -> Profiled:
    """Means over n inferences, after one that copies the values and `warmup` others."""
    hook = _Hook()
    machine.set_instrument(hook)
    machine.invoke_stateful("main")
    hook.start_counting()
    latencies_ns = []
    for i in range(warmup + n):
        if i == warmup:
            hook.start_counting()
        hook.start_run()
        start = perf_counter_ns()
        machine.invoke_stateful("main")
        latencies_ns.append(perf_counter_ns() - start)
    for kernel in hook.kernels:
        kernel.ns /= n
    return Profiled(hook.kernels, float(np.mean(latencies_ns[warmup:])))


def operator_times(graph: Graph, kernels: Sequence[Kernel]) -> tuple[OperatorTime, ...]:
    """The kernels with their nodes, as far as these can be determined."""
    nodes = fusion.absorb(graph, _claims(graph, kernels))
    times = []
    for place, kernel in enumerate(kernels):
        own = nodes.get(place, frozenset())
        name = fusion.title(graph, own) if own else kernel.symbol
        kind = re.sub(r"\d+(?=_|$)", "", kernel.symbol.removeprefix("fused_"))
        times.append(OperatorTime(name, kind, kernel.ns, fusion.member_names(graph, own)))
    return tuple(times)


def _claims(graph: Graph, kernels: Sequence[Kernel]) -> dict[int, frozenset[int]]:
    """For each kernel the indices of the nodes that it computed: those of one value that no earlier kernel computed,
    since a copy or another shape of a tensor costs no kernel."""
    places = fusion.producer_indices(graph)
    values = _values(graph)
    claimed: set[int] = set()
    claims = {}
    for number, kernel in enumerate(kernels):
        equal = {
            places[name]
            for name, value in values.items()
            if places[name] not in claimed and value.size == kernel.output.size and _is_same(kernel.output, value)
        }
        claims[number] = frozenset(equal)
        claimed |= equal
    return claims


def _values(graph: Graph) -> Mapping[str, np.ndarray]:
    """Every tensor that a node computes, by name."""
    shown = tuple(fusion.producer_indices(graph))
    model = onnx_io.materialize(graph)
    del model.graph.output[:]
    model.graph.output.extend(ValueInfoProto(name=name) for name in shown)
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        onnx_io.save(model, path)
        return reference.outputs(replace(graph, outputs=shown, source=str(path)))


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and reference.difference(one.ravel(), other.ravel()) <= _SAME
