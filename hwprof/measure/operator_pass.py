"""Times the kernels of a network in a pass of their own, in a worker that measures nothing else: profiling slows a
network down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measure.transport import RestartedWorker, Transport, Worker, ask_once, understood
from hwprof.measurement import OperatorTime

PASSES = 6  # of networks in turns; their range bounds the median of a time with 97 % confidence
_RUNS_IN_TURNS = 20  # of each of these passes
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


def passes_in_turns(
    graphs: Sequence[Graph], device: Device, transport: Transport, on_pass: Callable[[int], None] = lambda _number: None
) -> list[tuple[OperatorPass, ...]]:
    """`PASSES` passes of each graph, in turns, each in a process of its own: [n_passes][n_graphs]. on_pass: gets the
    number of each round, from 1. Raises as `time_operators`."""
    rounds = []
    for number in range(1, PASSES + 1):
        on_pass(number)
        rounds.append(tuple(_in_fresh_process(graph, device, transport) for graph in graphs))
    return rounds


def _in_fresh_process(graph: Graph, device: Device, transport: Transport) -> OperatorPass:
    with RestartedWorker(transport, device) as worker:
        return time_operators(graph, device, _RUNS_IN_TURNS, worker)


def runs_for(latency_ms: float) -> int:
    """How often to run a network of the given latency: for half a second, at least 5 times."""
    return int(np.clip(_PASS_NS / (latency_ms * 1e6), 5, _MOST_RUNS))
