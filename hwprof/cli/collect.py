"""`hwprof collect`: measures architectures of a search space and writes them as a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.device import Device
from hwprof.errors import InputError, NotConvergedError

if TYPE_CHECKING:
    from hwprof.jobs.collecting import Collected
    from hwprof.measurement import ProtocolSettings


def collect(
    space: Annotated[
        str | None,
        typer.Option("--space", "-s", help="The search space: a name, package.module:OBJECT or file.py:OBJECT."),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(help="generic: operators and networks of many styles, to predict any network from."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Number of networks; with --until, the maximum.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="mape=5%", help="Measure until a predictor's cross-validated error is below this."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Measure until the time is up; the same command goes on for as long again.")
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="With --sample: your own .onnx files, and parts of them; repeatable."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            "-d",
            help="A device's name or .toml file; see hwprof devices. By default cpu-1t, or each of the fleet.",
        ),
    ] = None,
    variant: options.WeightlessVariantSpec = None,
    input: options.InputTexts = None,  # noqa: A002 -- the option's name
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The data set's folder; latency_data/SPACE-DEVICE by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=options.LARGEST_SEED, help="Decides which networks are drawn.")] = 0,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    store: options.StorePath = Path("hwprof.db"),
    fresh: options.Fresh = False,
    target: options.Target = "3%",
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds per network after which to stop; 10, or 1 with --minutes: many count more."),
    ] = None,
    time_limit: options.TimeLimitS = None,
    wait: options.WaitS = 0.0,
    fleet: options.FleetFile = None,
    allow_unfit: options.AllowUnfit = False,
) -> int:
    """Measure networks of a search space as a data set.

    Runs one sweep with the fast protocol. After an interruption, the same command continues it.

    \b
    hwprof collect --space nasbench201 --n 100
    hwprof collect --space darts --variant int8 --n 300
    hwprof collect --space ofa_mbv3 --until mape=5%
    hwprof collect --sample generic --minutes 15 --device cpu-1t
    hwprof collect --sample generic --minutes 15 --models my-models
    hwprof collect --space darts --n 5000 --fleet fleet.toml
    """
    from hwprof import jobs, plugins
    from hwprof.cli import output, progress, results

    with plugins.optional_library("hwprof collect"):
        from hwprof.jobs import collecting

    if n is None and until is None and minutes is None:
        raise InputError("give --n, the number of networks, --minutes, or --until mape=5%")
    if models and sample is None:
        raise InputError("--models goes with --sample generic")
    if (space is None) == (sample is None):
        raise InputError("give either --space, or --sample generic")
    default_s = 10.0 if minutes is None else 1.0
    budget_s = default_s if budget is None else budget
    target_mape, settings = _target_mape(until), options.fast_settings(target, budget_s)
    shown = n or (collecting.MOST_UNTIL if minutes is None else round(60 * minutes / (2 * budget_s)))
    places = [Device.load(place) for place in options.devices(device, fleet)]
    if out is not None and len(places) > 1:
        raise InputError(f"--out is the folder of one data set, and {len(places)} devices make as many; give --device")
    asked = jobs.Options(
        settings, allow_unfit, fresh, on_note=output.note, limit_s=options.time_limit(time_limit), wait_s=wait,
    )  # fmt: skip
    with (
        results.on_fleet(fleet, asked) as changed,
        progress.sweeps([place.name for place in places], shown, settings) as on_progress,
    ):
        found = collecting.collect_each(
            space or sample or "", places, n, until_mape=target_mape, minutes=minutes, models=models or (),
            variant=variant or "", out=out, seed=seed, inputs=options.inputs(input), store=store,
            options=changed, on_progress=on_progress,
        )  # fmt: skip
    return _tell(found, settings, target_mape, format, requires_target=minutes is None)


def _tell(
    every: Sequence[Collected], settings: ProtocolSettings, target_mape: float | None, format: Format,  # noqa: A002
    *, requires_target: bool,
) -> int:  # fmt: skip
    """The exit status, after the data sets are shown. requires_target: whether networks of less precision are a
    failure; in a given time many networks count more than the precision of each. Raises NotConvergedError where a
    target of the error was missed."""
    _show(every, format)
    statuses = [0]
    for found in every:
        unconverged = _tell_unconverged(found, settings)
        if target_mape is not None and (found.error is None or found.error.high > target_mape):
            raise NotConvergedError(_missed(found, target_mape))
        statuses += [o.error.exit_status for o in found.failed if o.error]
        statuses += [NotConvergedError.exit_status] if unconverged and requires_target else []
    return max(statuses)


def _target_mape(until: str | None) -> float | None:
    """Percent."""
    if until is None:
        return None
    figure, _, value = until.partition("=")
    if figure != "mape":
        raise InputError(f"--until {until!r} is not of the form mape=5%")
    return 100 * options.share(value, "--until mape")


def _tell_unconverged(found: Collected, settings: ProtocolSettings) -> int:
    """The number of networks whose measurement missed its target, which is said."""
    from hwprof.cli import output

    missed = Counter(e.status for e in found.dataset.entries if e.status not in ("", "converged"))
    if missed:
        causes = ", ".join(f"{n} {status}" for status, n in missed.most_common())
        output.note(
            f"hwprof: {missed.total()} of {len(found.dataset.entries)} networks did not converge to "
            f"{100 * settings.target:.4g}% ({causes}); the data set holds them; raise --budget or --target, or stop "
            "other programs, and repeat with --fresh"
        )
    return missed.total()


def _missed(found: Collected, target_mape: float) -> str:
    reached = "not known yet" if found.error is None else f"{found.error.mape:.1f} % (up to {found.error.high:.1f})"
    return f"the error must be below {target_mape:g} %, it is {reached}; raise --n above {len(found.dataset.entries)}"


def _show(every: Sequence[Collected], format: Format) -> None:  # noqa: A002 -- the option's name
    from hwprof.cli import data, output

    data.write_summaries([_summary(found) for found in every], format)
    for found in every:
        for outcome in found.failed:
            output.note(f"hwprof: {outcome.graph.name}: {outcome.error}")


def _summary(found: Collected) -> dict[str, Any]:
    from hwprof.data.summary import summarize

    error = found.error
    return summarize(found.dataset) | {
        "failed": len(found.failed),
        "mape": None if error is None else error.mape,
        "mape_high": None if error is None else error.high,
    }
