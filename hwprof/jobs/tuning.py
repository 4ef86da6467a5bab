"""Tuning: the search for fast kernels, in a process of its own, for backends that can tune."""

from __future__ import annotations

from collections.abc import Callable

from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.interfaces import TuningProgress
from hwprof.jobs.inputs import device_of
from hwprof.measure.hold import held
from hwprof.measure.transport import LimitedTransport, Transport, understood
from hwprof.measure.worker_process import LOCAL
from hwprof.onnx_io import GivenInputs, as_texts
from hwprof.workloads.loading import Shapes, load_network

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
    shapes: Shapes | None = None,
    inputs: GivenInputs | None = None,
    transport: Transport = LOCAL,
    limit_s: float = STEP_LIMIT_S,
) -> TuningProgress:
    """Searches for fast kernels of one network and keeps what it finds; the same call continues after an interruption.

    `build` numbers independent searches. `limit_s` is the most that one step of a search may take. Returns how far the
    build has come. shapes, inputs: as `profile` takes them. Raises InputError for a backend that has nothing to tune,
    DeviceLostError when its worker is lost.
    """
    if trials < 1 or budget_s <= 0:
        raise InputError(f"tuning needs at least one trial and more than 0 s, not {trials} and {budget_s:g} s")
    chosen = device_of(device)
    with temporary_folder() as folder:
        graph = load_network(model, shapes, inputs=as_texts(inputs, folder))
        return _tuned(graph, chosen, LimitedTransport(transport, limit_s), on_progress, trials, budget_s, build)


def _tuned(
    graph: Graph,
    device: Device,
    transport: Transport,
    on_progress: Callable[[TuningProgress], None],
    trials: int,
    budget_s: float,
    build: int,
) -> TuningProgress:
    with held(transport, device) as alone, alone.open(device) as worker:
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
