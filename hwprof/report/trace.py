"""Traces in the JSON Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Each measurement becomes two processes of the trace: one inference with its kernels end to end (means over the profiled
runs, scaled to the plain run), and the measurement itself, with one thread per worker process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hwprof.graph import Graph
from hwprof.measurement import Evidence, Measurement, Process, TimedBlock
from hwprof.report import operators, verdict
from hwprof.report.operators import Kernel

Event: TypeAlias = dict[str, Any]  # an event of the format; `ts` and `dur` are microseconds


def render_trace(measurements: Sequence[Measurement], graphs: Mapping[str, Graph] | None = None) -> str:
    """A JSON object with `traceEvents`. `graphs` are looked up by digest, to get the work of each kernel."""
    events: list[Event] = []
    for i, m in enumerate(measurements):
        if m.is_counted:
            continue  # a trace shows times, which a counted measurement does not have
        events += _inference(m, (graphs or {}).get(m.digest), 2 * i + 1)
        events += _session(m, 2 * i + 2)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"source": "hwprof"}})


def _inference(m: Measurement, graph: Graph | None, pid: int) -> Iterator[Event]:
    breakdown = operators.of_measurement(m, graph, None) if verdict.statistics(m) else None
    if breakdown is None:
        return
    yield _name("process_name", f"{m.model} on {m.device.name}: one inference, {_worth(m)}, scaled", pid)
    yield _name("thread_name", "kernels in order", pid, 1)
    yield _span("inference", 0.0, breakdown.latency_ms * 1e3, pid, 1, evidence=str(m.evidence))
    start_us = 0.0
    for kernel in breakdown.kernels:
        yield _span(kernel.name, start_us, kernel.ms * 1e3, pid, 1, cat=kernel.op, **_details(kernel))
        start_us += kernel.ms * 1e3


def _worth(m: Measurement) -> str:
    return "mean of profiled runs" if m.evidence is Evidence.MEASURED else f"{m.evidence}, not measured"


def _details(kernel: Kernel) -> Event:
    details: Event = {"op": kernel.op, "share": round(kernel.share, 4), "members": list(kernel.members)}
    if kernel.work:
        details |= {"macs": kernel.work.macs, "moved_bytes": kernel.work.moved_bytes, "dtype": kernel.work.dtype}
    return details


def _session(m: Measurement, pid: int) -> Iterator[Event]:
    """Each worker process has its own clock; the processes are drawn in sequence."""
    yield _name("process_name", f"{m.model} on {m.device.name}: the measurement, processes end to end", pid)
    offset_us = 0.0
    for i, process in enumerate(m.processes):
        yield _name("thread_name", f"process {i + 1}, round {process.round + 1}", pid, i + 1)
        events = list(_process(m, process, offset_us, pid, i + 1))
        yield from events
        offset_us = max([offset_us, *(e["ts"] + e.get("dur", 0.0) for e in events)]) + 1e3


def _process(m: Measurement, process: Process, offset_us: float, pid: int, tid: int) -> Iterator[Event]:
    """Opening, cold start and warm-up, which have no time stamps, are drawn in sequence before the first block."""
    start_us = offset_us
    phases = (("open", process.open_ns), ("cold start", process.cold_ns), ("warm-up", sum(process.warmup_ns)))
    for name, ns in phases:
        course = {"course": process.warmup, "runs": len(process.warmup_ns)} if name == "warm-up" else {}
        yield _span(name, start_us, ns / 1e3, pid, tid, cat="start", recorded=process.started, **course)
        start_us += ns / 1e3
    first_ns = process.blocks[0].start_ns if process.blocks else 0
    for j, block in enumerate(process.blocks):
        yield from _block(m, block, j, start_us + (block.start_ns - first_ns) / 1e3, pid, tid)


def _block(m: Measurement, block: TimedBlock, j: int, start_us: float, pid: int, tid: int) -> Iterator[Event]:
    name = f"block {j + 1}" + (f", rejected: {block.rejected}" if block.rejected else "")
    median_ms = float(np.median(block.latencies_ns)) / 1e6
    duration_us = sum(block.samples_ns) / 1e3
    runs = len(block.samples_ns) * block.runs_per_sample
    yield _span(name, start_us, duration_us, pid, tid, cat="block", median_ms=median_ms, runs=runs, cpu_ns=block.cpu_ns)
    ratios = {n: ns / m.anchor_baseline_ns[n] for n, ns in block.anchors_ns.items() if m.anchor_baseline_ns.get(n)}
    if ratios:
        yield {"name": "anchors over baseline", "ph": "C", "ts": round(start_us, 3), "pid": pid, "args": ratios}


def _span(name: str, start_us: float, duration_us: float, pid: int, tid: int, cat: str = "", **details: Any) -> Event:
    return {
        "name": name, "cat": cat or "hwprof", "ph": "X", "ts": round(start_us, 3), "dur": round(duration_us, 3),
        "pid": pid, "tid": tid, "args": details,
    }  # fmt: skip


def _name(kind: str, name: str, pid: int, tid: int = 0) -> Event:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
