"""`hwprof profile`: how fast a network runs, how sure that is, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format
from hwprof.errors import InputError


@groups.expanded
def profile(
    models: options.Models,
    *,
    device: options.DeviceName = "cpu-1t",
    networks: groups.Networks,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    measuring: groups.Measuring,
    operators: Annotated[bool, typer.Option(help="Also time the operators, in a separate pass.")] = True,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", help="Exit with status 1 when a model certainly takes longer than this.")
    ] = None,
    save_baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the model under this name, for hwprof compare --baseline.")
    ] = None,
    label: Annotated[str, typer.Option(help="Kept with the measurement: a commit, say; see hwprof history.")] = "",
    html: Annotated[
        Path | None, typer.Option("--html", callback=options.writable, help="Also write the report page to this file.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", callback=options.writable, help="Also write a trace for Perfetto or Chrome."),
    ] = None,
) -> int:
    """Measure how fast networks run on a device.

    Starts fresh processes until the 95 % interval of the median is as narrow as --target.

    \b
    hwprof profile mobilenet_v2
    hwprof profile model.onnx --shape input=1,3,224,224 --device openvino-1t
    hwprof profile model.onnx --variant int8 --format json > int8.json
    hwprof profile model.onnx --max-ms 5 --save-baseline main
    hwprof profile model.onnx --variant integer --device integer-vnni
    hwprof profile package.module:factory --shape x=1,3,224,224 --device cuda
    """
    from hwprof import jobs
    from hwprof.cli import results
    from hwprof.device import Device
    from hwprof.jobs import Outcome, baselines

    chosen = Device.load(device)
    if save_baseline and len(models) != 1:
        raise InputError(f"--save-baseline keeps one model, not {len(models)}; give one")
    failures, outcomes = results.Failures(), list[Outcome]()
    told = failures.tell if len(models) > 1 else None
    with results.measuring(measuring, with_operators=operators, label=label) as (opened, asked):
        for outcome in jobs.profile_models(
            models, chosen, **networks.opening, store=opened, options=asked, on_error=told
        ):
            outcomes.append(outcome)
            failures.add(outcome)
            if save_baseline:
                results.note(f"wrote {baselines.save(outcome.graph, save_baseline)}")  # its file may be temporary
        outcomes = jobs.at_one_baseline(outcomes)
    results.show_profiles(outcomes, format)
    peaks = results.peaks(chosen, measuring) if html else None
    results.write_pages(outcomes, peaks, html, trace)
    if max_ms is not None:
        return max(failures.status([]), results.gate(outcomes, options.positive(max_ms, "--max-ms", "ms")))
    return failures.status(outcomes)
