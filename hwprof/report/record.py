"""The report as JSON-ready records: the output of `--format json`, for other programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hwprof.data.result import Result
from hwprof.graph import Graph
from hwprof.measurement import Comparison, Measurement, Peaks
from hwprof.report import operators, results, tables, verdict
from hwprof.report.operators import Breakdown, Kernel


def profile_record(m: Measurement, graph: Graph | None, peaks: Peaks | None = None) -> dict[str, Any]:
    """One profile. Unknown values are null; `macs` and `parameters` are also null for an unknown operator."""
    s = verdict.statistics(m)
    total, reason = tables.total_cost(m, graph)
    return {
        "model": m.model,
        "digest": m.digest,
        "inputs": tables.input_shapes(m, graph) or None,
        "device": m.device.name,
        "hardware": m.hardware,
        "evidence": str(m.evidence),
        "status": str(m.status),
        "latency_ms": _finite(s.in_ms) if s else None,
        "normalized_ms": _finite(n.in_ms) if (n := verdict.normalized(m)) else None,
        "normalized_systematic": n.systematic if n else None,
        "normalized_clock": m.clock_name if n else None,
        "normalized_baseline": verdict.baseline_words(m) if n else None,
        "instructions": m.instructions if m.is_counted and m.processes else None,
        "cold_start_ms": m.cold_start_ms if m.processes and not m.is_counted else None,
        "open_ms": m.open_ms if m.processes and not m.is_counted else None,
        "processes": len(m.processes),
        "samples": m.samples,
        "rejected_share": _finite({"share": m.rejected_share})["share"],
        "peak_memory_bytes": m.peak_memory_bytes or None,
        "energy_mj": m.energy_mj,
        "figures": m.figures,
        "accelerator": m.device_state,
        "macs": total.macs if total else None,
        "parameters": total.parameters if total else None,
        "moved_bytes": total.moved_bytes if total else None,
        "operators": _kernels(m, graph, peaks),
        "overhead_ns": m.overhead_ns,
        "measured": m.processes[-1].started if m.processes else None,
        "versions": dict(m.versions),
        "builds": list(m.builds),
        "device_settings": m.device.to_record(),
        "protocol": asdict(m.protocol),
        "environment": dict(m.environment),
        "warnings": [*verdict.warnings(m), *([f"cost unknown: {reason}"] if reason else [])],
    }


def comparison_record(c: Comparison, graphs: Mapping[str, Graph], peaks: Peaks | None = None) -> dict[str, Any]:
    """B against A, with the records of both."""
    return {
        "verdict": c.verdict,
        **_finite(dict(zip(("ratio", "low", "high"), (c.ratio, *c.interval), strict=True))),
        "pairs": c.pairs,
        "clock": c.clock_name,
        "margin": c.margin,
        "output_error": c.output_error,
        "a": profile_record(c.a, graphs.get(c.a.digest), peaks),
        "b": profile_record(c.b, graphs.get(c.b.digest), peaks),
    }


def results_records(found: Sequence[Result], device: str | None = None) -> list[dict[str, Any]]:
    """A record for each result and device it was measured on, without raw samples, in the order of the table."""
    return [results.record(f) for f in results.found_in(found, device)]


def _kernels(m: Measurement, graph: Graph | None, peaks: Peaks | None) -> list[dict[str, Any]]:
    breakdown = operators.of_measurement(m, graph, peaks) if verdict.statistics(m) else None
    return [_kernel(k) for k in breakdown.kernels] if breakdown else []


def breakdown_record(m: Measurement, found: Breakdown) -> dict[str, Any]:
    """Where the time goes: a record per executed kernel and per kind of operator."""
    return {
        "model": m.model,
        "digest": m.digest,
        "device": m.device.name,
        "evidence": str(m.evidence),
        "status": str(m.status),
        "latency_ms": found.latency_ms,
        "outside_ms": found.outside_ms,
        "inflation": found.inflation,
        "peaks_exceeded": found.exceeded,
        "warnings": list(m.build_warnings),
        "kernels": [_kernel(k) for k in found.kernels],
        "kinds": [_kernel(k) for k in found.kinds],
    }


def _kernel(k: Kernel) -> dict[str, Any]:
    return {
        "name": k.name,
        "op": k.op,
        "ms": k.ms,
        "share": k.share,
        "members": list(k.members),
        "macs": k.work.macs if k.work else None,
        "moved_bytes": k.work.moved_bytes if k.work else None,
        "macs_per_s": k.macs_per_s,
        "bytes_per_s": k.bytes_per_s,
        "roofline_share": k.roof_share,
    }


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """NaN does not exist in JSON: it becomes null."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}
