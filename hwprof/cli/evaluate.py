"""`hwprof evaluate`: the error of a predictor, by the number of networks that it learned from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.errors import InputError

if TYPE_CHECKING:
    from hwprof.predictors.evaluation import Evaluation

_DIGITS = {"fit_s": 3, "predict_us": 1, "kendall": 3, "spearman": 3}


def evaluate(
    folder: options.DataFolder,
    predictor: Annotated[
        str, typer.Option("--predictor", "-p", help="The name of a predictor, or the .hwp file of a trained one.")
    ] = "physical",
    train_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="10,20,50",
            help="The numbers of networks to learn from; by default 10, 20, 50 and 100, as far as the data set goes.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of training sets of each size.")] = 5,
    source: options.Sources = None,
    space: options.ExpectedSpace = None,
    device: options.ExpectedDevice = None,
    max_mape: Annotated[
        str | None, typer.Option(metavar="5%", help="Exit with 1 when the error at the largest size is above this.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", callback=options.writable, help="Also draw the learning curve: a .png, .svg or .pdf file."
        ),
    ] = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Show the error of a predictor, by training size.

    Reports MAPE, the share within 5 and 10 %, rank correlations, and the coverage of the 90 % intervals, on networks
    that it did not learn from. No predictor can have an error below the noise floor.

    \b
    hwprof evaluate latency_data/nasbench201-cpu-1t --train-sizes 10,20,50,100 --format json
    hwprof evaluate latency_data/darts-cpu-1t --predictor xgboost --plot curve.svg
    hwprof evaluate latency_data/nasbench201-cpu-1t --train-sizes 100 --max-mape 3%
    """
    from hwprof import plugins
    from hwprof.cli import output, progress

    with plugins.optional_library("hwprof evaluate"):
        from hwprof.jobs import evaluating
        from hwprof.predictors.evaluation import TRAIN_SIZES

    limit = 100 * options.share(max_mape, "--max-mape") if max_mape else None
    sizes = _sizes(train_sizes) if train_sizes else None
    if plot:
        _require_figure(plot)
    with progress.steps(len(sizes or TRAIN_SIZES) * seeds, "fits") as on_fit:
        found = evaluating.evaluate(
            folder, predictor, sizes, seeds, sources=source or (), space=space, device=device, on_fit=on_fit
        )
    output.write_rows(_rows(found, format), format)
    if found.constant:
        output.note(f"{found.constant} networks were left out: their output does not depend on their input")
    if plot:
        _draw(found, plot)
    last = found.figures[-1]
    if limit is not None and last.mape > limit:
        output.note(f"hwprof: MAPE {last.mape:.2f} % with {last.n} networks is above {limit:g} %")
        return 1
    return 0


def _sizes(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"--train-sizes {text!r} is not of the form 10,20,50") from None


def _rows(found: Evaluation, format: Format) -> list[dict[str, object]]:  # noqa: A002 -- the option's name
    from dataclasses import asdict

    rows = []
    for figures in found.figures:
        record: dict[str, object] = {"predictor": found.predictor, "data": found.data, "device": found.device}
        values = asdict(figures)
        if format is not Format.JSON:
            del values["mape_by_seed"]
            values = {k: f"{v:.{_DIGITS.get(k, 2)}f}" if isinstance(v, float) else v for k, v in values.items()}
        rows.append(record | {"evidence": found.evidence} | values)
    return rows


def _require_figure(path: Path) -> None:
    """Rejects an unsupported figure format, or a missing library, before the evaluation starts."""
    from hwprof import plugins

    with plugins.optional_library("--plot"):
        from hwprof.report import learning_curve
    if path.suffix not in learning_curve.SUFFIXES:
        raise InputError(f"--plot writes a .png, .svg or .pdf file, not {str(path)!r}")


def _draw(found: Evaluation, path: Path) -> None:
    from hwprof.cli import output
    from hwprof.report import learning_curve

    by_seed = {figures.n: figures.mape_by_seed for figures in found.figures}
    title = f"{found.predictor} on {found.data} ({found.device}, {found.evidence})"
    learning_curve.draw(path, by_seed, title, found.figures[-1].noise_floor)
    output.note(f"wrote {path}")
