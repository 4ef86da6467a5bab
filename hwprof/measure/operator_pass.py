"""Times the kernels of a network in a pass of their own, in a worker that measures nothing else: profiling slows a
network down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measure.transport import Worker, ask_once, understood
from hwprof.measurement import OperatorTime

_PASS_NS = 500_000_000
_MOST_RUNS = 500


@dataclass(frozen=True, slots=True)
class OperatorPass:
    """The kernels that the runtime executed (none where it cannot tell), the latency of the profiled runs, ns (None
    where the runtime does not show it), the architecture of the worker's machine, such as x86_64, and the kernels whose
    results had no elements, as far as the runtime tells."""

    kernels: tuple[OperatorTime, ...]
    profiled_ns: float | None
    machine: str
    idle: tuple[str, ...] = ()


def time_operators(graph: Graph, device: Device, runs: int, worker: Worker) -> OperatorPass:
    """Times each kernel over this many profiled runs. Raises what the runtime raises."""
    answer = ask_once(worker, "operators", device=device.to_record(with_address=True), graph=graph.to_json(), runs=runs)
    with understood("operators"):
        kernels = tuple(OperatorTime(**{**o, "members": tuple(o["members"])}) for o in answer["operators"])
        return OperatorPass(kernels, answer["profiled_ns"], answer["machine"], tuple(answer.get("idle", ())))


def runs_for(latency_ms: float) -> int:
    """How often to run a network of the given latency: for half a second, at least 5 times."""
    return int(np.clip(_PASS_NS / (latency_ms * 1e6), 5, _MOST_RUNS))
