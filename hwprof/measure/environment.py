"""The machine that a worker runs on: what it is (fingerprint), and whether it is fit to measure (preflight).

Only workers look at their machine; jobs ask them. Nothing here identifies the machine's owner: no host name, address or
serial number is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.measure import cores, timing
from hwprof.measure.fitness import Check, Fitness
from hwprof.measure.machine import is_formula

_CPU = Path("/sys/devices/system/cpu")
_MOST_PRESSURE = 10.0  # % of the last 10 s in which some task waited for a core
_MOST_STEAL = 0.02  # of the time since boot
_HOT_C = 90.0
_COARSE_TICK_NS = 1000


def hardware() -> dict[str, Any]:
    """The properties of this machine that decide a latency and do not change between runs; JSON-ready."""
    info = _cpu_info()
    return {
        "machine": platform.machine(),
        "cpu": info.get("model name") or _device_tree_model() or info.get("CPU part", "unknown"),
        "cpu_identity": [
            info.get(k, "")
            for k in ("cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
        ],
        "features": _features(info),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
    }  # fmt: skip


def fingerprint(description: Mapping[str, Any]) -> str:
    """12 hexadecimal digits over a `hardware()`: two machines with the same digits may share figures."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]


def snapshot(device: Device) -> dict[str, Any]:
    """Everything else of this machine that is stored with a measurement of the device; JSON-ready."""
    return {
        "system": {"kernel": platform.release(), "python": platform.python_version(), "hwprof": _version("hwprof")},
        "cores": list(cores.choose(device)),
        "timer_tick_ns": timing.clock_tick_ns(),
        "load_average": list(os.getloadavg()),
        "checks": [
            {"name": c.name, "fitness": str(c.fitness), "found": c.found} for c in preflight(device)
        ],
    }  # fmt: skip


def preflight(device: Device) -> list[Check]:
    """All checks of this machine for the device. Nothing on this machine disturbs a formula."""
    if device.remote:
        found = "governor, temperature and load of a remote device are not visible"
        return [Check("machine", Fitness.UNKNOWN, found), _check_memory()]
    if is_formula(device):
        return [_check_cores(device)]
    return [
        _check_cores(device), _check_governor(), _check_turbo(), _check_temperature(), _check_pressure(),
        _check_steal(), _check_siblings(device), _check_timer(), _check_memory(),
    ]  # fmt: skip


def _check_cores(device: Device) -> Check:
    quota = cores.quota_cpus()
    granted = "no quota" if math.isinf(quota) else f"a quota of {quota:g} CPUs"
    try:
        chosen = cores.choose(device)
    except EnvironmentUnfitError as error:
        return Check("cores", Fitness.UNFIT, str(error), "choose a device with fewer threads")
    return Check("cores", Fitness.OK, f"{len(cores.usable())} usable, {granted}; device uses {list(chosen)}")


def _check_governor() -> Check:
    governors = {g for c in cores.usable() if (g := _text(_CPU / f"cpu{c}/cpufreq/scaling_governor"))}
    if not governors:
        return Check("governor", Fitness.UNKNOWN, "not visible (common in virtual machines)")
    found = ", ".join(sorted(governors))
    if governors == {"performance"}:
        return Check("governor", Fitness.OK, found)
    return Check("governor", Fitness.WARNING, found, "cpupower frequency-set -g performance")


def _check_turbo() -> Check:
    if (no_turbo := _text(_CPU / "intel_pstate/no_turbo")) is not None:
        on = no_turbo == "0"
    elif (boost := _text(_CPU / "cpufreq/boost")) is not None:
        on = boost == "1"
    else:
        return Check("turbo", Fitness.UNKNOWN, "not visible")
    if on:
        return Check("turbo", Fitness.WARNING, "on: the clock follows temperature and load", "turn it off to compare")
    return Check("turbo", Fitness.OK, "off")


def _check_temperature() -> Check:
    zones = [_text(p) for p in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [int(z) / 1000 for z in zones if z and z.lstrip("-").isdigit()]
    if not degrees:
        return Check("temperature", Fitness.UNKNOWN, "no sensor visible")
    hottest = max(degrees)
    fitness = Fitness.WARNING if hottest > _HOT_C else Fitness.OK
    return Check("temperature", fitness, f"{hottest:.0f} degrees C", "let the machine cool down")


def _check_pressure() -> Check:
    text = _text(Path("/proc/pressure/cpu"))
    if text is None:
        return Check("cpu pressure", Fitness.UNKNOWN, "not visible")
    share = float(text.split("avg10=")[1].split()[0])
    found = f"some task waited for a core in {share:g} % of the last 10 s"
    if share > _MOST_PRESSURE:
        return Check("cpu pressure", Fitness.WARNING, found, "stop other programs")
    return Check("cpu pressure", Fitness.OK, found)


def _check_steal() -> Check:
    text = _text(Path("/proc/stat")) or ""
    fields = [int(v) for v in text.partition("\n")[0].split()[1:]]
    if len(fields) < 8 or not sum(fields):
        return Check("steal", Fitness.UNKNOWN, "not visible")
    share = fields[7] / sum(fields[:8])
    fitness = Fitness.WARNING if share > _MOST_STEAL else Fitness.OK
    return Check("steal", fitness, f"{share:.2%} of the time since boot went to other virtual machines")


def _check_siblings(device: Device) -> Check:
    try:
        chosen = cores.choose(device)
    except EnvironmentUnfitError as error:
        return Check("hyper-threads", Fitness.UNKNOWN, str(error))
    shared = [t for c in chosen if (t := _text(_CPU / f"cpu{c}/topology/thread_siblings_list")) and t != str(c)]
    if shared:
        return Check("hyper-threads", Fitness.WARNING, f"a chosen core shares its execution units: CPUs {shared[0]}")
    return Check("hyper-threads", Fitness.OK, "no chosen core has a visible sibling")


def _check_timer() -> Check:
    tick_ns = timing.clock_tick_ns()
    if tick_ns > _COARSE_TICK_NS:
        return Check("timer", Fitness.UNFIT, f"resolution of {tick_ns} ns", "use a machine with a finer clock")
    return Check("timer", Fitness.OK, f"resolution of {tick_ns} ns")


def _check_memory() -> Check:
    gib = available_memory_bytes() / 2**30
    return Check("memory", Fitness.WARNING if gib < 1 else Fitness.OK, f"{gib:.1f} GiB available")


def available_memory_bytes() -> int:
    """Memory that can be allocated without swapping, within the control group's limit."""
    text = _text(Path("/proc/meminfo")) or ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else 2**63
    limit, used = _text(Path("/sys/fs/cgroup/memory.max")), _text(Path("/sys/fs/cgroup/memory.current"))
    if limit and limit.isdigit() and used and used.isdigit():
        free = min(free, int(limit) - int(used))
    return free


def _cpu_info() -> dict[str, str]:
    text = (_text(Path("/proc/cpuinfo")) or "").partition("\n\n")[0]
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _features(info: Mapping[str, str]) -> list[str]:
    """The instruction sets that a kernel library chooses by."""
    prefixes = ("avx", "amx", "fma", "sse4", "asimd", "sve", "i8mm", "bf16", "fphp", "sme")
    words = (info.get("flags") or info.get("Features") or "").split()
    return sorted(w for w in words if w.startswith(prefixes))


def _caches() -> list[str]:
    folders = sorted((_CPU / "cpu0/cache").glob("index*"))
    return [f"L{_text(f / 'level')} {_text(f / 'type')} {_text(f / 'size')}" for f in folders]


def _device_tree_model() -> str | None:
    return _text(Path("/proc/device-tree/model"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\x00\n ")
    except OSError:
        return None
