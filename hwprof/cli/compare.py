"""`hwprof compare`: is B faster than A?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from hwprof.graph import Graph
    from hwprof.measurement import Comparison


@dataclass(frozen=True, slots=True)
class ComparedNetworks(groups.Networks):
    """How the models are opened, and the variant that one is compared with."""

    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            callback=options.variant,
            help="With one model: compare it with this variant of it (int8, ...).",
        ),
    ] = None


@groups.expanded
def compare(
    models: options.Models,
    *,
    device: options.DeviceName = "cpu-1t",
    networks: ComparedNetworks,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    measuring: groups.Measuring,
    margin: Annotated[str, typer.Option(help="Treat smaller differences as none.")] = "2%",
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare with this one of hwprof profile --save-baseline.")
    ] = None,
    fail_above: Annotated[
        str | None, typer.Option(help="Exit with status 1 when a model is slower than the first by more than this.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", callback=options.writable, help="Also write the report page to this file.")
    ] = None,
) -> int:
    """Say whether one network is faster than another.

    Blocks of both alternate in the same processes; the verdict is faster, slower, same or inconclusive.

    \b
    hwprof compare before.onnx after.onnx
    hwprof compare mobilenet_v2 --variant int8
    hwprof compare main.onnx branch.onnx --fail-above 5%
    hwprof compare branch.onnx --baseline main --fail-above 5%
    """
    from hwprof import jobs
    from hwprof.cli import output, results
    from hwprof.device import Device
    from hwprof.files import write_text
    from hwprof.report import render_comparison

    limit = options.share(fail_above, "--fail-above") if fail_above else None
    chosen = Device.load(device)
    with results.measuring(measuring, with_operators=html is not None) as (opened, asked):
        rows = jobs.compare(
            models, chosen, opened, asked, options.share(margin, "--margin"), baseline=baseline, fail_above=limit,
            **networks.opening,
        )  # fmt: skip
        by_digest = jobs.stored_graphs(opened, (m for c in rows for m in (c.a, c.b)))
    _show(rows, by_digest, format)
    if html:
        peaks = results.peaks(chosen, measuring)
        write_text(html, render_comparison(rows[0], by_digest, peaks, results.command()))
        output.note(f"wrote {html}")
    return _status(rows, limit)


def _show(rows: Sequence[Comparison], graphs: Mapping[str, Graph], format: Format) -> None:  # noqa: A002 -- the option's name
    """graphs: by digest."""
    from hwprof.cli import output, results
    from hwprof.report import record

    if format is Format.JSON:
        records = [record.comparison_record(c, graphs) for c in rows]
        output.write_json(records[0] if len(records) == 1 else records)
        return
    with_error = any(c.output_error is not None for c in rows)
    output.write_rows([_row(c, with_error) for c in rows], format)
    results.tell_networks(m for c in rows for m in (c.a, c.b))


def _row(c: Comparison, with_error: bool) -> dict[str, object]:
    from hwprof.report import verdict

    a, b, kind = verdict.normalized(c.a), verdict.normalized(c.b), "undisturbed"
    if a is None or b is None:
        a, b, kind = c.a.statistics, c.b.statistics, "as the clock ran"
    row: dict[str, object] = {
        "a": c.a.model,
        "b": c.b.model,
        "a ms": f"{a.median:.4g}",
        "b ms": f"{b.median:.4g}",
        "ms are": kind,
        "b / a": "unknown" if math.isnan(c.ratio) else f"{c.ratio:.4f}",
        "95 % interval": verdict.ratio_words(c),
        "b is": c.verdict,
        "pairs": c.pairs,
        "by": c.clock_name,
    }
    if with_error:
        row["error of outputs"] = "" if c.output_error is None else f"{c.output_error:.2g}"
    return row


def _status(rows: Sequence[Comparison], limit: float | None) -> int:
    """1 when one is slower than the limit allows, 0 when none is. Raises NotConvergedError when neither is certain
    yet."""
    from hwprof.errors import NotConvergedError

    answers = [c.verdict if limit is None else _gate(c, limit) for c in rows]
    if "failed" in answers:
        return 1
    for c, answer in zip(rows, answers, strict=True):
        if answer == "inconclusive":
            raise NotConvergedError(_undecided(c))
    return 0


def _gate(c: Comparison, limit: float) -> str:
    """The gate's answer, which is said where it decides."""
    from hwprof.cli import output
    from hwprof.measure.compare import gate

    answer = gate(c.low, c.high, limit)
    if answer == "passed":
        open_still = f"; whether it is faster, slower or the same within {c.margin:.1%} stays open"
        output.note(
            f"gate: passed, {c.b.model} against {c.a.model}: at most {c.high - 1:+.1%}; allowed: {limit:.1%}"
            f"{open_still if c.verdict == 'inconclusive' else ''}"
        )
    if answer == "failed":
        output.note(f"hwprof: {c.b.model} is slower than {c.a.model} by {c.low - 1:.1%} or more; allowed: {limit:.1%}")
    return answer


def _undecided(c: Comparison) -> str:
    from hwprof.measurement import ProtocolSettings
    from hwprof.report import quantity

    interval = f"ratio {quantity.bounds(c.low, c.high, '.4f')} of {quantity.plural(len(c.b.processes), 'process')}"
    found = "fewer than four rounds without disturbance" if math.isnan(c.high) else interval
    is_fast = c.b.protocol.min_processes < ProtocolSettings().min_processes
    advice = "raise --budget or leave out --fast" if is_fast else "raise --budget"
    return f"{c.b.model} against {c.a.model}: {found} is not conclusive yet; {advice}"
