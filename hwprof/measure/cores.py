"""Which CPU cores a device means on this machine, and whether they may be used."""

from __future__ import annotations

import math
import os
from pathlib import Path

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError

_CPU = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")


def usable() -> list[int]:
    """CPU numbers that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def quota_cpus(cgroup: Path = _CGROUP) -> float:
    """CPUs' worth of time that the control group grants; infinite without a quota."""
    try:
        granted, period = (cgroup / "cpu.max").read_text().split()
        return math.inf if granted == "max" else int(granted) / int(period)
    except (OSError, ValueError):
        pass
    try:  # control groups, version 1
        granted_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        return math.inf if granted_us < 0 else granted_us / int((cgroup / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return math.inf


def choose(device: Device) -> tuple[int, ...]:
    """The cores for a worker of the device, as many as it has threads (all usable ones for threads = 0, and for
    a remote device, whose own cores its backend chooses).

    Raises EnvironmentUnfitError when the machine grants fewer, InputError for an unknown cluster.
    """
    if device.remote:
        return tuple(usable())
    allowed = _cluster(device.cores) if isinstance(device.cores, str) else list(device.cores)
    missing = sorted(set(allowed) - set(usable()))
    if missing:
        raise EnvironmentUnfitError(f"device {device.name!r} asks for core {missing[0]}; usable here: {usable()}")
    threads = device.threads or len(allowed)
    if threads > len(allowed):
        raise EnvironmentUnfitError(
            f"device {device.name!r} asks for {threads} threads; this process may use {len(allowed)} cores"
        )
    if device.threads > (quota := quota_cpus()):
        raise EnvironmentUnfitError(
            f"device {device.name!r} asks for {threads} threads; the control group grants {quota:g} CPUs"
        )
    # From the far end: the first core takes most interrupts.
    return tuple(allowed[-threads:])


def _cluster(word: str) -> list[int]:
    """Cores of a cluster of a heterogeneous processor: "auto" takes all, "big" the fastest, "little" the slowest."""
    cores = usable()
    if word == "auto":
        return cores
    if word not in ("big", "little"):
        raise InputError(f"cores must be 'auto', 'big', 'little' or a list of numbers, not {word!r}")
    speed = {c: _speed(c) for c in cores}
    wanted = (max if word == "big" else min)(speed.values())
    if len(set(speed.values())) == 1:
        raise EnvironmentUnfitError(f"cores = {word!r} needs a processor with clusters; all cores here are alike")
    return [c for c in cores if speed[c] == wanted]


def _speed(core: int) -> int:
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        try:
            return int((_CPU / f"cpu{core}" / name).read_text())
        except (OSError, ValueError):
            continue
    return 0
