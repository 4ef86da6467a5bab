"""The CPU time of this process, and whether it is the work of the network that runs in it.

CPU time leaves out the time for which other programs had the core. It is the sum over all threads: some runtimes work
in a thread of their own even where they are asked for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns, process_time_ns, sleep

import numpy as np

from hwprof.measurement.samples import CpuTime

_STAT = Path("/proc/stat")
_TASKS = Path("/proc/self/task")
_TICKS_PER_S = 100  # of /proc/stat, on every architecture
_COARSEST_NS = 20_000  # a hundredth of a sample
_SLEEP_S = 0.002
_SLEEPS = 5
# In a sleep after a run of two spinning threads 0.5 CPUs were busy (0.1 to 1), without spinning 0.02 at most 0.04.
_SPINNING_CPUS = 0.1
_SLEEPING_SHARE = 0.05  # of a block's time, in which no thread ran or waited for a core

read_ns = process_time_ns


def tick_ns() -> int:
    """Smallest step that the clock shows."""
    stamps = [read_ns() for _ in range(200)]
    steps = np.diff(stamps)
    return int(steps[steps > 0].min(initial=1_000_000_000))


def spins(run: Callable[[], object], tries: int = _SLEEPS) -> bool:
    """Whether threads of this process are busy after a run has ended: in the median of `tries` runs."""
    if _threads() == 1:
        return False
    return float(np.median([_cpus_after(run) for _ in range(tries)])) > _SPINNING_CPUS


def _threads() -> int | None:
    try:
        return sum(1 for _ in _TASKS.iterdir())
    except OSError:
        return None


def _cpus_after(run: Callable[[], object]) -> float:
    run()
    cpu, wall = read_ns(), perf_counter_ns()
    sleep(_SLEEP_S)
    return (read_ns() - cpu) / (perf_counter_ns() - wall)


def wait_until_idle(limit_s: float = 0.05) -> None:
    """Sleeps until no thread of this process is busy: a runtime's threads spin for some ms after a run, and take
    the core of what runs next in another pool of threads. Returns after `limit_s` in any case."""
    end = perf_counter_ns() + limit_s * 1e9
    while perf_counter_ns() < end and _cpus_after(lambda: None) > _SPINNING_CPUS:
        pass


def kind(idle_shares: Sequence[float], is_spinning: bool) -> CpuTime:
    """idle_shares: for each block the share of its time in which no thread of the process ran or waited for a core."""
    if tick_ns() > _COARSEST_NS:
        return CpuTime.COARSE
    if is_spinning:
        return CpuTime.SPINNING
    return CpuTime.SLEEPING if idle_shares and np.median(idle_shares) > _SLEEPING_SHARE else CpuTime.WORK


class OtherLoad:
    """The load by other programs since it was made."""

    def __init__(self) -> None:
        self._busy, self._own, self._wall = _busy_ns(), read_ns(), perf_counter_ns()

    def cpus(self) -> float | None:
        """How many CPUs other programs kept busy, on average; None where the system does not tell."""
        busy, own, wall = _busy_ns(), read_ns(), perf_counter_ns()
        if busy is None or self._busy is None:
            return None
        return max(0.0, (busy - self._busy - own + self._own) / (wall - self._wall))


def _busy_ns() -> int | None:
    """The time for which the machine's CPUs were busy so far, all of them together."""
    try:
        fields = _STAT.read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _idle, _iowait, irq, soft_irq = map(int, fields[:7])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft_irq) * (10**9 // _TICKS_PER_S)
