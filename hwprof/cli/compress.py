"""`hwprof compress`: makes a network small enough for a measured latency."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format
from hwprof.errors import InputError

if TYPE_CHECKING:
    from hwprof.compress.compressed import Compressed
    from hwprof.compress.loop import Settings
    from hwprof.data.result import Result


@groups.expanded
def compress(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=f"The network: {options.A_MODEL}.")] = None,
    *,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Data, loss and metric: digits, fashion:DIR, file.py:task.")
    ] = None,
    device: options.DeviceName = "cpu-1t",
    target_ms: Annotated[
        list[float] | None,
        typer.Option(
            "--target-ms",
            help="The latency to reach, at the machine's undisturbed speed; repeatable, which gives a front.",
        ),
    ] = None,
    target_share: Annotated[
        list[str] | None,
        typer.Option(
            "--target-share",
            metavar="70%",
            help="The same as a share of the measured latency of the network; repeatable.",
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="One of --list, or auto for all that fit.")] = "auto",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Inputs by name, an .npz file or a folder: compresses an .onnx file without a task."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="With --calibration: module:function of the outputs, changed and float. Larger is better, unless its "
            "attribute higher_is_better is False."
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            "--max-error", metavar="0.05", help="With --calibration: the largest relative error of the outputs."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for networks and trainings.")] = Path(
        "compressed"
    ),
    show: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Show the methods: what each needs, its paper, and whether --device has kernels for its result.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only say whether the network can be trained with binary weights; needs no target."
        ),
    ] = False,
    epochs: Annotated[int, typer.Option(help="Epochs for which a small network is tuned.")] = 10,
    rate: Annotated[float, typer.Option(help="The learning rate of the tuning.")] = 0.01,
    train_epochs: Annotated[
        int, typer.Option(help="Epochs for which the network itself is trained first; 0 if it is trained already.")
    ] = 0,
    seed: Annotated[
        int, typer.Option(min=0, max=options.LARGEST_SEED, help="The same seed gives the same network.")
    ] = 0,
    shape: options.ShapeTexts = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    recording: groups.Recording,
) -> int:
    """Compress a network to a latency, which is measured in a paired comparison with the network itself.

    The same command goes on where it was stopped. Exit status 1: a target is not met; 4: it cannot be told.

    \b
    hwprof compress --list
    hwprof compress model.py:net --task model.py:task --check
    hwprof compress model.py:net --task model.py:task --target-ms 2.5 -o small/
    hwprof compress model.py:net --task model.py:task --target-share 70%
    hwprof compress model.onnx --task fashion:DIR --target-ms 1 --target-ms 2 --method magnitude
    hwprof compress model.onnx --calibration samples.npz --target-ms 5
    """
    from hwprof.cli import output, results

    if model is not None and calibration is not None and not show:
        _require_no_training(task, method)
        with results.measuring(recording, with_operators=False) as (opened, asked):
            from hwprof.compress.post_training import Settings as FileSettings
            from hwprof.jobs.compressing_files import compress_file

            found = compress_file(
                model, calibration, targets_ms=target_ms or (), target_shares=target_share or (),
                device=device, metric=metric, folder=out, store=opened, options=asked,
                shapes=options.shapes(shape), seed=seed, settings=FileSettings(max_error=max_error),
            )  # fmt: skip
        return _show(found, format)
    _require_no_outputs(metric, max_error)
    from hwprof.jobs import compressing

    if show:
        output.write_rows(compressing.methods(device), format)
        return 0
    if check and model is not None and task is not None:
        rows = compressing.check_gradients(model, task, device, out, options.shapes(shape), seed, output.note)
        output.write_rows(rows, format)
        return 0
    if model is None or task is None or not (target_ms or target_share):
        raise InputError(
            "give a MODEL, --task and --target-ms or --target-share; for an .onnx file without a task --calibration "
            "samples.npz in place of --task (or --list)"
        )
    with results.measuring(recording, with_operators=False) as (opened, asked):
        made = compressing.compress_all(
            model, task, targets_ms=target_ms or (), target_shares=target_share or (), device=device,
            method=method, folder=out, store=opened, settings=_settings(epochs, rate, train_epochs), options=asked,
            shapes=options.shapes(shape), seed=seed,
        )  # fmt: skip
    return _show(made, format)


def _require_no_training(task: str | None, method: str) -> None:
    if task is not None:
        raise InputError("--calibration compresses without training, --task with; give one of them")
    if method not in ("auto", "post_training"):
        raise InputError(f"method {method!r} needs --task; --calibration goes without a method")


def _require_no_outputs(metric: str | None, max_error: float | None) -> None:
    for option, value in (("--metric", metric), ("--max-error", max_error)):
        if value is not None:
            raise InputError(f"{option} judges outputs on samples; also give --calibration")


def _show(made: Sequence[Compressed], format: Format) -> int:  # noqa: A002 -- the option's name
    from hwprof.cli import output

    if format is Format.JSON:
        output.write_json([one.result.to_record() | _derived(one) for one in made])
    else:
        shortfalls = [one.result.shortfall for one in made]
        notes = [{"note": text} if any(shortfalls) else {} for text in shortfalls]
        output.write_rows([_row(one) | note for one, note in zip(made, notes, strict=True)], format)
        if format is not Format.CSV:
            _show_changes(made, format)
    return _status([one for one in made if one.met is not None])


def _show_changes(made: Sequence[Compressed], format: Format) -> None:  # noqa: A002 -- the option's name
    """A row for each layer that changed; the networks are told apart by their targets where there are several."""
    from hwprof.cli import output

    rows = [
        {
            "method": one.result.method,
            "target ms": "" if one.result.target.ms is None else f"{one.result.target.ms:.4g}",
            "layer": layer,
            "change": change,
        }
        for one in made
        for layer, change in one.result.changes.items()
    ]
    if rows:
        if format is Format.MD:
            sys.stdout.write("\n")
        output.write_rows(rows, format, "layers that changed")


def _settings(epochs: int, rate: float, train_epochs: int) -> Settings:
    from hwprof.compress.loop import TRAINING, TUNING, Settings

    first = replace(TRAINING, epochs=train_epochs) if train_epochs else None
    return Settings(tuning=replace(TUNING, epochs=epochs, rate=rate), first=first)


def _derived(one: Compressed) -> dict[str, object]:
    """Besides the record of the result."""
    return {"file": str(one.path), "output_error": one.result.output_error, "note": one.result.shortfall}


def _row(one: Compressed) -> dict[str, object]:
    from hwprof.report import results

    result = one.result
    latency = result.estimate(result.target.device)
    compared = result.measured[result.target.device]
    return {
        "method": result.method,
        "target ms": "" if result.target.ms is None else result.target.ms,
        "met": str(result.met or ""),
        "ms": "" if latency is None else f"{latency.median:.4g}",
        "95 % interval": results.interval_words(result),
        "evidence": result.evidence,
        "of baseline": f"{compared.ratio:.3f}",
        "verdict": compared.verdict,
        **_judged(result),
        "kB": f"{result.size_bytes / 1e3:.4g}",
        "file": str(one.path),
    }


def _judged(result: Result) -> dict[str, str]:
    from hwprof.report import quantity

    if (error := result.output_error) is not None:
        return {"error of outputs": f"{error:.2g}"}
    return {"metric": quantity.metric(result.metric), "baseline": quantity.metric(result.baseline_metric)}


def _status(made: Sequence[Compressed]) -> int:
    """1 where a target is missed. Raises NotConvergedError where that cannot be told."""
    from hwprof.cli import output
    from hwprof.compress.compressed import reached
    from hwprof.data.result import Met
    from hwprof.errors import NotConvergedError

    met = reached(made)
    if met is Met.CANNOT_TELL:
        raise NotConvergedError(
            "whether the target is met cannot be told: its interval covers the target; raise --budget"
        )
    if met is Met.NO:
        output.note("hwprof: the target is not met")
    return 0 if met is Met.YES else 1
