"""`hwprof explain`: why a quantized model is slower or faster than its float original."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from hwprof.jobs.explaining import CausesOfLoss, CountedPair
    from hwprof.report.explanation import Finding

_MOST_KINDS = 8
_WORTH_A_ROW = 0.01  # of the quantized network's time; a transformer has dozens of findings below


@groups.expanded
def explain(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=f"The float model: {options.A_MODEL}.")],
    after: Annotated[
        str | None, typer.Argument(metavar="AFTER", help="The quantized model; or give --variant.")
    ] = None,
    *,
    device: options.DeviceName = "cpu-1t",
    networks: groups.Networks,
    time_limit: options.TimeLimitS = None,
    wait: options.WaitS = 0.0,
    store: Annotated[
        Path | None, typer.Option("--store", help="Keeps what an emulated core counted; times of kernels are not kept.")
    ] = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Find why a quantized model is slower or faster than its float original.

    Says which one is faster, then splits the difference into causes that add up to it: operators left in float, Q/DQ
    pairs that were not fused, slow type combinations, slower, faster, added and removed kernels, each with its interval
    over six profiled passes. A cause whose interval contains 0 is not certain, and comes last. On an emulated core,
    reports the instructions of both models by class, and whether the kernels used int8 dot products.

    \b
    hwprof explain model.onnx model-int8.onnx
    hwprof explain mobilenet_v2 --variant int8
    hwprof explain mobilenet_v2 --variant int8 --device emulated-cortex-a76
    """
    from hwprof import jobs
    from hwprof.cli import output, results
    from hwprof.jobs.explaining import CountedPair
    from hwprof.report import explanation as explaining

    asked = jobs.Options(on_warning=output.warn, limit_s=options.time_limit(time_limit), wait_s=wait)
    found = jobs.explain(before, after, device, **networks.opening, store=store, options=asked)
    if isinstance(found, CountedPair):
        _show_counted(found, format)
        return max(results.status_of(m) for m in (found.before, found.after))
    if format is Format.JSON:
        output.write_json(_record(found))
    elif format is Format.CSV:
        output.write_rows(explaining.rows(found), format)
    else:
        _show(found, format)
    return _status(found.doubts)


def _status(doubts: Sequence[str]) -> int:
    """0, or 4 where the times are not to be trusted, which is said."""
    from hwprof.cli import output
    from hwprof.errors import NotConvergedError

    for doubt in doubts:
        output.note(f"hwprof: {doubt}; measure again when the machine is idle")
    return NotConvergedError.exit_status if doubts else 0


def _record(found: CausesOfLoss) -> dict[str, Any]:
    """JSON-ready."""
    from hwprof.report import causes
    from hwprof.report import explanation as explaining

    return {
        "before": found.before,
        "after": found.after,
        "verdict": found.verdict,
        "trusted": not found.doubts,
        "total": causes.records([found.total])[0] if found.total else None,
        "causes": causes.records(found.causes),
        "findings": explaining.rows(found),
    }


def _show(found: CausesOfLoss, format: Format) -> None:  # noqa: A002 -- the option's name
    """The verdict, the causes that add up to it, the kinds of operators of both, and the findings that cost most."""
    from hwprof.cli import output
    from hwprof.report import causes

    everything = (*found.causes, *([found.total] if found.total else ()))
    kinds = causes.kinds(*found.kernels)[:_MOST_KINDS]
    costly = [f for f in found.findings if f.share is None or f.share >= _WORTH_A_ROW] or found.findings[:1]
    tables = (
        ("where the difference comes from", causes.rows(everything)),
        ("kinds of operators, the largest differences first", kinds),
        ("single findings", [_row(f) for f in costly]),
    )
    sys.stdout.write(f"{found.verdict}\n")
    for title, rows in tables:
        if rows:
            if format is Format.MD:
                sys.stdout.write(f"\n{title[0].upper()}{title[1:]}:\n\n")
            output.write_rows(rows, format, title)
    if len(costly) < len(found.findings):
        rest = len(found.findings) - len(costly)
        output.note(f"... and {rest} more of less than {_WORTH_A_ROW:.0%} each; --format json lists them all")
    if not found.findings:
        output.note("nothing found: every operator runs quantized and none is slower than its float counterpart")


def _row(f: Finding) -> dict[str, str]:
    return {
        "finding": f.kind.value,
        "operator": f.node,
        "op": f.op,
        "us": "" if f.ns is None else f"{f.ns / 1e3:.4g}",
        "share": "" if f.share is None else f"{f.share:.1%}",
        "why": f.message,
    }


def _show_counted(found: CountedPair, format: Format) -> None:  # noqa: A002 -- the option's name
    from hwprof.cli import output

    if format is Format.JSON:
        output.write_json(found.record())
        return
    title = f"instructions of one inference, emulated: {found.before.model} and {found.after.model}"
    output.write_rows(found.rows(), format, title)
    for sentence in found.kernels():
        output.note(sentence)
