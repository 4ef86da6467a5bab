"""The executed kernels with their times, corrected for profiling, the cost of their members, and the roofline.

Profiling slows a network down; `without_profiling` removes the added time from the kernels' times. A fused kernel is
one row with its members; no time is invented for a member. Tensors inside a fused kernel are not moved, so they do not
count as bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from hwprof import cost
from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.measurement import Measurement, Peaks
from hwprof.variants.for_device import for_device

_ROUNDING = 1e-9
_TOLERATED = 1.05  # times vary by as much
INFLATION_LIMIT = 1.3  # above it the profiled run does not represent the plain one


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a kernel on any device. `dtype` is the type of its input data."""

    macs: int
    element_ops: int
    moved_bytes: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row. `ms` is scaled to the plain run, `share` of its latency; `work` is None where the cost is unknown.

    `least_ms` is the time at the device's measured peaks, None where work or peak is unknown. `is_inserted` marks a
    kernel that the runtime added (a change of layout), which does not represent an operator of the graph.
    """

    name: str
    op: str
    ms: float
    share: float
    members: tuple[str, ...]
    work: Work | None
    least_ms: float | None
    is_inserted: bool = False

    @property
    def macs_per_s(self) -> float | None:
        return self.work.macs / self.ms * 1e3 if self.work and self.ms > 0 else None

    @property
    def bytes_per_s(self) -> float | None:
        return self.work.moved_bytes / self.ms * 1e3 if self.work and self.ms > 0 else None

    @property
    def roof_share(self) -> float | None:
        return self.least_ms / self.ms if self.least_ms is not None and self.ms > 0 else None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """All kernels in the order of execution. `outside_ms` is the plain run's time outside of them.

    `inflation` is the profiled run's time over the plain run's (only of the kernels, where only their times are known).
    `peaks` are the device's, raised by up to `exceeded` (1: not at all) where kernels were faster: then the machine was
    busier while they were measured.
    """

    kernels: tuple[Kernel, ...]
    latency_ms: float
    outside_ms: float
    inflation: float
    peaks: Peaks | None = None
    exceeded: float = 1.0

    @property
    def exceeded_words(self) -> str:
        """A sentence for the reader where a kernel exceeded the peaks, else nothing."""
        if self.exceeded <= _TOLERATED:
            return ""
        return (
            f"kernels were up to {self.exceeded - 1:.0%} faster than the peaks of the device, which were measured "
            "while the machine was busy: the fastest kernels are taken as peaks; repeat on a quiet machine"
        )

    @property
    def kinds(self) -> tuple[Kernel, ...]:
        """One row per operator kind, the longest first; its `members` are the names of its kernels."""
        return tuple(sorted((_sum_of(op, rows) for op, rows in _by_op(self.kernels)), key=lambda k: -k.ms))


def corresponding(op: str) -> str:
    """The operator whose work a runtime's kernel does, in any type and layout: Conv for QLinearConv and NhwcFusedConv,
    MaxPool for NhwcMaxPool, Gemm for QGemm."""
    plain = re.sub(r"^(?:QLinear|Nhwc|Fused|Dynamic(?=Quantize(?:MatMul|LSTM)))+", "", op)
    plain = re.sub(r"^Quantize(?=MatMul|LSTM)", "", plain)
    plain = re.sub(r"^Q(?=Gemm|Attention)", "", plain)
    return re.sub(r"^(MatMul|Conv)Integer(?:ToFloat)?$", r"\1", plain)


def of_measurement(m: Measurement, graph: Graph | None, peaks: Peaks | None) -> Breakdown | None:
    """None where the runtime does not time operators. Raises InputError when the measurement has no valid latency."""
    if not m.operators:
        return None
    latency_ms = m.latency_ms
    times_ms = [ns / 1e6 for ns in without_profiling([o.ns for o in m.operators], latency_ms * 1e6)]
    works = _works(m, graph)
    reached, exceeded = _reached(works, times_ms, peaks)
    kernels = tuple(
        Kernel(o.name, o.op, ms, ms / latency_ms, o.members, work, _least(work, reached), not (o.members or work))
        for o, ms, work in zip(m.operators, times_ms, works, strict=True)
    )
    profiled_ns = m.operators_total_ns or sum(o.ns for o in m.operators)
    outside_ms = latency_ms - sum(times_ms)
    outside_ms = outside_ms if outside_ms > _ROUNDING * latency_ms else 0.0
    return Breakdown(kernels, latency_ms, outside_ms, profiled_ns / 1e6 / latency_ms, reached, exceeded)


def _reached(
    works: Sequence[Work | None], times_ms: Sequence[float], peaks: Peaks | None
) -> tuple[Peaks | None, float]:  # fmt: skip
    """The peaks, raised to what the kernels reached, and by how much at most: a peak is the highest speed that was
    seen, so that no kernel can exceed it."""
    if peaks is None:
        return None, 1.0
    of_memory, of_type = 1.0, dict.fromkeys(peaks.macs_per_s, 1.0)
    for work, ms in zip(works, times_ms, strict=True):
        if work is None or ms <= 0:
            continue
        of_memory = max(of_memory, _ratio(work.moved_bytes / peaks.bandwidth(work.moved_bytes) * 1e3, ms))
        dtype = work.dtype if work.dtype in of_type else work.dtype.removeprefix("u")
        if work.macs and dtype in of_type:
            of_type[dtype] = max(of_type[dtype], _ratio(work.macs / peaks.macs_per_s[dtype] * 1e3, ms))
    raised = Peaks(
        {dtype: peak * of_type[dtype] for dtype, peak in peaks.macs_per_s.items()},
        peaks.bytes_per_s * of_memory,
        tuple((size, rate * of_memory) for size, rate in peaks.bandwidths),
    )
    return raised, max(of_memory, *of_type.values())


def _ratio(least: float, ms: float) -> float:
    return least / ms if math.isfinite(least) else 1.0


def without_profiling(kernels_ns: Sequence[float], plain_ns: float) -> list[float]:
    """The kernels' times without the time that profiling added, where their sum exceeds the plain run.

    A profiler adds about the same time to each kernel, and not more than the shortest one took: this much of the excess
    is subtracted from each, and the rest (a slower machine, say) in proportion. Where the sum does not exceed the plain
    run, nothing is added: the missing time was spent outside of kernels or was not reported.
    """
    total = sum(kernels_ns)
    if total <= plain_ns:
        return list(kernels_ns)
    each = min((total - plain_ns) / len(kernels_ns), *kernels_ns)
    left = [ns - each for ns in kernels_ns]
    scale = plain_ns / sum(left) if sum(left) > 0 else 0.0
    return [ns * scale for ns in left]


def work_of(graph: Graph, nodes: Sequence[Node], readers: Mapping[str, Sequence[Node]]) -> Work:
    """The work of nodes that run as one kernel; `readers` is `graph.consumers()`.

    Raises InputError for an unknown operator or shape.
    """
    costs = [cost.of_node(graph, node) for node in nodes]
    produced = {out for node in nodes for out in node.outputs if out}
    flowing = dict.fromkeys(i for node in nodes for i in node.inputs if i and i not in produced)
    moved = costs[0].moved_bytes if len(nodes) == 1 else _border_bytes(graph, nodes, [*flowing], produced, readers)
    dtype = graph.type_of(next(iter(flowing))).dtype if flowing else ""
    return Work(sum(c.macs for c in costs), sum(c.element_ops for c in costs), moved, dtype)


def least_ms(work: Work, peaks: Peaks) -> float | None:
    """The roofline: the longer of the arithmetic and the memory traffic, each at its peak for that many bytes."""
    memory_ms = work.moved_bytes / peaks.bandwidth(work.moved_bytes) * 1e3
    if not math.isfinite(memory_ms):  # the memory's peak could not be measured
        return None
    if not work.macs:
        return memory_ms
    peak = mac_peak(work.dtype, peaks)
    return None if peak is None else max(memory_ms, work.macs / peak * 1e3)


def _least(work: Work | None, peaks: Peaks | None) -> float | None:
    return least_ms(work, peaks) if work and peaks else None


def mac_peak(dtype: str, peaks: Peaks) -> float | None:
    """Multiply-adds per second; an unsigned integer runs as fast as the signed one of the same width."""
    return peaks.macs_per_s.get(dtype) or peaks.macs_per_s.get(dtype.removeprefix("u"))


def _works(m: Measurement, graph: Graph | None) -> list[Work | None]:
    """The work of each executed kernel; None where a member or its cost rule is unknown."""
    if graph is None:
        return [None] * len(m.operators)
    graph = for_device(graph, m.device)
    nodes = {n.label: n for n in graph.nodes}
    readers = graph.consumers()
    return [_work(graph, nodes, o.members or (o.name,), readers) for o in m.operators]


def _work(
    graph: Graph, nodes: Mapping[str, Node], members: Sequence[str], readers: Mapping[str, Sequence[Node]]
) -> Work | None:
    if not all(name in nodes for name in members):
        return None
    try:
        return work_of(graph, [nodes[name] for name in members], readers)
    except InputError:  # no rule or no shape: the row stays, with unknown cost
        return None


def _border_bytes(
    graph: Graph,
    nodes: Sequence[Node],
    inputs: Sequence[str],
    produced: Set[str],
    readers: Mapping[str, Sequence[Node]],
) -> int:
    """The bytes that a fused kernel reads from outside and writes; tensors between its members stay inside."""
    own = {id(n) for n in nodes}
    left = [o for o in produced if o in graph.outputs or any(id(n) not in own for n in readers.get(o, ()))]
    return sum(graph.type_of(name).size_bytes for name in (*inputs, *left))


def _by_op(kernels: Iterable[Kernel]) -> Iterable[tuple[str, list[Kernel]]]:
    groups: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        groups.setdefault(kernel.op, []).append(kernel)
    return groups.items()


def _sum_of(op: str, rows: Sequence[Kernel]) -> Kernel:
    works = [k.work for k in rows]
    least = [k.least_ms for k in rows]
    return Kernel(
        name=op,
        op=op,
        ms=sum(k.ms for k in rows),
        share=sum(k.share for k in rows),
        members=tuple(k.name for k in rows),
        work=_sum_of_work([w for w in works if w]) if all(works) else None,
        least_ms=sum(x for x in least if x is not None) if None not in least else None,
        is_inserted=all(k.is_inserted for k in rows),
    )


def _sum_of_work(works: Sequence[Work]) -> Work:
    dtypes = {w.dtype for w in works}
    return Work(
        sum(w.macs for w in works),
        sum(w.element_ops for w in works),
        sum(w.moved_bytes for w in works),
        dtypes.pop() if len(dtypes) == 1 else "mixed",
    )
