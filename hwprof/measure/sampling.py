"""Runs a timer and reads the wall clock and the CPU clock around its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hwprof.interfaces import Timer
from hwprof.measure import cpu_time

CPU_SAMPLE_NS = 2_000_000  # of a CPU time: reading its clock takes 0.7 us, and calling the timer 2 us


@dataclass(frozen=True, slots=True)
class Samples:
    """ns: times of `runs` inferences each, by the timer's clock. cpu_ns: CPU times of the same inferences, `cpu_runs`
    each."""

    ns: Sequence[int]
    runs: int = 1
    cpu_ns: Sequence[int] = field(default=())
    cpu_runs: int = 1


def averaged(timer: Timer, runs: int, count: int) -> Samples:
    """`count` samples of `runs` inferences, stamped only at both ends: ns and cpu_ns are [count]."""
    ns, cpu_ns = [0] * count, [0] * count
    for i in range(count):
        start = cpu_time.read_ns()
        ns[i] = sum(timer(runs, each=False))
        cpu_ns[i] = cpu_time.read_ns() - start
    return Samples(ns, runs, cpu_ns, runs)


def stamped(timer: Timer, group: int, count: int) -> Samples:
    """A sample for each of `count` groups of `group` inferences, a CPU time for each group: ns is [count * group],
    cpu_ns [count]."""
    ns: list[int] = []
    cpu_ns = [0] * count
    for i in range(count):
        start = cpu_time.read_ns()
        ns += timer(group)
        cpu_ns[i] = cpu_time.read_ns() - start
    return Samples(ns, 1, cpu_ns, group)
