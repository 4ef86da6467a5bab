"""The host's resources for a runtime: CPUs, and memory for a network."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.graph import Graph, captured

_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"


def threads(device: Device) -> int:
    """The device's thread count; for 0 the number of CPUs that this process may use, which runtimes ignore."""
    if device.threads:
        return device.threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_memory(graph: Graph, weight_copies: int, runs_here: bool = True) -> None:
    """Raises EnvironmentUnfitError when the network would not fit.

    `weight_copies`: how many copies of the weights are in memory while the runtime loads them. `runs_here`: the
    activations are in the host's memory, too.
    """
    free = available_bytes()
    needed = weight_copies * graph.weight_bytes + (peak_activation_bytes(graph) if runs_here else 0)
    if free is not None and needed > free:
        raise EnvironmentUnfitError(
            f"{graph.name!r} needs about {needed / 1e9:.1f} GB for weights and activations, but this machine has "
            f"{free / 1e9:.1f} GB left; free memory, raise the limit or use a smaller batch"
        )


def peak_activation_bytes(graph: Graph) -> int:
    """The most that inputs and intermediate tensors occupy at once when each is dropped after its last use.

    Tensors of unknown type count as 0 bytes: the figure only catches hopeless cases; it is not a measurement.
    """
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in (*node.inputs, *captured(node))}
    sizes = {t.name: t.size_bytes for t in (*graph.inputs, *graph.values)}
    held = peak = sum(t.size_bytes for t in graph.inputs)
    for i, node in enumerate(graph.nodes):
        held += sum(sizes.get(name, 0) for name in node.outputs)
        peak = max(peak, held)
        dropped = {n for n in (*node.inputs, *captured(node)) if last_use[n] == i} - set(graph.outputs)
        held -= sum(sizes.get(name, 0) for name in dropped)
    return peak


def saturates(features: Collection[str]) -> bool:
    """Whether products of uint8 and int8 are summed by VPMADDUBSW, in 16 bits that saturate: on x86 without VNNI."""
    is_x86 = any(name.startswith(("sse4", "avx")) for name in features)
    return is_x86 and not any("vnni" in name for name in features)


def last_cache_bytes(root: Path = Path("/")) -> int | None:
    """Size of the processor's last-level cache; None where no file states it."""
    folder = root / "sys/devices/system/cpu/cpu0/cache"
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    texts = ("".join(_lines(path / "size")).strip() for path in folder.glob("index*"))
    return max((int(t[:-1]) * units[t[-1]] for t in texts if t[:-1].isdigit() and t[-1] in units), default=None)


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that is available: the system's, or less under a cgroup's limit. None where no file states it."""
    rooms = [room for room in (_system_room(root), *_cgroup_rooms(root)) if room is not None]
    return min(rooms, default=None)


def _system_room(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_rooms(root: Path) -> list[int]:
    """Memory left below the limit of each cgroup that holds this process, in version 2 and version 1."""
    rooms = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, limit, usage, cache = (
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controllers
            else ("", "memory.max", "memory.current", "inactive_file")
        )
        top = root / "sys/fs/cgroup" / mount
        group = top / path.lstrip("/")
        # In a container the path may be outside of the mount: then only the top is visible.
        for folder in (f for f in (group, *group.parents) if f.is_relative_to(top)):
            maximum, used = _number(folder / limit), _number(folder / usage)
            if maximum is not None and used is not None and maximum < _UNLIMITED:
                rooms.append(maximum - used + _statistic(folder / "memory.stat", cache))
    return rooms


def _statistic(path: Path, key: str) -> int:
    """Page cache of files counts as used but is freed on demand; 0 where the file does not state it."""
    for line in _lines(path):
        if line.startswith(key + " "):
            return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
