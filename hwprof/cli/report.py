"""`hwprof report`: writes a page of the measurements or results in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import options


def report(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help="Names of measured models; all by default.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", callback=options.writable, help="An .html, .md or .json file.")
    ] = Path("hwprof.html"),
    store: options.StorePath = Path("hwprof.db"),
    device: Annotated[str | None, typer.Option("--device", "-d", help="Only measurements on this device.")] = None,
    comparison: Annotated[
        bool, typer.Option("--comparison", help="Report the last comparison instead of the profiles.")
    ] = False,
    results: Annotated[
        bool, typer.Option("--results", help="Report the results of searches and compressions instead of the profiles.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", callback=options.writable, help="Also write a trace for Perfetto or Chrome."),
    ] = None,
    peaks: Annotated[bool, typer.Option(help="Measure the device's peaks for the roofline.")] = True,
) -> None:
    """Write a page of the measurements or results in the store.

    The page is self-contained. For profiles, it shows the verdict, distribution, operators, roofline, anchors and
    environment; for results, the front of metric against measured latency, and a table.

    \b
    hwprof report -o report.html
    hwprof report mobilenet_v2 -o mobilenet.md --trace mobilenet.trace.json
    hwprof report --results -o results.html
    """
    from hwprof import jobs
    from hwprof.cli import output
    from hwprof.cli.results import command

    written = jobs.report(
        models or [], out, store, device, comparison=comparison, results=results, trace=trace, peaks=peaks,
        command=command(),
    )  # fmt: skip
    for path in written:
        output.note(f"wrote {path}")
