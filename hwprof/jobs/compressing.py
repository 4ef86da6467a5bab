"""Compressing: makes a network small enough for a latency that is measured, by one method or all that fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hwprof import plugins, tasks
from hwprof.compress import gradient_ratio
from hwprof.compress.compressed import Compressed
from hwprof.compress.compressed import reached as reached
from hwprof.compress.loop import Job, OutOfReachError, Settings, prepare
from hwprof.compress.loop import compress as compress_by
from hwprof.compress.method import load, result_of
from hwprof.compress.networks import kernels_for, open_network
from hwprof.compress.screening import screened
from hwprof.data.result import Met, relative_ms, share_of
from hwprof.data.store import DEFAULT_PATH
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError, NotConvergedError
from hwprof.interfaces import Task
from hwprof.jobs.inputs import StoreLike, device_of, opened
from hwprof.measure.recording import Options
from hwprof.workloads.loading import Shapes

AUTO = "auto"
DEFAULT_FOLDER = Path("compressed")


def compress(
    network: object,
    task: Task | str,
    *,
    target_ms: float | None = None,
    target_share: str | None = None,
    device: Device | str = "cpu-1t",
    method: str = AUTO,
    folder: Path | str = DEFAULT_FOLDER,
    store: StoreLike = DEFAULT_PATH,
    settings: Settings | None = None,
    options: Options | None = None,
    shapes: Shapes | None = None,
    seed: int = 0,
) -> Compressed:
    """The network that reaches the latency with the best metric; where none does, the fastest.

        made = hp.compress(net, task, target_ms=2.5, device="cpu-1t")
        print(made.met, made.result.metric)
        made.save("small.onnx")

    network: a torch.nn.Module, a Graph, an .onnx file, a workload, or file.py:factory. target_share: in place of
    target_ms a share of the network's own measured latency, such as "70%". method: the name of one, or "auto" for all
    that fit. Raises as `compress_all`, and InputError unless exactly one target is given.
    """
    if (target_ms is None) == (target_share is None):
        raise InputError('compression needs one target: target_ms, such as 2.5, or target_share, such as "70%"')
    made = compress_all(
        network, task, targets_ms=[] if target_ms is None else [target_ms],
        target_shares=[] if target_share is None else [target_share],
        device=device, method=method, folder=folder, store=store, settings=settings, options=options, shapes=shapes,
        seed=seed,
    )  # fmt: skip
    return best(made)


def compress_all(
    network: object,
    task: Task | str,
    *,
    targets_ms: Sequence[float] = (),
    target_shares: Sequence[str] = (),
    device: Device | str = "cpu-1t",
    method: str = AUTO,
    folder: Path | str = DEFAULT_FOLDER,
    store: StoreLike = DEFAULT_PATH,
    settings: Settings | None = None,
    options: Options | None = None,
    shapes: Shapes | None = None,
    seed: int = 0,
) -> list[Compressed]:
    """A network for each method and target: the front of metric against latency. With "auto" a method that does not fit
    the network, or cannot reach a target, is told and left out; a named one gives its fastest network. target_shares:
    more targets, as shares of the network's own measured latency, such as "70%".

    Raises InputError without a target, for a network or task that does not fit, and the gravest of the methods' errors
    where no method gives a network: where targets are out of reach that of the method which comes nearest.
    """
    if not (targets_ms or target_shares):
        raise InputError("compression needs a target; give --target-ms or --target-share")
    shares = [share_of(text) for text in target_shares]
    place, chosen = Path(folder), device_of(device)
    wanted = tasks.load(task) if isinstance(task, str) else task
    methods = plugins.names("method") if method == AUTO else [method]
    load(methods[0])  # an unknown one is told before a training
    place.mkdir(parents=True, exist_ok=True)
    with opened(store, options) as (_, kept, asked):
        opened_network = open_network(network, wanted, chosen, place, shapes, seed, asked.on_note)
        asked.warn_of([opened_network.graph])
        job = prepare(opened_network, wanted, chosen, kept, place, settings=settings, options=asked, seed=seed)
        wanted_ms = [*targets_ms, *(relative_ms(share, job.baseline_alone) for share in shares)]
        return _made(job, methods if method != AUTO else _fitting(job, methods), wanted_ms, goes_on=method == AUTO)


def best(made: Sequence[Compressed]) -> Compressed:
    """The network with the best metric among those that meet their target, else the fastest."""
    met = [one for one in made if one.met is Met.YES]
    return max(met, key=lambda one: one.result.score) if met else min(made, key=_latency_ms)


def methods(device: Device | str = "cpu-1t") -> list[Mapping[str, str]]:
    """The installed methods: their names, needs, kinds of result and papers, and whether the device has kernels for
    these."""
    found, chosen = [load(name) for name in plugins.names("method")], device_of(device)
    return [
        {
            "method": m.name, "needs": ", ".join(sorted(m.needs)), "result": result_of(m) or "unknown",
            f"kernels on {chosen.name}": kernels_for(result_of(m), chosen), "paper": m.paper,
        }
        for m in found
    ]  # fmt: skip


def _fitting(job: Job, names: Sequence[str]) -> list[str]:
    """The methods that can make the network faster. Raises InputError where none can."""
    fitting, left_out = screened(job, names)
    for one in left_out:
        job.tell(f"{one.name}: left out: {one.reason}")
    if not fitting:
        raise InputError(
            f"no method can make {job.network.graph.name!r} faster on {job.device.name}; name one to run it "
            "nevertheless (--method)"
        )
    return fitting


def check_gradients(
    network: object,
    task: Task | str,
    device: Device | str = "cpu-1t",
    folder: Path | str = DEFAULT_FOLDER,
    shapes: Shapes | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Mapping[str, str]]:
    """Whether gradients keep their size in a training with binary weights, before it is started: a row for the
    unchanged weights, for their signs alone, and for signs with a step for each output, as the methods here have them.

    Raises InputError for a network or task that does not fit, and for a network with fewer than two layers.
    """
    place, wanted = Path(folder), tasks.load(task) if isinstance(task, str) else task
    place.mkdir(parents=True, exist_ok=True)
    opened_network = open_network(network, wanted, device_of(device), place, shapes, seed, tell)
    return [gradient_ratio.row(opened_network, weights, seed) for weights in gradient_ratio.WEIGHTS]


def _made(job: Job, methods: Sequence[str], targets_ms: Sequence[float], goes_on: bool) -> list[Compressed]:
    made, errors = [], []
    for target_ms in targets_ms:
        for name in methods:
            try:
                made.append(compress_by(job, name, target_ms, must_reach=goes_on))
            except (InputError, NotConvergedError) as error:
                if not goes_on:
                    raise
                errors.append(error)
                job.tell(f"{name}, {target_ms:g} ms: left out: {error}")
    if not made:
        raise _gravest(errors)
    return made


def _gravest(errors: Sequence[HwprofError]) -> HwprofError:
    def rank(error: HwprofError) -> tuple[int, float]:
        return error.exit_status, -error.least_ms if isinstance(error, OutOfReachError) else -math.inf

    return max(errors, key=rank)


def _latency_ms(one: Compressed) -> float:
    latency = one.result.estimate(one.result.target.device)
    return float("inf") if latency is None else latency.median
