"""Analytic latency: each operator takes as long as its multiplications or its bytes, plus a launch.

Williams, Waterman & Patterson, "Roofline", CACM 52(4), 2009. It needs no hardware and is not a measurement. With the
noise options it simulates a machine with differing processes and runs, on which statistics can be tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hwprof import cost
from hwprof.backends import options
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measurement import Evidence, OperatorTime


@dataclass(frozen=True, slots=True)
class Options:
    """Peaks of the modelled device. `noise` and `process_noise` are standard deviations of the logarithm: of each run,
    and of the speed of the whole process, which has the number `process` (`options.process_number`)."""

    peak_macs_per_s: float
    peak_bytes_per_s: float
    launch_ns: float = 0.0
    noise: float = 0.0
    process_noise: float = 0.0
    process: int = -1
    seed: int = 0


class RooflineTimer:
    """`operator_times`: the analytic times; `rng` draws each run's noise."""

    clock = "calculation"

    def __init__(self, operator_times: Sequence[OperatorTime], noise: float, rng: np.random.Generator) -> None:
        self._operators = operator_times
        self._total_ns = sum(o.ns for o in operator_times)
        self._noise = noise
        self._rng = rng
        self.profiled_ns = self._total_ns  # nothing runs, so nothing is slowed down

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        runs = self._total_ns * np.exp(self._noise * self._rng.standard_normal(n))
        return [max(1, round(ns)) for ns in (runs if each else [runs.sum()])]

    def operators(self, n: int) -> Sequence[OperatorTime]:  # noqa: ARG002 - the protocol's; the times are exact
        return self._operators


class RooflineBackend:
    """Runs nothing."""

    evidence = Evidence.ANALYTIC

    def versions(self) -> Mapping[str, str]:
        return {}

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[RooflineTimer]:
        """Raises InputError for a bad option and UnknownOperatorError for an operator without a cost."""
        chosen = options.read(Options, device)
        options.require_float32(device)
        options.require_onnx(graph, device)
        if min(chosen.peak_macs_per_s, chosen.peak_bytes_per_s) <= 0 or chosen.launch_ns < 0:
            raise InputError(f"device {device.name!r}: peaks must be > 0 and launch_ns >= 0")
        process = options.process_number(chosen.process)
        rng = np.random.default_rng([chosen.seed, process, int(graph.digest, 16)])
        speed = float(np.exp(chosen.process_noise * rng.standard_normal()))
        yield RooflineTimer(operator_times(graph, chosen, speed), chosen.noise, rng)


def operator_times(graph: Graph, peaks: Options, slowdown: float = 1.0) -> tuple[OperatorTime, ...]:
    """The time of each live operator, ns. Raises UnknownOperatorError."""
    live = graph.live()
    times = []
    for node, work in zip(live.nodes, cost.of_nodes(live), strict=True):
        busy_s = max(work.macs / peaks.peak_macs_per_s, work.moved_bytes / peaks.peak_bytes_per_s)
        name = node.label
        times.append(OperatorTime(name, node.op, (peaks.launch_ns + busy_s * 1e9) * slowdown, (name,)))
    return tuple(times)


BACKEND = RooflineBackend()
