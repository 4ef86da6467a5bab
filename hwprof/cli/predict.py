"""`hwprof predict`: predicts latencies with a trained predictor, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.errors import InputError

if TYPE_CHECKING:
    from hwprof.predictors.trained import Origin, Prediction


def predict(
    file: Annotated[Path, typer.Argument(metavar="FILE.hwp", help="A predictor that hwprof train wrote.")],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help=".onnx files or names of workloads.")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            "--arch",
            "-a",
            help="An architecture of the predictor's space, in its notation or as choices (3,0,1); repeatable.",
        ),
    ] = None,
    shape: options.ShapeTexts = None,
    coverage: Annotated[str, typer.Option(help="The probability that the latency is inside the interval.")] = "90%",
    space: options.ExpectedSpace = None,
    device: options.ExpectedDevice = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Predict the latency of networks, with an interval.

    No network is measured. The interval holds for networks like those that the predictor learned from.

    \b
    hwprof predict nb201.hwp model.onnx
    hwprof predict nb201.hwp --arch 3,3,1,0,2,3 --coverage 95%
    """
    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof predict"):
        from hwprof.jobs import predicting
        from hwprof.predictors.trained import Trained

    if not models and not arch:
        raise InputError("nothing to predict; give models or --arch")
    share = options.share(coverage, "--coverage")
    trained = Trained.load(file)
    found = predicting.predict(
        trained,
        models or (),
        archs=arch or (),
        shapes=options.shapes(shape),
        coverage=share,
        space=space,
        device=device,
    )
    output.write_rows([_row(p, trained.origin, share, format) for p in found], format)
    for warning in _warnings(found, trained.origin):
        output.warn(warning)
    if models and trained.origin is not None and trained.origin.space:
        output.note(
            f"the interval holds for networks like those of {trained.origin.space}, which the predictor learned from"
        )


def _row(
    prediction: Prediction,
    origin: Origin | None,
    coverage: float,
    format: Format,  # noqa: A002 -- the option's name
) -> dict[str, object]:
    ms = {"latency_ms": prediction.latency_ms, "low_ms": prediction.low_ms, "high_ms": prediction.high_ms}
    return {
        "network": prediction.network,
        "device": origin.device if origin else "unknown",
        "evidence": "predicted",
        **(ms if format is Format.JSON else {key: f"{value:.4g}" for key, value in ms.items()}),
        "coverage": coverage,
    }


def _warnings(predictions: Sequence[Prediction], origin: Origin | None) -> list[str]:
    if origin is None:
        return []
    return [
        f"{p.network}: the predictor learned from {origin.least_ms:.4g} to {origin.most_ms:.4g} ms and extrapolates "
        "here; its interval may not hold"
        for p in predictions
        if p.outside
    ]
