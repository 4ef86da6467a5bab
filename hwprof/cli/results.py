"""Shared by the measuring commands: their options, failures, tables and pages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwprof import jobs
from hwprof.cli import output, progress
from hwprof.cli.groups import Measuring, Recording
from hwprof.cli.options import Format
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError, NotConvergedError
from hwprof.files import write_text
from hwprof.graph import Graph
from hwprof.jobs import Outcome
from hwprof.measurement import Measurement, Peaks, ProtocolSettings, Status
from hwprof.report import counted, quantity, record, render_profile, render_trace, tables, verdict
from hwprof.report import operators as breakdowns

note = output.note


class Failures:
    """Errors of single models: each is reported on its own line while the other models continue, and the gravest error
    decides the exit status."""

    def __init__(self) -> None:
        self._statuses: list[int] = []

    def add(self, outcome: Outcome) -> None:
        if outcome.error:
            self.tell(outcome.graph.name, outcome.error)

    def tell(self, model: str, error: HwprofError) -> None:
        output.note(f"hwprof: {error}" if model in str(error) else f"hwprof: {model}: {error}")
        self._statuses.append(error.exit_status)

    def status(self, outcomes: Sequence[Outcome]) -> int:
        """0, the gravest error's status, or 4 when a measurement did not converge."""
        if self._statuses:
            return max(self._statuses)
        return max((status_of(o.measurement) for o in outcomes if o.measurement), default=0)


def status_of(m: Measurement) -> int:
    """The exit status for a measurement."""
    return 0 if m.status is Status.CONVERGED else NotConvergedError.exit_status


def gate(outcomes: Sequence[Outcome], max_ms: float) -> int:
    """1 where a model certainly takes longer than allowed, 4 where that cannot be told, else 0; says the answer for
    each."""
    worst = 0
    for m in (o.measurement for o in outcomes if o.measurement):
        low_ms, high_ms = m.decisive_ms(m.statistics)
        if low_ms > max_ms:
            output.note(f"hwprof: {m.model} takes {low_ms:.4g} ms or more; allowed: {max_ms:g} ms")
            worst = 1
        elif not high_ms <= max_ms:  # the interval of a single process is nan
            output.note(f"hwprof: {m.model}: cannot tell whether it takes {max_ms:g} ms; raise --budget")
            worst = worst or NotConvergedError.exit_status
        else:
            output.note(f"gate: passed, {m.model} takes at most {high_ms:.4g} ms; allowed: {max_ms:g} ms")
    return worst


@contextmanager
def measuring(
    recording: Recording, *, with_operators: bool = True, label: str = ""
) -> Iterator[tuple[Store, jobs.Options]]:
    """The open store of a measuring command and the options of its job, which shows its progress."""
    asked = replace(
        recording.job_options(), with_operators=with_operators, label=label, on_note=note,
        on_warning=_once(output.warn),
    )  # fmt: skip
    with (
        Store(recording.store) as opened,
        progress.bars(asked.settings) as shown,
        on_fleet(recording.fleet, replace(asked, on_progress=shown.on_progress, on_step=shown.on_step)) as changed,
    ):
        yield opened, changed


@contextmanager
def on_fleet(fleet: Path | None, asked: jobs.Options) -> Iterator[jobs.Options]:
    """The options of a job that measures on the fleet of this file, or here where none is given."""
    if fleet is None:
        yield asked
        return
    from hwprof.jobs import fleets

    with fleets.open_fleet(fleet, asked.on_note) as opened:
        yield opened.options(asked)


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Says each text once, however many devices or models it concerns."""
    told: set[str] = set()

    def say(text: str) -> None:
        if text not in told:
            told.add(text)
            tell(text)

    return say


def show_profiles(outcomes: Sequence[Outcome], format: Format) -> None:  # noqa: A002 -- the option's name
    """Shows one row per model; the table also shows warnings and the kinds of operators."""
    measured = [(o, o.measurement) for o in outcomes if o.measurement]
    if format is Format.JSON:
        output.write_json(
            [record.profile_record(m, o.graph) | {"from_store": o.stored is not None} for o, m in measured]
        )
        return
    if measured:
        output.write_rows([_counted_row(o, m) if m.is_counted else _row(o, m) for o, m in measured], format)
    for _, m in measured:
        for warning in verdict.warnings(m):
            output.warn(f"{m.model}: {warning}")
    if format is not Format.TABLE:
        return
    for outcome, m in measured:
        if outcome.stored:
            output.note(f"{m.model}: from the store, measured {outcome.stored} UTC; --fresh measures again")
    if len(measured) == 1 and (further := tables.further_figures(measured[0][1])):
        rows = [dict(zip(further.columns, (cell.words for cell in row), strict=True)) for row in further.rows]
        output.write_rows(rows, format, further.caption.lower())
    if len(measured) == 1 and measured[0][1].operators:
        _show_kinds(measured[0][1], measured[0][0].graph, most=8)


def _row(outcome: Outcome, m: Measurement) -> dict[str, Any]:
    s, n = m.statistics, verdict.normalized(m)
    known = n or s
    size = record.profile_record(m, outcome.graph)
    label = "" if m.evidence == "measured" else f" ({m.evidence})"
    return {
        "model": m.model,
        "device": m.device.name + label,
        "undisturbed ms": f"{n.median:.4g}" if n else "",
        "95 % interval": verdict.interval_words(m, known),
        "+-": "" if m.is_formula else quantity.half_width(known.relative_half_width),
        "by": m.clock_name if n else "",
        "median ms": f"{s.median:.4g}",
        "p90": f"{s.p90:.4g}",
        "p99": f"{s.p99:.4g}",
        "cold ms": f"{m.cold_start_ms:.4g}",
        "processes": len(m.processes),
        "MMACs": "unknown" if size["macs"] is None else f"{size['macs'] / 1e6:.4g}",
        "memory MiB": f"{m.peak_memory_bytes / 2**20:.0f}" if m.peak_memory_bytes else "",
        "status": str(m.status),
    }


def tell_networks(measurements: Iterable[Measurement]) -> None:
    """Shows the warnings about the networks and their builds, where the other warnings of a measurement are not
    shown."""
    for warning in dict.fromkeys(_of_network(m, w) for m in measurements for w in m.build_warnings):
        output.warn(warning)


def _of_network(m: Measurement, warning: str) -> str:
    return f"{m.model}: {warning}" if warning in m.network_warnings else warning


def _counted_row(outcome: Outcome, m: Measurement) -> dict[str, Any]:
    """The row of a counted network. A table shows one device, so it never mixes counts with times."""
    size = record.profile_record(m, outcome.graph)
    return {
        "model": m.model,
        "device": f"{m.device.name} ({m.evidence})",
        "M instructions": f"{counted.total(m) / 1e6:.5g}",
        **{f"M {name}": f"{amount / 1e6:.4g}" for name, amount, *_ in counted.rows(m)},
        "processes": len(m.processes),
        "MMACs": "unknown" if size["macs"] is None else f"{size['macs'] / 1e6:.4g}",
        "status": str(m.status),
    }


def _show_kinds(m: Measurement, graph: Graph, most: int) -> None:
    """Shows the table by kind of operator, without a roofline, because measuring the device's peaks takes time."""
    found = breakdowns.of_measurement(m, graph, None)
    if found is None:
        output.note(f"{m.model}: the runtime cannot time its operators")
        return
    rows = [_work_row(k) for k in found.kinds]
    output.write_rows(rows[:most], Format.TABLE, f"{m.model}: time by kind of operator, as the clock ran")
    if len(rows) > most:
        output.note(f"... and {len(rows) - most} more kinds; see hwprof operators")


def kernel_row(k: breakdowns.Kernel, with_members: bool) -> dict[str, Any]:
    """One row of the operators' table: a kernel with its members, or a kind with the number of its kernels."""
    roofline = {"of roofline": "" if k.roof_share is None else f"{k.roof_share:.1%}"}
    if not with_members:
        return _work_row(k) | roofline
    named = {"operator": k.name, "kernel": k.op, "calls": 1}
    return named | _time_and_work(k) | roofline | {"members": " ".join(k.members)}


def _work_row(k: breakdowns.Kernel) -> dict[str, Any]:
    return {"operator": k.op, "calls": len(k.members)} | _time_and_work(k)


def _time_and_work(k: breakdowns.Kernel) -> dict[str, str]:
    return {
        "ms": f"{k.ms:.4g}",
        "share": f"{k.share:.1%}",
        "MMACs": ("" if k.is_inserted else "unknown") if k.work is None else f"{k.work.macs / 1e6:.4g}",
        "GMAC/s": "" if not k.macs_per_s else f"{k.macs_per_s / 1e9:.3g}",
        "GB/s": "" if not k.bytes_per_s else f"{k.bytes_per_s / 1e9:.3g}",
    }


def peaks(device: Device, measuring: Measuring) -> Peaks | None:
    """The device's ceilings for a page; None and a warning where they cannot be measured: a page is worth having
    without them, and they never cost the result that is shown already."""
    try:
        with progress.bars(ProtocolSettings()) as shown:
            shown.on_step("measuring the machine's peaks for the page")
            return jobs.peaks(device, wait_s=measuring.wait)
    except HwprofError as error:
        output.warn(f"the page has no roofline: {error}")
        return None


def write_pages(outcomes: Sequence[Outcome], peaks: Peaks | None, html: Path | None, trace_file: Path | None) -> None:
    """Writes the report page and the trace of the measurements."""
    measured = [o.measurement for o in outcomes if o.measurement]
    if html:
        write_text(html, render_profile(measured, graphs_of(outcomes), peaks, command()))
        note(f"wrote {html}")
    if trace_file:
        write_text(trace_file, render_trace(measured, graphs_of(outcomes)))
        note(f"wrote {trace_file}")


def graphs_of(outcomes: Sequence[Outcome]) -> Mapping[str, Graph]:
    """By digest."""
    return {o.graph.digest: o.graph for o in outcomes}


def command() -> str:
    """The command line as typed."""
    return " ".join(["hwprof", *sys.argv[1:]])
