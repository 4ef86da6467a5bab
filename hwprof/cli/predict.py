"""`hwprof predict`: predicts latencies with a trained predictor, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format
from hwprof.errors import InputError, NotConvergedError

if TYPE_CHECKING:
    from hwprof.jobs.predicted_operators import PredictedOperator
    from hwprof.predictors.trained import Origin, Prediction, Trained


@groups.expanded
def predict(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.hwp", help="A predictor that hwprof train wrote, or a device that hwprof ships one for."
        ),
    ],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help=f"Each is {options.A_MODEL}.")
    ] = None,
    *,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            "--arch",
            "-a",
            help="An architecture of the predictor's space, in its notation or as choices (3,0,1); repeatable.",
        ),
    ] = None,
    networks: groups.Networks,
    coverage: Annotated[str, typer.Option(help="The probability that the latency is inside the interval.")] = "90%",
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            "-s",
            help="The space of --arch: name, package.module:OBJECT or file.py:OBJECT. A predictor that knows one space "
            "refuses any other.",
        ),
    ] = None,
    device: options.ExpectedDevice = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Also predict networks unlike those that were learned from.")
    ] = False,
    lower_bound: Annotated[
        bool, typer.Option("--lower-bound", help="Leave out operators whose work is not known.")
    ] = False,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators",
            help="Show the time of each operator, and of what the runtime inserts, instead (predictor kernels).",
        ),
    ] = False,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Predict the latency of networks, with an interval.

    No network is measured. The interval holds for networks like those that the predictor learned from; what is unlike
    them is unknown, with the reason. Exit status 4: nothing is known.

    \b
    hwprof predict nb201.hwp model.onnx
    hwprof predict nb201.hwp --arch 3,3,1,0,2,3 --coverage 95%
    hwprof predict generic.hwp model.onnx --operators
    hwprof predict integer-avx2 model.onnx --variant integer
    """
    from hwprof import plugins
    from hwprof.cli import output, results

    with plugins.optional_library("hwprof predict"):
        from hwprof.jobs import predicting

    if not models and not arch:
        raise InputError("nothing to predict; give models or --arch")
    share = options.share(coverage, "--coverage")
    trained = predicting.open_predictor(file)
    failures = results.Failures()
    given = models or []
    told = failures.tell if len(given) > 1 else None
    if operators:
        rows = predicting.predict_operators(trained, given, on_error=told, on_warning=output.warn, **networks.opening)
        output.write_rows([_operator_row(row, format) for row in rows], format)
        return failures.status([])
    found = predicting.predict(
        trained, given, archs=arch or (), coverage=share, space=space, device=device, extrapolate=extrapolate,
        lower_bound=lower_bound, on_error=told, on_warning=output.warn, **networks.opening,
    )  # fmt: skip
    output.write_rows([_row(p, trained, share, format) for p in found], format)
    if format is Format.TABLE and trained.provenance:
        output.note(trained.provenance)
    for p in found:
        if p.doubt:
            output.warn(f"{p.network}: {p.doubt}{'; its interval may not hold' if p.is_known else _advice(p)}")
    if models and trained.origin is not None and trained.origin.space and not trained.predictor.knows_its_domain:
        output.note(
            f"the interval holds for networks like those of {trained.origin.space}, which the predictor learned from"
        )
    if found and not any(p.is_known for p in found):
        return NotConvergedError.exit_status
    return failures.status([])


def _advice(prediction: Prediction) -> str:
    return "; --extrapolate predicts it nevertheless" if prediction.outside else "; --lower-bound predicts the rest"


def _operator_row(row: PredictedOperator, format: Format) -> dict[str, object]:  # noqa: A002 -- the option's name
    from hwprof.report import quantity

    if format is Format.JSON:
        return asdict(row)
    return {
        **asdict(row),
        "ms": quantity.significant(row.ms, 4),
        "share": f"{row.share:.1%}" if math.isfinite(row.share) else quantity.UNKNOWN,
        "inserted": "yes" if row.inserted else "",
    }


def _row(
    prediction: Prediction,
    trained: Trained,
    coverage: float,
    format: Format,  # noqa: A002 -- the option's name
) -> dict[str, object]:
    ms = {"latency_ms": prediction.latency_ms, "low_ms": prediction.low_ms, "high_ms": prediction.high_ms}
    if not prediction.is_known:
        shown: Mapping[str, object] = dict.fromkeys(ms, None if format is Format.JSON else "unknown")
    else:
        shown = ms if format is Format.JSON else {key: f"{value:.4g}" for key, value in ms.items()}
    return {
        "network": prediction.network,
        "device": trained.origin.device if trained.origin else "unknown",
        "evidence": "predicted",
        **shown,
        "coverage": coverage,
        "status": "predicted" if prediction.is_known else "unknown",
        "outside": prediction.outside,
        **({"doubt": prediction.doubt, "learned": _learned(trained.origin)} if format is Format.JSON else {}),
    }


def _learned(origin: Origin | None) -> dict[str, object] | None:
    """The data that the predictor learned from, and its error on networks left out, percent."""
    if origin is None:
        return None
    wanted = ("data", "n", "hardware", "processor", "mape", "mape_low", "mape_high")
    return {name: getattr(origin, name) for name in wanted}
