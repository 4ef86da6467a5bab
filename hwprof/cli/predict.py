"""`hwprof predict`: latencies by a trained predictor, with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.errors import InputError


def predict(
    file: Annotated[Path, typer.Argument(metavar="FILE.hwp", help="A predictor that hwprof train wrote.")],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help=".onnx files or names of workloads.")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            "--arch", "-a", help="An architecture of the predictor's space: its notation, or 3,0,1; repeatable."
        ),
    ] = None,
    shape: options.ShapeTexts = None,
    coverage: Annotated[str, typer.Option(help="How often the latency shall lie inside of the interval.")] = "90%",
    space: options.ExpectedSpace = None,
    device: options.ExpectedDevice = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Predict the latency of networks, with an interval.

    Nothing is measured. The interval holds for networks like those that the predictor learned from.

    \b
    hwprof predict nb201.hwp model.onnx
    hwprof predict nb201.hwp --arch 3,3,1,0,2,3 --coverage 95%
    """
    from hwprof import jobs, plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof predict"):
        from hwprof.jobs import predicting

    if not models and not arch:
        raise InputError("nothing to predict; give models or --arch")
    share = options.share(coverage, "--coverage")
    trained = predicting.load(file)
    predicting.require(trained.origin, space, device)
    shapes = options.shapes(shape)
    graphs = [jobs.resolve(model, shapes) for model in models or []]
    found = predicting.predict(trained, [*graphs, *(arch or [])], share)
    origin = trained.origin
    where = origin.device if origin else "unknown"
    rows = []
    for p in found:
        values = {"latency_ms": p.latency_ms, "low_ms": p.low_ms, "high_ms": p.high_ms}
        texts = values if format is Format.JSON else {key: f"{value:.4g}" for key, value in values.items()}
        rows.append({"network": p.network, "device": where, "evidence": "predicted", **texts, "coverage": share})
    output.write_rows(rows, format)
    for p in found:
        if p.outside and origin is not None:
            output.warn(
                f"{p.network}: the predictor learned from {origin.least_ms:.4g} to {origin.most_ms:.4g} ms "
                "and extrapolates; its interval may not hold"
            )
    if graphs and origin is not None and origin.space:
        output.note(f"the interval holds for networks like those of {origin.space}, which the predictor learned from")
