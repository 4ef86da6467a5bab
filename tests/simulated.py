"""Processes of a network whose undisturbed latency is known, on a machine that other programs use or not."""

from __future__ import annotations

import numpy as np

from hwprof.measurement.estimate import Baseline
from hwprof.measurement.samples import CpuTime, Process, TimedBlock
from tests.samples import make_process

TRUE_NS = 1_000_000
ANCHORS = Baseline({"compute": 200_000.0, "copy": 100_000.0}, {"compute": 200_000.0, "copy": 100_000.0}, True)


def simulated(
    rng: np.random.Generator, round_number: int, cpu_share: float = 1.0, network_ns: float = TRUE_NS
) -> Process:
    """A process on a core of which it gets `cpu_share`, whose caches others use: the process, each block and, much
    more, the time of waiting differ at random."""
    process, load = rng.normal(0, 0.006), 1 / cpu_share - 1
    blocks = []
    for i in range(6):
        cache = 1 + rng.exponential(0.04) * (load > 0)
        wait = 1 + rng.exponential(load)
        cpu_ns = network_ns * cache * np.exp(process + rng.normal(0, 0.01, 10))
        anchors_cpu_ns = {name: ns * cache * np.exp(rng.normal(0, 0.01)) for name, ns in ANCHORS.cpu_ns.items()}
        block = TimedBlock(
            start_ns=i * 10**8,
            samples_ns=tuple((cpu_ns * wait).round().astype(int).tolist()),
            anchors_ns={name: ns * (1 + rng.exponential(load)) for name, ns in anchors_cpu_ns.items()},
            rejected="preempted" if wait > 1.01 else "",
            cpu_samples_ns=tuple(cpu_ns.round().astype(int).tolist()),
            anchors_cpu_ns=anchors_cpu_ns,
        )
        blocks.append(block)
    return make_process(round_number, [], blocks=tuple(blocks), cpu_time=CpuTime.WORK, other_cpus=load)


def session(seed: int, n: int, cpu_share: float = 1.0) -> list[Process]:
    rng = np.random.default_rng(seed)
    return [simulated(rng, i, cpu_share) for i in range(n)]
