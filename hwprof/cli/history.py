"""`hwprof history`: the latency of a model over commits or dates, from the measurements in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.errors import InputError


def history(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="The name of a measured model.")],
    device: Annotated[str | None, typer.Option("--device", "-d", help="Only measurements on this device.")] = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    store: options.StorePath = Path("hwprof.db"),
    html: Annotated[
        Path | None,
        typer.Option("--html", callback=options.writable, help="Also write the table and a plot to this file."),
    ] = None,
) -> None:
    """Show how the latency of a model changed over commits or dates.

    Lists the measurements of the model in the store, oldest first, by the --label of hwprof profile or by their dates.
    Only those with inputs of the same shapes, on one device and machine, are set against each other.

    \b
    hwprof profile model.onnx --fresh --label "$(git rev-parse --short HEAD)"
    hwprof history model --html history.html
    """
    from hwprof import jobs
    from hwprof.cli import output, results
    from hwprof.files import write_text
    from hwprof.report import history as shown
    from hwprof.report import page

    if len(models) > 1:
        raise InputError(
            f"history shows one model over time, not {len(models)}; run it for each, or take hwprof report "
            f"{' '.join(models)}"
        )
    found = jobs.history_steps(models[0], store, device)
    output.write_rows(shown.record(found) if format is Format.JSON else shown.table(found), format)
    for warning in dict.fromkeys(warning for step in found for warning in step.measurement.age_warnings):
        output.warn(warning)
    if html:
        write_text(html, page.render_history(found, results.command()))
        output.note(f"wrote {html}")
