"""`hwprof search`: the best network of a space within a measured latency."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format
from hwprof.errors import InputError

if TYPE_CHECKING:
    from hwprof.data.result import Result
    from hwprof.jobs.searching import Found


@dataclass(frozen=True, slots=True)
class SearchRecording(groups.Recording):
    """How precisely finalists are measured: --budget is the number of architectures here."""

    budget_option: ClassVar[str] = "--measure-budget"

    budget: Annotated[float, typer.Option("--measure-budget", help="Seconds per measurement.")] = 60.0


@groups.expanded
def search(
    space: options.OptionalSpaceReference = None,
    *,
    target_ms: Annotated[float | None, typer.Option("--target-ms", help="The latency allowed on the device.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Show the strategies, what each needs, and its paper.")] = False,
    score: Annotated[
        str | None,
        typer.Option(
            help="table:FILE[:COLUMN]; or a function of architectures: package.module:OBJECT or FILE.py:OBJECT; or, "
            "with --task, supernet:REFERENCE to a trained supernet."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Score by a short training on this task, or by a supernet.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How many epochs each training has, with --task.")] = None,
    device: options.DeviceName = "cpu-1t",
    strategy: Annotated[str, typer.Option(help="One of --list, or auto.")] = "auto",
    evaluations: Annotated[int, typer.Option("--budget", "-n", help="How many architectures are scored.")] = 50,
    latency: Annotated[
        Path | None,
        typer.Option(
            help="A predictor (.hwp) or table that refuses networks before they are scored. By default candidates are "
            "measured, later ones only where the first do not tell whether they are within the target."
        ),
    ] = None,
    confidence: Annotated[
        str, typer.Option(help="How sure it must be that a network is within the target, where that is predicted.")
    ] = "95%",
    variant: options.WeightlessVariantSpec = None,
    finalists: Annotated[int, typer.Option(help="How many of the best networks are measured at once.")] = 3,
    workers: Annotated[int, typer.Option(help="Processes that score at once.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=options.LARGEST_SEED, help="Decides all that is drawn.")] = 0,
    recording: SearchRecording,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Find the best network of a space within a measured latency.

    The best networks are measured in pairs with the first one that was scored; the winner is the best of those whose
    measured latency is within the target. Scores are kept in the store, and a search that was killed goes on.

    \b
    hwprof search --list
    hwprof search --space nasbench201 --score table:accuracy.csv --latency nb201.hwp --target-ms 8
    hwprof search --space mine.py:SPACE --task digits --target-ms 0.2 --budget 30 --fast
    """
    from hwprof.cli import output, progress, results
    from hwprof.jobs import searching

    if show:
        output.write_rows(searching.strategies(), format)
        return 0
    if space is None or target_ms is None:
        raise InputError("give --space and --target-ms (or --list)")
    share = options.share(confidence, "--confidence")
    with (
        results.measuring(recording) as (opened, asked),
        progress.steps(evaluations, "evaluations") as on_step,
    ):
        found = searching.search(
            space, score, device, task=task, target_ms=target_ms, strategy=strategy, evaluations=evaluations,
            latency=latency, confidence=share, variant=variant or "", epochs=epochs, finalists=finalists,
            workers=workers, seed=seed, store=opened, options=asked, on_trial=lambda _trial: on_step(),
        )  # fmt: skip
    if format is Format.JSON:
        output.write_json(_record(found))
    else:
        output.write_rows([_row(result, result == found.winner) for result in found.finalists], format)
    return _status(found, target_ms)


def _record(found: Found) -> dict[str, object]:
    searched = found.searched
    return {
        "winner": found.winner.to_record() if found.winner else None,
        "finalists": [result.to_record() for result in found.finalists],
        "trials": [
            {"arch": list(trial.arch), "score": trial.score, "latency_ms": trial.latency_ms}
            for trial in (searched.trials if searched else ())
        ],
        "refused": searched.refused if searched else None,
    }


def _row(result: Result, is_winner: bool) -> dict[str, object]:
    from hwprof.report import results

    latency = result.estimate(result.target.device)
    return {
        "architecture": "-".join(map(str, result.choices["arch"])),
        "score": f"{result.metric:.4g}",
        "searched ms": f"{result.table_ms:.4g}",
        "paired ms": f"{latency.median:.4g}" if latency else "none",
        "evidence": result.evidence,
        "95 % interval": results.interval_words(result),
        "target met": str(result.met) if result.met else "",
        "winner": "yes" if is_winner else "",
    }


def _status(found: Found, target_ms: float) -> int:
    from hwprof.cli import output

    if found.searched is None:
        output.note("from the store; --fresh searches again")
    else:
        output.note(f"{len(found.searched.trials)} architectures scored, {found.searched.refused} refused")
    if found.winner is None:
        output.note(f"hwprof: none of the {len(found.finalists)} finalists is within {target_ms:g} ms for certain")
        return 1
    return 0
