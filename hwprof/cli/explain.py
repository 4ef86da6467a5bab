"""`hwprof explain`: where a quantized model loses time against its float original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwprof.jobs.explaining import CausesOfLoss, CountedPair

_MOST_KINDS = 8
_WORTH_A_ROW = 0.01  # of the quantized network's time; a transformer has dozens of findings below


@groups.expanded
def explain(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="The float model: an .onnx file or a workload.")],
    after: Annotated[str | None, typer.Argument(metavar="AFTER", help="The quantized model.")] = None,
    *,
    device: options.DeviceName = "cpu-1t",
    networks: groups.Networks,
    time_limit: options.TimeLimitS = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Find where a quantized model loses time.

    Finds operators left in float, Q/DQ pairs that were not fused, slow type combinations and slower kernels. Reports
    the time of each in a profiled run (of a slower kernel: the additional time) and its share of the quantized model's
    time. On an emulated core, reports the instructions of both models by class, and whether the kernels used int8 dot
    products.

    \b
    hwprof explain model.onnx model-int8.onnx
    hwprof explain mobilenet_v2 --variant int8
    hwprof explain mobilenet_v2 --variant int8 --device emulated-cortex-a76
    """
    from hwprof import jobs
    from hwprof.cli import output, results
    from hwprof.jobs.explaining import CountedPair
    from hwprof.report import explanation as explaining

    asked = jobs.Options(on_warning=output.warn, limit_s=options.time_limit(time_limit))
    found = jobs.explain(before, after, device, **networks.opening, options=asked)
    if isinstance(found, CountedPair):
        _show_counted(found, format)
        return max(results.status_of(m) for m in (found.before, found.after))
    if format is Format.JSON:
        output.write_json([row | {"trusted": not found.doubts} for row in explaining.rows(found)])
    elif format is not Format.TABLE:
        output.write_rows(explaining.rows(found), format)
    elif found.findings:
        _show_findings(found)
    else:
        output.note("nothing found: every operator runs quantized and none is slower than its float counterpart")
    return _status(found.doubts)


def _status(doubts: Sequence[str]) -> int:
    """0, or 4 where the times are not to be trusted, which is said."""
    from hwprof.cli import output
    from hwprof.errors import NotConvergedError

    for doubt in doubts:
        output.note(f"hwprof: {doubt}; measure again when the machine is idle")
    return NotConvergedError.exit_status if doubts else 0


def _show_findings(found: CausesOfLoss) -> None:
    """The causes with their totals, the kinds of operators of both, and the findings that cost most."""
    from hwprof.cli import output
    from hwprof.report import causes

    costly = [f for f in found.findings if f.share is None or f.share >= _WORTH_A_ROW] or found.findings[:1]
    title = f"where {found.after} loses time against {found.before}"
    if found.before_ns is not None and found.after_ns is not None:
        title += f"; kernels, profiled: {found.before_ns / 1e6:.4g} ms before, {found.after_ns / 1e6:.4g} ms after"
    rows = [
        {
            "finding": f.kind.value,
            "operator": f.node,
            "op": f.op,
            "us": "" if f.ns is None else f"{f.ns / 1e3:.4g}",
            "share": "" if f.share is None else f"{f.share:.1%}",
            "why": f.message,
        }
        for f in costly
    ]
    output.write_rows(causes.rows(found.causes), Format.TABLE, title)
    if all(found.kernels):
        output.note(causes.balance(*found.kernels))
    output.write_rows(
        causes.kinds(*found.kernels)[:_MOST_KINDS], Format.TABLE, "kinds of operators, the largest differences first"
    )
    output.write_rows(rows, Format.TABLE, "single findings")
    if len(costly) < len(found.findings):
        rest = len(found.findings) - len(costly)
        output.note(f"... and {rest} more of less than {_WORTH_A_ROW:.0%} each; --format json lists them all")


def _show_counted(found: CountedPair, format: Format) -> None:  # noqa: A002 -- the option's name
    from hwprof.cli import output

    if format is Format.JSON:
        output.write_json(found.record())
        return
    title = f"instructions of one inference, emulated: {found.before.model} and {found.after.model}"
    output.write_rows(found.rows(), format, title)
    for sentence in found.kernels():
        output.note(sentence)
