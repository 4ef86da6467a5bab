"""Storage of tuning results: for each device and graph a folder of builds, each with TVM's own two files.

The folder is `hwprof.tuning` in the working directory, next to the store, or the one that $HWPROF_TUNING names.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwprof import files
from hwprof.backends import options
from hwprof.backends.tvm import target
from hwprof.backends.tvm.library import tvm
from hwprof.device import Device
from hwprof.graph import Graph

FAILED_S = 1e10  # how the database marks a schedule that does not run
_WORKLOADS, _RECORDS, _SPENT = "database_workload.json", "database_tuning_record.json", "spent.json"


@dataclass(frozen=True, slots=True)
class Spent:
    """Trials and seconds spent on one build, over all runs."""

    trials: int = 0
    seconds: float = 0.0


def folder(graph: Graph, device: Device, build: int) -> Path:
    """The folder of one build. Its name includes the processor, which a device of this machine does not name."""
    root = Path(os.environ.get("HWPROF_TUNING", "hwprof.tuning"))
    processor = target.of(device).attrs["mcpu"]
    return root / f"{device.digest}-{processor}" / graph.digest / str(build)


def builds(graph: Graph, device: Device) -> int:
    """The number of builds; they are numbered from 0."""
    number = 0
    while _has_schedule(folder(graph, device, number) / _RECORDS):
        number += 1
    return number


def _has_schedule(records: Path) -> bool:
    """Whether a search found one that runs. One that ended early, or whose candidates all failed, leaves a file without
    any: it is not a build."""
    if not records.is_file():
        return False
    return any(_seconds(line) < FAILED_S for line in records.read_text(encoding="utf-8").splitlines())


def _seconds(line: str) -> float:
    """The mean run time in a line of TVM's database; infinite for a torn line."""
    try:
        _workload, (_trace, seconds, *_) = json.loads(line)
        return float(sum(map(float, seconds))) / len(seconds)
    except (ValueError, TypeError, ZeroDivisionError):
        return math.inf


def identity(graph: Graph, device: Device) -> str:
    """A digest over the contents of all builds; empty for none."""
    return " ".join(_digest(folder(graph, device, n)) for n in range(builds(graph, device)))


def of_process(graph: Graph, device: Device) -> tuple[int | None, Any | None]:
    """The build that this process runs, by the process' number in the measurement, and its database; None without
    one."""
    count = builds(graph, device)
    if not count:
        return None, None
    number = options.process_number(-1) % count
    return number, load(folder(graph, device, number))


def record(graph: Graph, device: Device, build: int | None) -> str:
    """The build in one line, for the measurement's record."""
    if build is None:
        return "TVM's default schedules"
    path = folder(graph, device, build)
    done = spent(path)
    return f"tuned build {build}: {done.trials} trials, {done.seconds:.0f} s, database {_digest(path)}"


def load(path: Path) -> Any:
    """The database of one build, created if missing. An incomplete last line, left by a killed search, is removed: TVM
    would reject the whole file."""
    path.mkdir(parents=True, exist_ok=True)
    for name in (_WORKLOADS, _RECORDS):
        _drop_torn_line(path / name)
    return tvm.s_tir.meta_schedule.database.JSONDatabase(str(path / _WORKLOADS), str(path / _RECORDS))


def spent(path: Path) -> Spent:
    """Zero for a build without trials."""
    try:
        return Spent(**json.loads((path / _SPENT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Spent()


def write_spent(path: Path, value: Spent) -> None:
    """Writes next to the records. Raises EnvironmentUnfitError when the file cannot be written."""
    files.write_text(path / _SPENT, json.dumps({"trials": value.trials, "seconds": round(value.seconds, 1)}))


def _digest(path: Path) -> str:
    return hashlib.sha256((path / _RECORDS).read_bytes()).hexdigest()[:12]


def _drop_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        files.write_bytes(path, content[: content.rfind(b"\n") + 1])
