"""`hwprof train`: a predictor from a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format


def train(
    folder: options.DataFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The predictor's file, NAME.hwp.")],
    predictor: options.PredictorName = "physical",
    n: Annotated[int | None, typer.Option("--n", "-n", help="Learn from this many of the networks.")] = None,
    source: options.Sources = None,
    counts: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Learn from these instructions of an emulated core, too."),
    ] = None,
    space: options.ExpectedSpace = None,
    device: options.ExpectedDevice = None,
    seed: Annotated[int, typer.Option(help="Decides which networks are learned from, and the folds.")] = 0,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Train a predictor on measured networks.

    The error is that on networks left out; it says how wide the predictor's intervals are.

    \b
    hwprof train latency_data/nasbench201-cpu-1t -o nb201.hwp
    hwprof train latency_data/mine --predictor transfer --source other-device.hwp -o mine.hwp
    hwprof train latency_data/board --counts latency_data/nasbench201-emulated-cortex-a72 -o board.hwp
    """
    from dataclasses import asdict

    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof train"):
        from hwprof.jobs import predicting

    card = predicting.read_of(folder, space, device).card
    sources = predicting.load_sources(source or [], card.space)
    trained = predicting.train(folder, predictor, n=n, seed=seed, sources=sources, counts=counts)
    predicting.save(trained, out)
    origin = trained.origin
    assert origin is not None  # of what was trained just now
    if n is None and origin.n < card.rows:
        output.note(f"learned from {origin.n} of {card.rows} networks, drawn at random; --n takes another number")
    if format is Format.JSON:
        output.write_json({"file": str(out), **asdict(origin)})
    else:
        output.write_rows(
            [
                {
                    "file": str(out),
                    "predictor": origin.predictor,
                    "device": origin.device,
                    "space": f"{origin.space} {origin.variant}".strip(),
                    "networks": origin.n,
                    "left-out MAPE %": f"{origin.mape:.2f}",
                    "90 % interval": f"{origin.mape_low:.2f} .. {origin.mape_high:.2f}",
                }
            ],
            format,
        )
