"""Causes for which a block does not count: waiting for a core, stolen time, a changed clock, throttling.

Only causes reject, never the latency itself: a filter by value would shorten the tail that users feel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwprof.measurement import DeviceState, TimedBlock
from hwprof.measurement.estimate import WAITED

_CPU = Path("/sys/devices/system/cpu")
_PROC = Path("/proc")
_WAIT_SHARE = 0.01  # of the block's wall time, spent runnable without a core
_CLOCK_SHARE = 0.03
# Two threads alone on two cores waited for each other in 33 to 80 % of their blocks; the system kept 0.03 CPUs busy.
_OWN_WAITS_CPUS = 0.05
THROTTLING = frozenset({"overheated", "power brake", "hardware slowdown"})  # as `DeviceState.throttled` names them


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment; None where the system has no such counter."""

    wait_ns: int | None
    stolen_ticks: int | None
    clock_khz: int | None
    throttled: int | None


def read(cores: Sequence[int]) -> Reading:
    """Counters of this process and of the given cores."""
    return Reading(wait_ns(), _stolen_ticks(cores), _clock_khz(cores), _throttle_count(cores))


def cause(before: Reading, after: Reading, wall_ns: int) -> str:
    """The cause for which the time between two readings does not count, or an empty string."""
    if (after.throttled or 0) > (before.throttled or 0):
        return "throttled"
    if (after.stolen_ticks or 0) > (before.stolen_ticks or 0):
        return "steal"
    if (after.wait_ns or 0) - (before.wait_ns or 0) > _WAIT_SHARE * wall_ns:
        return WAITED
    if after.clock_khz and before.clock_khz and abs(after.clock_khz / before.clock_khz - 1) > _CLOCK_SHARE:
        return "frequency"
    return ""


def without_own_waits(blocks: Sequence[TimedBlock], cores: int, other_cpus: float | None) -> tuple[TimedBlock, ...]:
    """The blocks of a process on several cores, where those count that waited for a core although no other program ran:
    the threads of the process waited for each other, which is how the network runs there. other_cpus: how many CPUs
    other programs kept busy; None where that is not known."""
    is_own = cores > 1 and other_cpus is not None and other_cpus <= _OWN_WAITS_CPUS
    return tuple(replace(b, rejected="") if is_own and b.rejected == WAITED else b for b in blocks)


def device_cause(before: DeviceState | None, after: DeviceState | None) -> str:
    """The cause by which an accelerator spoiled the time between two readings, or an empty string.

    A clock that its power limit holds down evenly is that device's speed; only a change of it counts.
    """
    for state in (before, after):
        if state is not None and set(state.throttled) & THROTTLING:
            return "throttled"
    if before and after and before.clock_mhz and after.clock_mhz:
        return "frequency" if abs(after.clock_mhz / before.clock_mhz - 1) > _CLOCK_SHARE else ""
    return ""


def wait_ns() -> int | None:
    """Longest time that one thread of this process was runnable but had to wait for a core."""
    try:
        return max(int(f.read_text().split()[1]) for f in (_PROC / "self/task").glob("*/schedstat"))
    except (OSError, ValueError, IndexError):
        return None


def _stolen_ticks(cores: Sequence[int]) -> int | None:
    try:
        lines = (_PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    wanted = {f"cpu{c}" for c in cores}
    fields = [line.split() for line in lines]
    stolen = [int(f[8]) for f in fields if f and f[0] in wanted and len(f) > 8]
    return sum(stolen) if stolen else None


def _clock_khz(cores: Sequence[int]) -> int | None:
    readings = [_number(_CPU / f"cpu{c}/cpufreq/scaling_cur_freq") for c in cores]
    return min((r for r in readings if r is not None), default=None)


def _throttle_count(cores: Sequence[int]) -> int | None:
    readings = [_number(_CPU / f"cpu{c}/thermal_throttle/core_throttle_count") for c in cores]
    known = [r for r in readings if r is not None]
    return sum(known) if known else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
