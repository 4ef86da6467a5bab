"""The machine as it stands: what it is (fingerprint), and whether it is fit to measure (preflight).

Nothing here identifies the machine's owner: no host name, address or serial number is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, HwprofError
from hwprof.measure import cores, disturbance, timing
from hwprof.measure.worker_process import WorkerProcess

_CPU = Path("/sys/devices/system/cpu")
_MOST_PRESSURE = 10.0  # % of the last 10 s in which some task waited for a core
_MOST_STEAL = 0.02  # of the time since boot
_HOT_C = 90.0
_COARSE_TICK_NS = 1000


class Fitness(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    UNFIT = "unfit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `hwprof doctor`: what was looked at, what was found, what to do about it."""

    name: str
    fitness: Fitness
    found: str
    advice: str = ""


def hardware() -> dict[str, Any]:
    """What decides a latency and does not change between runs; JSON-ready."""
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
    """12 hexadecimal digits of `hardware()`: two machines with the same digits may share figures."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]


def snapshot(device: Device, runs_on: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything of the environment that is stored with a measurement; JSON-ready. `runs_on`: the device's hardware,
    where that is more than this machine, or another."""
    return {
        "hardware": hardware() if runs_on is None else dict(runs_on),
        "system": {"kernel": platform.release(), "python": platform.python_version(), "hwprof": _version("hwprof")},
        "cores": list(cores.choose(device)),
        "timer_tick_ns": timing.clock_tick_ns(),
        "load_average": list(os.getloadavg()),
        "checks": [
            {"name": c.name, "fitness": str(c.fitness), "found": c.found} for c in preflight(device)
        ],
    }  # fmt: skip


def preflight(device: Device) -> list[Check]:
    """All checks of this machine for the device."""
    if device.remote:
        found = "governor, temperature and load of a remote device are not visible"
        return [Check("machine", Fitness.UNKNOWN, found), _check_memory()]
    return [
        _check_cores(device), _check_governor(), _check_turbo(), _check_temperature(), _check_pressure(),
        _check_steal(), _check_siblings(device), _check_timer(), _check_memory(),
    ]  # fmt: skip


def runtime_checks(device: Device) -> list[Check]:
    """Whether the device's runtime starts in a process of its own, and how the accelerator behind it stands."""
    try:
        with WorkerProcess(cores.choose(device)) as worker:
            (hello,) = worker.ask("hello", device=device.to_record())
    except HwprofError as error:
        return [Check("runtime", Fitness.UNFIT, str(error), "choose another device: hwprof devices")]
    versions = ", ".join(f"{name} {version}" for name, version in hello["versions"].items()) or str(hello["evidence"])
    return [Check("runtime", Fitness.OK, versions), *accelerator_checks(hello["state"])]


def accelerator_checks(state: Mapping[str, Any] | None) -> list[Check]:
    """state: a `DeviceState` as a record, None where the device is the host or shows nothing."""
    if state is None:
        return []
    clock, degrees, power = (state[key] for key in ("clock_mhz", "temperature_c", "power_w"))
    shown = ((clock, "MHz"), (degrees, "degrees C"), (power, "W"))
    found = ", ".join(f"{value:.0f} {unit}" for value, unit in shown if value is not None) or "shows nothing"
    causes = sorted(set(state["throttled"]) & disturbance.THROTTLING)
    if causes:
        return [Check("accelerator", Fitness.WARNING, f"{found}; held down: {', '.join(causes)}", "let it cool down")]
    return [Check("accelerator", Fitness.OK, found)]


def require_fit(checks: list[Check], allow_unfit: bool) -> list[str]:
    """Warnings to show. Raises EnvironmentUnfitError for the first unfit check, unless allowed."""
    unfit = [c for c in checks if c.fitness is Fitness.UNFIT]
    if unfit and not allow_unfit:
        raise EnvironmentUnfitError(f"{unfit[0].name}: {unfit[0].found}; {unfit[0].advice}")
    return [f"{c.name}: {c.found}" for c in checks if c.fitness in (Fitness.WARNING, Fitness.UNFIT)]


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
        return Check("hyper-threads", Fitness.WARNING, f"a chosen core shares its units: CPUs {shared[0]}")
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
    """What can be allocated without swapping, within the control group's limit."""
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
