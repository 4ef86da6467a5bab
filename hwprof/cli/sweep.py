"""`hwprof sweep`: one table of networks on devices, threads, batches and shapes, and the fastest of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format


@groups.expanded
def sweep(
    models: options.Models,
    *,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            "-d",
            metavar="A,B,...",
            help="Devices, by name or .toml file; see hwprof devices. By default cpu-1t, or all of the fleet.",
        ),
    ] = None,
    threads: Annotated[str, typer.Option(metavar="1,2", help="Numbers of threads, for processors.")] = "",
    batch: Annotated[str, typer.Option(metavar="1,4,16", help="Batches, in place of leading dimensions of 1.")] = "",
    networks: groups.Networks,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    measuring: groups.Measuring,
    html: Annotated[
        Path | None,
        typer.Option("--html", callback=options.writable, help="Also write the table and a figure to this file."),
    ] = None,
) -> int:
    """Measure networks on several devices, and name the fastest.

    Says which devices cannot run a network, and why. A --shape that is repeated for one input is swept, too.

    \b
    hwprof sweep model.onnx --devices cpu-1t,openvino-1t,torch-cpu-1t
    hwprof sweep mobilenet_v2 --devices cpu-1t --threads 1,2 --batch 1,4,16 --html sweep.html
    hwprof sweep model.onnx --shape x=1,3,224,224 --shape x=1,3,320,320
    hwprof sweep model.onnx --fleet fleet.toml
    """
    from hwprof.cli import output, results
    from hwprof.errors import EnvironmentUnfitError, InputError, NotConvergedError
    from hwprof.files import write_text
    from hwprof.jobs import sweeping
    from hwprof.report import page
    from hwprof.report import sweep as swept

    with results.measuring(measuring, with_operators=False) as (opened, asked):
        found = sweeping.sweep(
            models, options.devices(devices, measuring.fleet), threads=options.numbers(threads, "--threads"),
            batches=options.numbers(batch, "--batch"), shapes=options.swept_shapes(networks.shape), **networks.change,
            store=opened, options=asked,
        )  # fmt: skip
    if format is Format.JSON:
        output.write_json(swept.record(found))
    else:
        output.write_rows(swept.table(found), format)
        for sentence in (*swept.reasons(found), *swept.missed(found), *(f.sentence for f in found.fastest)):
            output.note(sentence)
        results.tell_networks(row.measurement for row in found.rows if row.measurement)
    if html:
        write_text(html, page.render_sweep(found, results.command()))
        output.note(f"wrote {html}")
    if len(found.refused) == len(found.rows):
        is_bad = all(row.is_bad_input for row in found.rows)
        return InputError.exit_status if is_bad else EnvironmentUnfitError.exit_status
    return 0 if found.is_converged else NotConvergedError.exit_status
