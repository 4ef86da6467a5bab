"""`hwprof train`: trains a predictor on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from hwprof.predictors.trained import Origin


def train(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of data sets of one device and machine; see hwprof collect."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The predictor's file, NAME.hwp.")],
    predictor: Annotated[
        str | None,
        typer.Option("--predictor", "-p", help="physical (the default), kernels (for generic samples), lut, gcn, ..."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Learn from this many of the networks.")] = None,
    source: options.Sources = None,
    counts: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Also learn from the instructions that an emulated core executes."),
    ] = None,
    space: options.ExpectedSpace = None,
    device: options.ExpectedDevice = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE.hwp",
            help="Fit this predictor of kernels, or the shipped one of a device, to the data.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which networks are learned from, and the folds.")] = 0,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Train a predictor on measured networks.

    The reported error is that on networks left out of the training; it also sets the width of the predictor's
    intervals.

    \b
    hwprof train latency_data/nasbench201-cpu-1t -o nb201.hwp
    hwprof train latency_data/mine --predictor transfer --source other-device.hwp -o mine.hwp
    hwprof train generic-cpu-1t -o any.hwp
    hwprof train generic-cpu-1t darts-cpu-1t --predictor kernels -o any.hwp
    hwprof train mine --from cpu-1t -o mine.hwp
    hwprof train latency_data/board --counts latency_data/nasbench201-emulated-cortex-a72 -o board.hwp
    """
    from dataclasses import asdict

    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof train"):
        from hwprof.data import dataset
        from hwprof.data.summary import doubts
        from hwprof.jobs import predicting

    data = [dataset.read(folder) for folder in folders]
    trained = predicting.train(
        data, predictor, n=n, sources=source or (), counts=counts, space=space, device=device, seed=seed, base=base,
        on_warning=output.warn,
    )  # fmt: skip
    trained.save(out)
    origin = trained.origin
    assert origin is not None  # the predictor was trained just now
    if n is None and base is None and origin.n < (rows := sum(one.card.rows for one in data)):
        output.note(f"learned from {origin.n} of {rows} networks, drawn at random; --n changes the number")
    for doubt in (doubt for one in data for doubt in doubts(one)):
        output.warn(doubt)
    if origin.drift:
        output.warn(
            f"the errors follow the order of the rows (correlation {origin.drift:.2f}): the device drifted while they "
            f"were measured, or they are sorted; without that {origin.mape_without_drift:.1f} % would be left of "
            f"{origin.mape:.1f}; measure again in random order"
        )
    if format is Format.JSON:
        output.write_json({"file": str(out), **asdict(origin)})
    else:
        output.write_rows([_row(out, origin)], format)


def _row(file: Path, origin: Origin) -> dict[str, object]:
    from hwprof.report import quantity

    return {
        "file": str(file),
        "predictor": origin.predictor,
        "device": origin.device,
        "space": f"{origin.space} {origin.variant}".strip(),
        "networks": origin.n,
        "left-out MAPE %": f"{origin.mape:.2f}",
        "90 % interval": quantity.bounds(origin.mape_low, origin.mape_high, ".2f"),
    }
