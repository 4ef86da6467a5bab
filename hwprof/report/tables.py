"""The tables of a report, written once: HTML, Markdown and the terminal show the same cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwprof import cost
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.instructions import CLASSES
from hwprof.measurement import Evidence, Measurement, Process
from hwprof.report import counted, quantity
from hwprof.report.causes import Cause
from hwprof.report.operators import Breakdown, Kernel, corresponding
from hwprof.report.verdict import (
    ERROR_NOT_KNOWN,
    basis,
    normalized,
    rejected_causes,
    statistics,
    why_no_interval,
)
from hwprof.variants.for_device import for_device


@dataclass(frozen=True, slots=True)
class Cell:
    """`value` is the sort key of a column, `share` (0 to 1) draws a bar under the words."""

    words: str
    value: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, the names of the columns, and rows of the same width."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of the summary, with a note that helps to judge it."""

    name: str
    words: str
    note: str = ""


def facts(m: Measurement, graph: Graph | None) -> tuple[Fact, ...]:
    """The most important figures, including unknown ones."""
    if m.is_counted and m.processes:
        return (*_counted_facts(m), *_input_facts(m, graph), *_cost_facts(m, graph))
    return (*_latency_facts(m), *_input_facts(m, graph), *_cost_facts(m, graph), *_resource_facts(m))


def overview(measurements: Sequence[Measurement], graphs: Mapping[str, Graph]) -> Table:
    """One row per measurement."""
    latencies = ("median", "95 % interval", "p90", "p99", "cold start")
    columns = ("model", "input", "device", "undisturbed", "by", *latencies, "MACs", "memory", "status")
    rows = tuple(_overview_row(m, graphs.get(m.digest)) for m in measurements)
    return Table("All profiles", columns, rows)


def further_figures(m: Measurement) -> Table | None:
    """Figures other than the latency: other clocks, hot and cold caches, copies, memory, and the accelerator's sensors.
    None where nothing was measured."""
    found = m.figures | m.device_state
    rows = tuple(_figure_row(name, value) for name, value in found.items())
    return Table("Further figures", ("figure", "value"), rows) if rows else None


def kinds(breakdown: Breakdown) -> Table:
    """One row per operator kind, then the time outside of kernels."""
    columns = ("kind", "kernels", "time", "share", "MACs", "MAC/s", "bytes/s", "of roofline")
    rows = [
        (Cell(k.op), _integer(len(k.members)), *_kernel_cells(k)) for k in breakdown.kinds
    ]  # fmt: skip
    share = breakdown.outside_ms / breakdown.latency_ms
    outside = (Cell("outside of kernels"), Cell("–"), _time(breakdown.outside_ms), _share(share), *[Cell("–")] * 4)
    return Table("Time by operator kind", columns, (*rows, outside))


def kernels(breakdown: Breakdown) -> Table:
    """One row per executed kernel, in the order of execution."""
    columns = ("no.", "kernel", "kind", "time", "share", "MACs", "MAC/s", "bytes/s", "of roofline", "holds")
    rows = tuple(
        (_integer(i + 1), Cell(k.name), Cell(k.op), *_kernel_cells(k), Cell(_members(k)))
        for i, k in enumerate(breakdown.kernels)
    )
    return Table("Executed kernels, in order", columns, rows)


def kinds_compared(a: Breakdown, b: Breakdown, names: tuple[str, str]) -> Table:
    """One row per operator kind of either side, by the size of the difference; a kernel and its counterpart in other
    types or another layout are one kind."""
    left, right = (_by_operator(side) for side in (a, b))
    left["outside of kernels"], right["outside of kernels"] = a.outside_ms, b.outside_ms
    differences = {op: right.get(op, 0.0) - left.get(op, 0.0) for op in {*left, *right}}
    rows = []
    for op, difference in sorted(differences.items(), key=lambda pair: (-abs(pair[1]), pair[0])):
        change = Cell(_signed(difference), difference)
        rows.append((Cell(op), *(_time(t[op]) if op in t else Cell("–", 0.0) for t in (left, right)), change))
    columns = ("kind", names[0], names[1], "difference")
    return Table("Where the difference comes from", columns, tuple(rows))


def _by_operator(found: Breakdown) -> dict[str, float]:
    sums: dict[str, float] = {}
    for kind in found.kinds:
        op = corresponding(kind.op)
        sums[op] = sums.get(op, 0.0) + kind.ms
    return sums


def causes(found: Sequence[Cause]) -> Table:
    """The causes for which a quantized network is slower or faster, the last of which is their sum."""
    rows = tuple(
        (
            Cell(c.kind.value),
            Cell(c.op),
            Cell(str(c.count or ""), c.count),
            Cell(_signed((c.ns or 0.0) / 1e6), (c.ns or 0.0) / 1e6),
            Cell(
                ""
                if c.low_ns is None or c.high_ns is None
                else f"{_signed(c.low_ns / 1e6)} to {_signed(c.high_ns / 1e6)}"
            ),
            Cell(c.action),
        )
        for c in found
    )
    columns = ("cause", "operator", "times", "difference", "interval", "what to do")
    return Table("Where the quantized network loses and gains time", columns, rows)


def classes(m: Measurement) -> Table:
    """One row per class of counted instructions."""
    rows = tuple(
        (Cell(name), Cell(quantity.count(amount), amount), _share(share), Cell(description))
        for name, amount, share, description in counted.rows(m)
    )
    return Table("Instructions of one inference, emulated", ("class", counted.UNIT, "share", "description"), rows)


def processes(m: Measurement) -> Table:
    """One row per worker process."""
    if m.is_counted:
        return _counted_processes(m)
    columns = ("process", "median", "blocks used", "disturbed", "open", "cold start", "warm-up", "memory", "recorded")
    return Table("Processes", columns, tuple(_process_row(i, p) for i, p in enumerate(m.processes)))


def settings(m: Measurement) -> Table:
    """Device, protocol and versions; none is left out."""
    rows = [("model", m.model), ("graph digest", m.digest), ("evidence", str(m.evidence))]
    rows += [(f"device.{key}", value) for key, value in flattened(m.device.to_record())]
    rows += [(f"protocol.{key}", value) for key, value in flattened(asdict(m.protocol))]
    rows += [(f"version.{key}", value) for key, value in flattened(m.versions)]
    rows += [(f"build.{i}", build) for i, build in enumerate(m.builds)]
    return _pairs("Settings", rows)


def environment(m: Measurement) -> Table:
    """The state of the machine."""
    rows = [("hardware fingerprint", m.hardware), *flattened(m.environment)]
    rows += [(f"baseline of anchor {name}", quantity.time(ns / 1e6)) for name, ns in m.anchor_baseline_ns.items()]
    return _pairs("Environment", rows)


def flattened(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, words) for each leaf of a JSON-ready record; items of a list of named records by their names."""
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{name}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) and "name" in v for v in value):
            for item in value:
                yield f"{name}.{item['name']}", "; ".join(str(v) for k, v in item.items() if k != "name")
        else:
            yield name, _leaf(value)


def _leaf(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_leaf, value)) or "none"
    if isinstance(value, Mapping):
        return "none"
    if value is None:
        return quantity.UNKNOWN
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def input_shapes(m: Measurement, graph: Graph | None) -> dict[str, tuple[int, ...]]:
    """By name, with the device's batch; empty where the graph is not available."""
    return {t.name: t.shape for t in for_device(graph, m.device).inputs} if graph else {}


def shape_words(m: Measurement, graph: Graph | None) -> str:
    """The different shapes of the inputs: 1×3×224×224, or empty."""
    shapes = dict.fromkeys(input_shapes(m, graph).values())
    return ", ".join("×".join(map(str, shape)) or "scalar" for shape in shapes)


def total_cost(m: Measurement, graph: Graph | None) -> tuple[cost.GraphCost | None, str]:
    """The cost of the graph as the device computes it, or None and the reason."""
    if graph is None:
        return None, "the graph is not at hand"
    if unknown := cost.unknown_operators(graph):
        return None, f"there is no cost rule for {', '.join(unknown)}"
    try:
        return cost.of(for_device(graph, m.device)), ""
    except InputError as error:
        return None, str(error)


def _counted_facts(m: Measurement) -> tuple[Fact, ...]:
    return (
        Fact(counted.UNIT, quantity.count(counted.total(m)), f"of one inference, emulated; {counted.agreement(m)}"),
        Fact("kernels", counted.kernels(m)),
    )


def _counted_processes(m: Measurement) -> Table:
    rows = tuple(
        (_integer(i + 1), *(Cell(f"{amount:.0f}", amount) for amount in (sum(c.values()), *c.values())), Cell(started))
        for i, (started, c) in enumerate(counted.process_totals(m))
    )
    return Table("Processes", ("process", counted.UNIT, *CLASSES, "recorded"), rows)


def _latency_facts(m: Measurement) -> tuple[Fact, ...]:
    s = statistics(m)
    if s is None:
        return (Fact("median", quantity.UNKNOWN, "there is no valid block"),)
    median, interval = quantity.estimate(s.median, s.low, s.high)
    width = f", ±{quantity.percent(s.relative_half_width)}" if math.isfinite(s.relative_half_width) else ""
    facts = [
        Fact("median", median, f"{interval or why_no_interval(m, s)}{width}"),
        Fact("p90 and p99", f"{quantity.time(s.p90)}, {quantity.time(s.p99)}", f"mean {quantity.time(s.mean)}"),
        Fact("minimum", quantity.time(s.min), f"{quantity.percent(1 - s.min / s.median)} below the median"),
    ]
    if n := normalized(m):
        median, interval = quantity.estimate(n.median, n.low, n.high)
        facts.insert(0, Fact("at undisturbed speed", median, f"{interval or why_no_interval(m, n)}, {basis(m)}"))
    return tuple(facts)


def _input_facts(m: Measurement, graph: Graph | None) -> tuple[Fact, ...]:
    shapes = input_shapes(m, graph)
    return (Fact("input", shape_words(m, graph), ", ".join(shapes)),) if shapes else ()


def _cost_facts(m: Measurement, graph: Graph | None) -> tuple[Fact, ...]:
    total, reason = total_cost(m, graph)
    s = statistics(m)
    if total is None:
        return (Fact("work", quantity.UNKNOWN, reason),)
    work = Fact("work", quantity.count(total.macs, "MACs"), f"{quantity.count(total.parameters)} parameters")
    if s is None:
        return (work,)
    seconds = s.median / 1e3
    moved = quantity.count(total.moved_bytes / seconds, "B/s")
    return work, Fact("achieved", quantity.count(total.macs / seconds, "MAC/s"), f"{moved}, each operator on its own")


def _resource_facts(m: Measurement) -> tuple[Fact, ...]:
    cold = Fact("cold start", quantity.UNKNOWN)
    s = statistics(m)
    if m.processes:
        times = f" = {quantity.significant(m.cold_start_ms / s.median, 2)} × warm" if s else ""
        cold = Fact(
            "cold start", quantity.time(m.cold_start_ms), f"first inference{times}; open {quantity.time(m.open_ms)}"
        )
    memory = quantity.count(m.peak_memory_bytes, "B") if m.peak_memory_bytes else quantity.UNKNOWN
    energy = f"{quantity.significant(m.energy_mj)} mJ" if m.energy_mj is not None else "unavailable"
    return (
        cold,
        Fact("peak memory", memory, "network and runtime, in the largest process"),
        Fact("energy", energy, "per inference" if m.energy_mj is not None else "this machine has no energy counter"),
        Fact("rejected blocks", quantity.percent(m.rejected_share), _causes(m)),
    )


def _causes(m: Measurement) -> str:
    return ", ".join(f"{cause} {n}" for cause, n in rejected_causes(m).most_common()) or "no block was disturbed"


def _overview_row(m: Measurement, graph: Graph | None) -> tuple[Cell, ...]:
    s = statistics(m)
    total, _ = total_cost(m, graph)
    status = str(m.status) if m.evidence is Evidence.MEASURED else f"{m.status}, {m.evidence}"
    macs = Cell(quantity.count(total.macs), total.macs) if total else Cell(quantity.UNKNOWN)
    latencies = [Cell(quantity.UNKNOWN)] * 4
    if m.is_counted and m.processes:
        latencies[0] = Cell(counted.words(counted.total(m)), counted.total(m))
    if s:
        median, interval = quantity.estimate(s.median, s.low, s.high)
        none = ERROR_NOT_KNOWN if m.is_formula else "none"
        latencies = [Cell(median, s.median), Cell(interval or none, s.low), _time(s.p90), _time(s.p99)]
    cold = _time(m.cold_start_ms) if m.processes and not m.is_counted else Cell(quantity.UNKNOWN)
    memory = Cell(quantity.count(m.peak_memory_bytes or None, "B"), m.peak_memory_bytes)
    shapes = Cell(shape_words(m, graph) or quantity.UNKNOWN)
    return Cell(m.model), shapes, Cell(m.device.name), *_undisturbed(m), *latencies, cold, macs, memory, Cell(status)


def _undisturbed(m: Measurement) -> tuple[Cell, Cell]:
    """The latency at the undisturbed speed with its interval, and its clock."""
    n = normalized(m)
    if n is None:
        return Cell("–"), Cell("–")
    median, interval = quantity.estimate(n.median, n.low, n.high)
    return Cell(f"{median} ({interval})" if interval else median, n.median), Cell(m.clock_name)


def _kernel_cells(k: Kernel) -> tuple[Cell, ...]:
    """Time, share, MACs, MAC/s, bytes/s, share of the roofline. A kernel without MACs has no MAC/s."""
    if k.is_inserted:
        return _time(k.ms), _share(k.share), *[Cell("–")] * 4
    macs = k.work.macs if k.work else None
    speed = Cell("–", 0.0) if macs == 0 else Cell(quantity.count(k.macs_per_s), k.macs_per_s)
    amount = Cell("–", 0.0) if macs == 0 else Cell(quantity.count(macs), macs)
    roof = Cell(quantity.percent(k.roof_share), k.roof_share)
    return _time(k.ms), _share(k.share), amount, speed, Cell(quantity.count(k.bytes_per_s), k.bytes_per_s), roof


def _process_row(i: int, p: Process) -> tuple[Cell, ...]:
    kept = [float(np.median(b.latencies_ns)) / 1e6 for b in p.kept]
    return (
        _integer(i + 1),
        _time(float(np.median(kept))) if kept else Cell("none"),
        _integer(len(kept)),
        _integer(sum(bool(b.rejected) for b in p.blocks)),
        _time(p.open_ns / 1e6),
        _time(p.cold_ns / 1e6),
        Cell(f"{p.warmup}, {quantity.plural(len(p.warmup_ns), 'run')}", float(len(p.warmup_ns))),
        Cell(quantity.count(p.peak_memory_bytes, "B"), p.peak_memory_bytes),
        Cell(p.started),
    )


def _figure_row(name: str, value: float) -> tuple[Cell, Cell]:
    """A row from a figure's name, whose last word is the unit."""
    title, _, unit = name.rpartition("_")
    shown = {"ns": (value / 1e6, "ms"), "bytes": (value / 2**20, "MiB"), "share": (value * 100, "%")}
    number, unit = shown.get(unit, (value, {"mhz": "MHz", "w": "W", "c": "degrees C"}.get(unit, unit)))
    return Cell(title.replace("_", " ")), Cell(f"{number:.4g} {unit}")


def _members(k: Kernel) -> str:
    return ", ".join(k.members) if len(k.members) > 1 else ""


def _time(ms: float) -> Cell:
    return Cell(quantity.time(ms), ms)


def _share(share: float) -> Cell:
    return Cell(quantity.percent(share), share, share)


def _signed(ms: float) -> str:
    return f"{'+' if ms > 0 else '−'}{quantity.time(abs(ms))}" if ms else "0"


def _integer(n: int) -> Cell:
    return Cell(str(n), n)


def _pairs(caption: str, rows: Sequence[tuple[str, str]]) -> Table:
    return Table(caption, ("name", "value"), tuple((Cell(key), Cell(value)) for key, value in rows))
