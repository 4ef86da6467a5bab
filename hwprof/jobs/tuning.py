"""Tuning: the search for fast kernels, in a process of its own, for backends that can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import TuningProgress
from hwprof.measure import cores
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.measure.worker_process import WorkerProcess


def tune(
    graph: Graph,
    device: Device,
    trials: int,
    budget_s: float,
    build: int = 0,
    on_progress: Callable[[TuningProgress], None] = lambda _progress: None,
) -> TuningProgress:
    """Searches for fast kernels of one network and keeps what it finds; the same call goes on after an interruption.

    Returns how far the build has come. Raises InputError for a backend that has nothing to tune.
    """
    if trials < 1 or budget_s <= 0:
        raise InputError(f"give at least one trial and more than 0 s, not {trials} and {budget_s:g}")
    reached = None
    with nullcontext() if device.remote else machine_to_ourselves(), WorkerProcess(cores.choose(device)) as worker:
        answers = worker.ask(
            "tune", device=device.to_record(with_address=True), graph=graph.to_json(),
            trials=trials, budget_s=budget_s, build=build,
        )  # fmt: skip
        for answer in answers:
            reached = TuningProgress(**answer)
            on_progress(reached)
    assert reached is not None  # a search yields at least where it stands
    return reached
