"""`hwprof tune`: searches for fast kernels of networks, on runtimes that can tune."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from hwprof.interfaces import TuningProgress

_A_DAY_S = 86400.0
_AN_HOUR_S = 3600.0
_MORE = "raise --trials or --budget"


@groups.expanded
def tune(
    models: options.Models,
    *,
    device: options.DeviceName = "tvm-1t",
    networks: groups.Networks,
    trials: Annotated[
        int, typer.Option(help="Schedules to try for each build of a network, earlier runs included.")
    ] = 1000,
    budget: Annotated[
        float, typer.Option("--budget", help="Seconds per build and run after which to stop.")
    ] = _A_DAY_S,
    builds: Annotated[
        int,
        typer.Option(
            help="Number of independent searches; measurements use all of them, which averages out their luck."
        ),
    ] = 1,
    time_limit: Annotated[
        float, typer.Option("--time-limit", help="Seconds that one step of a search may take.")
    ] = _AN_HOUR_S,
    fleet: options.FleetFile = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Search for fast kernels of networks.

    Keeps the kernels in ./hwprof.tuning (or $HWPROF_TUNING), where every measurement on the device finds them. After an
    interruption, the same command continues.

    \b
    hwprof tune mobilenet_v2 --trials 2000
    hwprof tune model.onnx --device raspberry-pi-4-tvm --budget 3600
    hwprof tune resnet18 --builds 3
    hwprof tune net.py:net --shape x=1,3,224,224
    """
    from hwprof import jobs
    from hwprof.cli import output, progress, results
    from hwprof.device import Device
    from hwprof.errors import InputError, NotConvergedError
    from hwprof.jobs.inputs import networks as opened_networks
    from hwprof.jobs.tuning import tune_graph

    if builds < 1:
        raise InputError(f"--builds must be at least 1, not {builds}")
    chosen, limit_s = Device.load(device), options.positive(time_limit, "--time-limit")
    options.positive(budget)
    rows = []
    with (
        results.on_fleet(fleet, jobs.Options(on_note=output.note, on_warning=output.warn)) as place,
        opened_networks(models, place, **networks.opening) as graphs,
    ):
        for graph, build in product(graphs, range(builds)):
            with progress.trials(f"{graph.name} build {build}", trials) as show:
                reached = tune_graph(
                    graph, chosen, trials, budget, build, show, transport=place.transport, limit_s=limit_s
                )  # fmt: skip
            rows.append({"model": graph.name, "device": chosen.name, "build": build, **_row(reached)})
            if reached.tuned < reached.kernels:
                untuned = reached.kernels - reached.tuned
                output.warn(
                    f"{graph.name}: {untuned} of {reached.kernels} kernels have no schedule yet; raise --trials"
                )
    output.write_rows(rows, format)
    fruitless = dict.fromkeys(str(row["model"]) for row in rows if not row["tuned"])
    for model in fruitless:
        output.note(f"hwprof: {model}: no schedule that runs was found, so it is measured untuned; {_MORE}")
    return NotConvergedError.exit_status if fruitless else 0


def _row(reached: TuningProgress) -> dict[str, object]:
    return {
        "trials": reached.trials,
        "seconds": round(reached.seconds, 1),
        "kernels": reached.kernels,
        "tuned": reached.tuned,
        "sum of kernels ms": None if reached.best_ms is None else round(reached.best_ms, 4),
    }
