"""Kills measuring commands and their workers at random moments, and counts what that lost.

    python tests/benchmarks/kills.py --short              # 10 kills, a minute or two
    python tests/benchmarks/kills.py --kills 200 --out reports/reliability/kills.json

Each job (`hwprof profile` of three networks, or `hwprof collect` of a few) is killed with SIGKILL a few times, the
command itself or one of its workers, and started again until it ends by itself. After each kill every process that the
store held must still be there as it was; at the end the job must be complete, its store sound, its data set valid, and
nothing left running or in the temporary folder. The device is analytic, so that jobs are short and any machine will do;
`--device cpu-1t` kills real measurements.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.data import dataset
from hwprof.data.store import Store
from hwprof.data.store_care import check
from hwprof.graph import Graph

HWPROF = (sys.executable, "-m", "hwprof")
# A device that says that it is analytic has no workers that could be killed.
DEVICE = """schema = "hwprof.device/1"
backend = "roofline"
[options]
peak_macs_per_s = 1e12
peak_bytes_per_s = 1e11
launch_ns = 1000000
noise = 0.01
process_noise = 0.02
"""
NETWORKS = 3
COLLECTED = 6
KILLS_PER_JOB = 4
LIMIT_S = 300  # for one command that nobody kills
DONE = (0, 4)  # measured; measured short of the target


@dataclass
class Tally:
    """What happened to all jobs together."""

    jobs: int = 0
    completed: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    ended_with_a_worker: list[str] = field(default_factory=list)  # what commands said that did not go on without it
    rows_seen: int = 0
    rows_lost: int = 0
    faults: list[str] = field(default_factory=list)


class Job:
    """One command in a folder of its own."""

    def __init__(self, kind: str, folder: Path, device: str) -> None:
        self.kind = kind
        self.folder = folder
        self.store = folder / "s.db"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "analytic.toml").write_text(DEVICE)
        chosen = ["--device", device or str(folder / "analytic.toml"), "--store", str(self.store), "--allow-unfit"]
        if kind == "profile":
            models = [str(_written(folder, width)) for width in range(4, 4 + NETWORKS)]
            self.command = [*HWPROF, "profile", *models, *chosen, "--fast", "--format", "json"]
        else:
            self.command = [*HWPROF, "collect", "--space", "nasbench201", "--n", str(COLLECTED), *chosen,
                            "--out", str(folder / "data"), "--format", "json"]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )  # fmt: skip

    def rows(self) -> set[tuple[object, ...]]:
        """Every process that the store holds."""
        if not self.store.exists():
            return set()
        with Store(self.store) as store:
            return set(store.query("SELECT m.key, m.id, p.round, p.record FROM process p JOIN measurement m "
                                   "ON p.measurement = m.id"))  # fmt: skip

    def faults(self, output: str) -> Iterator[str]:
        """What is not as it must be after the job."""
        yield from check(self.store).damage
        if self.kind == "profile":
            with Store(self.store) as store:
                if len(store.measurements()) != NETWORKS or len(json.loads(output)) != NETWORKS:
                    yield f"{len(store.measurements())} of {NETWORKS} networks were measured"
        elif len(dataset.read(self.folder / "data").entries) != COLLECTED:
            yield "the data set is not complete"
        yield from (f"{path.name} is left in the temporary folder" for path in self.temporary.iterdir())
        yield from (f"{path.name} is left beside the store" for path in self.folder.glob("s.db-*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--short", action="store_true", help="10 kills")
    parser.add_argument("--device", default="", help="a device of hwprof instead of the analytic one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    asked = parser.parse_args()
    rng, tally, start = random.Random(asked.seed), Tally(), time.monotonic()
    kills = 10 if asked.short else asked.kills
    lasts_s = {kind: _undisturbed_s(kind, asked.device) for kind in ("profile", "collect")}
    while tally.kills.total() < kills:
        kind = ("profile", "collect")[tally.jobs % 2]
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            _torment(Job(kind, Path(folder), asked.device), min(KILLS_PER_JOB, kills - tally.kills.total()),
                     lasts_s[kind], rng, tally)  # fmt: skip
    record = vars(tally) | {
        "kills": dict(tally.kills),
        "seconds": round(time.monotonic() - start),
        "device": asked.device or "analytic",
    }
    print(json.dumps(record, indent=2))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(bool(tally.rows_lost or tally.faults or tally.completed < tally.jobs))


def _torment(job: Job, kills: int, lasts_s: float, rng: random.Random, tally: Tally) -> None:
    tally.jobs += 1
    seen: set[tuple[object, ...]] = set()
    for _ in range(kills):
        command = job.start()
        workers = _killed(command, rng.uniform(0, lasts_s), rng.choice(("command", "worker")), tally)
        _, errors = command.communicate(timeout=LIMIT_S)
        if command.returncode not in (*DONE, -signal.SIGKILL):
            tally.ended_with_a_worker.append(errors.strip())
        _require_ended(workers, tally)
        seen = _compared(job, seen, tally)
    command = job.start()
    output, errors = command.communicate(timeout=LIMIT_S)
    _compared(job, seen, tally)
    sys.stderr.write(f"{tally.jobs} jobs, {tally.kills.total()} kills, {tally.rows_lost} rows lost\n")
    faults = list(job.faults(output)) if command.returncode in DONE else [f"{command.returncode}: {errors.strip()}"]
    tally.completed += not faults
    tally.faults += [f"{job.kind}: {fault}" for fault in faults]


def _killed(command: subprocess.Popen[str], after_s: float, whom: str, tally: Tally) -> list[int]:
    """Kills the command, or one of its workers where it has any, unless it has ended by itself. Returns the processes
    that must end with it."""
    time.sleep(after_s)
    workers = _children(command.pid)
    if command.poll() is not None:
        return workers
    if whom == "worker" and workers:
        os.kill(workers[-1], signal.SIGKILL)
    else:
        whom = "command"
        command.kill()
    tally.kills[whom] += 1
    return workers


def _compared(job: Job, seen: set[tuple[object, ...]], tally: Tally) -> set[tuple[object, ...]]:
    """The rows that the store holds now; those that are gone since are counted as lost."""
    now = job.rows()
    tally.rows_seen += len(now - seen)
    tally.rows_lost += len(seen - now)
    return now


def _require_ended(pids: Sequence[int], tally: Tally) -> None:
    """Nothing lives on after the command."""
    until = time.monotonic() + 5
    while (alive := [pid for pid in pids if _is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    tally.faults += [f"process {pid} lives on" for pid in alive]


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:  # it ended
            continue
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _undisturbed_s(kind: str, device: str) -> float:
    """How long the job takes when nobody kills it."""
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        job, start = Job(kind, Path(folder), device), time.monotonic()
        command = job.start()
        _, errors = command.communicate(timeout=LIMIT_S)
        if command.returncode not in DONE:
            sys.exit(f"{kind} fails without any kill: {errors.strip()}")
        return time.monotonic() - start


def _written(folder: Path, width: int) -> Path:
    b = GraphBuilder(f"net{width}")
    graph: Graph = b.build(b.relu(b.conv(b.input((1, 3, 16, 16)), width, 3)))
    path = folder / f"net{width}.onnx"
    onnx_io.save(graph, path)
    return path


if __name__ == "__main__":
    main()
