"""Tuning: the search for fast kernels, in a process of its own, for backends that can tune."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.graph import Graph
from hwprof.interfaces import TuningProgress
from hwprof.jobs.inputs import Opening, device_of, networks
from hwprof.measure.hold import held
from hwprof.measure.recording import Options
from hwprof.measure.transport import LimitedTransport, Transport, understood
from hwprof.measure.worker_process import LOCAL

TRIALS = 1000
BUDGET_S = 86400.0
STEP_LIMIT_S = 3600.0  # a step builds and times dozens of kernels


def tune(
    model: object,
    device: Device | str = "tvm-1t",
    trials: int = TRIALS,
    budget_s: float = BUDGET_S,
    build: int = 0,
    on_progress: Callable[[TuningProgress], None] = lambda _progress: None,
    *,
    transport: Transport = LOCAL,
    limit_s: float = STEP_LIMIT_S,
    **opening: Unpack[Opening],
) -> TuningProgress:
    """Searches for fast kernels of one network and keeps what it finds; the same call continues after an interruption.

    `build` numbers independent searches. `limit_s` is the most that one step of a search may take. Returns how far the
    build has come. model, opening: as `profile` takes them. Raises InputError for a backend that has nothing to tune,
    DeviceLostError when its worker is lost.
    """
    chosen = device_of(device)
    with networks([model], Options(), **opening) as (graph,):
        return tune_graph(graph, chosen, trials, budget_s, build, on_progress, transport=transport, limit_s=limit_s)


def tune_graph(
    graph: Graph,
    device: Device,
    trials: int,
    budget_s: float,
    build: int,
    on_progress: Callable[[TuningProgress], None],
    *,
    transport: Transport = LOCAL,
    limit_s: float = STEP_LIMIT_S,
) -> TuningProgress:
    """Searches as `tune` does, for a network that is open."""
    if trials < 1 or budget_s <= 0:
        raise InputError(f"tuning needs at least one trial and more than 0 s, not {trials} and {budget_s:g} s")
    with held(LimitedTransport(transport, limit_s), device) as alone, alone.open(device) as worker:
        answers = worker.ask(
            "tune", device=device.to_record(with_address=True), graph=graph.to_json(),
            trials=trials, budget_s=budget_s, build=build,
        )  # fmt: skip
        reached = None
        for answer in answers:
            with understood("tune"):
                reached = TuningProgress(**answer)
            on_progress(reached)
    if reached is None:  # a search yields at least once: where it begins
        raise DeviceLostError("the worker's answer to 'tune' is not hwprof's: it holds nothing")
    return reached
