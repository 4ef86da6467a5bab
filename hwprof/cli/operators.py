"""`hwprof operators`: where the time goes, per kernel and per kind, against the device's roofline."""

from __future__ import annotations

from typing import Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format


@groups.expanded
def operators(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"The network: {options.A_MODEL}.")],
    *,
    device: options.DeviceName = "cpu-1t",
    networks: groups.Networks,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    measuring: groups.Measuring,
    by: Annotated[
        str, typer.Option(help="kind: one row per operator kind; kernel: one per executed kernel; or both.")
    ] = "both",
) -> int:
    """Show where the time goes, by operator.

    Shows each operator's share, its time without the profiler's overhead, its work, and its speed against the device's
    measured peaks.

    \b
    hwprof operators mobilenet_v2
    hwprof operators model.onnx --by kernel --format csv > kernels.csv
    """
    from hwprof import jobs
    from hwprof.cli import output, results
    from hwprof.device import Device
    from hwprof.errors import InputError
    from hwprof.report import operators as breakdowns
    from hwprof.report import record

    if by not in ("kind", "kernel", "both"):
        raise InputError(f"--by must be kind, kernel or both, not {by!r}")
    chosen = Device.load(device)
    with results.measuring(measuring) as (opened, asked):
        timed = jobs.operators(model, chosen, **networks.opening, store=opened, options=asked)
    m, found = timed.measurement, timed.breakdown
    if found.inflation > breakdowns.INFLATION_LIMIT:
        output.warn(f"profiling slowed the network down {found.inflation:.2f} times; the shares are only approximate")
    if found.exceeded_words:
        output.warn(found.exceeded_words)
    results.tell_networks([m])
    if format is Format.JSON:
        output.write_json(record.breakdown_record(m, found))
    if format is not Format.JSON and by in ("kernel", "both"):
        rows = [results.kernel_row(k, with_members=True) for k in found.kernels]
        output.write_rows(
            rows, format, f"{m.model} on {m.device.name}: {found.latency_ms:.4g} ms as the clock ran, by kernel"
        )
    if format is not Format.JSON and by in ("kind", "both"):
        output.write_rows([results.kernel_row(k, with_members=False) for k in found.kinds], format, "by kind")
    return results.status_of(m)
