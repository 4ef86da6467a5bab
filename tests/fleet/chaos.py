"""Kills the parts of a fleet and counts what that did: for a test in seconds, and for tests/benchmarks/fleet.py."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hwprof.data.store import Store
from hwprof.fleet import certificates
from tests.fleet import simulated

ROOT = Path(__file__).parents[2]
ROLES = ("driver", "scheduler", "agent", "child")
_AGAIN_S = 0.3  # after which something that ended is started again


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_plan(folder: Path, boards: int, group_s: float = 1e-3) -> Path:
    """A plan with its keys, for a scheduler at a free port of this machine. group_s: as short as can be, so that each
    request holds one network."""
    lines = ['schema = "hwprof.fleet/1"', f'scheduler = "127.0.0.1:{free_port()}"', 'keys = "keys"']
    lines += [f"group_s = {group_s}", "patience_s = 120"]
    for number in range(boards):
        lines += ["[[board]]", f'name = "board-{number}"', f'devices = ["{simulated.DEVICE}"]']
    path = folder / "fleet.toml"
    path.write_text("\n".join(lines) + "\n")
    certificates.make(folder / "keys", "test")
    return path


@dataclass
class Part:
    """One process, which is started again when it ends, but the driver when it is done."""

    command: list[str]
    log: Path
    process: subprocess.Popen | None = None
    ended_at: float = 0.0
    is_done: bool = False

    def look(self) -> None:
        if self.process is not None and (status := self.process.poll()) is not None:
            self.process.stdin.close()
            self.process, self.ended_at, self.is_done = None, time.monotonic(), status == 0
        if self.process is None and not self.is_done and time.monotonic() - self.ended_at > _AGAIN_S:
            with self.log.open("ab") as stream:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, cwd=ROOT
                )

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()


@dataclass
class Chaos:
    """A fleet with its driver as a context manager; `kill` kills a part of it."""

    folder: Path
    requests: int
    boards: int = 2
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    parts: dict[str, Part] = field(default_factory=dict)
    kills: Counter = field(default_factory=Counter)

    def __enter__(self):
        plan = str(write_plan(self.folder, self.boards))
        self._add("scheduler", plan)
        for number in range(self.boards):
            self._add(f"board-{number}", plan, part="agent", last=f"board-{number}")
        self._add("driver", plan, last=str(self.store), n=str(self.requests))
        return self

    def _add(self, name: str, plan: str, part: str = "", last: str = "", n: str = "") -> None:
        words = [part or name, plan, *filter(None, (last, n))]
        command = [sys.executable, "-m", "tests.fleet.simulated", *words]
        self.parts[name] = Part(command, self.folder / f"{name}.log")

    def __exit__(self, *error: object) -> None:
        for part in self.parts.values():
            part.end()

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    @property
    def is_done(self) -> bool:
        return self.parts["driver"].is_done

    def look(self) -> None:
        for part in self.parts.values():
            part.look()

    def kill(self, role: str) -> bool:
        """Whether there was one to kill."""
        agents = [p for name, p in self.parts.items() if name.startswith("board")]
        found = {"agent": agents, "child": agents}.get(role) or [self.parts[role]]
        alive = [part.process for part in found if part.process is not None and part.process.poll() is None]
        pids = [process.pid for process in alive]
        if role == "child":
            pids = [child.pid for pid in pids for child in _children(pid)]
        if not pids:
            return False
        try:
            os.kill(self.rng.choice(pids), signal.SIGKILL)
        except ProcessLookupError:  # a child that has just ended
            return False
        self.kills[role] += 1
        return True

    def events(self) -> list[dict]:
        path = self.folder / simulated.LOG
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def faults(self) -> list[str]:
        """What is not as it must be after all kills; empty where all is well."""
        starts = Counter((e["graph"], e["round"]) for e in self.events() if e["event"] == "start")
        repeats = sum(n - 1 for (_, number), n in starts.items() if number == 0)
        with Store(self.store) as store:
            rows = store.query("SELECT model, status, count(*) FROM measurement GROUP BY model")
            processes = store.query("SELECT count(*) FROM process GROUP BY measurement")
        found = []
        if sum(e["event"] == "overlap" for e in self.events()):
            found.append("two measurements at once on a board")
        if len(rows) != self.requests or any(status is None or n != 1 for _, status, n in rows):
            found.append(f"{len(rows)} of {self.requests} stored, not each once: {[r for r in rows if r[2] != 1]}")
        if any(n != 2 for (n,) in processes):
            found.append("a measurement lacks a process, or has one twice")
        if repeats > self.kills.total():
            found.append(f"{repeats} repeats after {self.kills.total()} kills")
        return found

    def repeats(self) -> int:
        starts = Counter((e["graph"], e["round"]) for e in self.events() if e["event"] == "start")
        return sum(n - 1 for (_, number), n in starts.items() if number == 0)

    def stored(self) -> int:
        """How many measurements are finished."""
        if not self.store.exists():
            return 0
        with Store(self.store) as store:
            return int(store.query("SELECT count(*) FROM measurement WHERE status IS NOT NULL")[0][0])

    def run(self, kills: dict[int, str], limit_s: float) -> None:
        """Until the driver is done. kills: how many must be stored before a part of that role is killed."""
        left, end = sorted(kills.items()), time.monotonic() + limit_s
        while not self.is_done:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.stored()} of {self.requests} are stored; {left} kills are left")
            self.look()
            if left and self.stored() >= left[0][0] and self.kill(left[0][1]):
                del left[0]
            time.sleep(0.05)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.Error:
        return []


def main() -> None:
    """One run, for a look at it."""
    import tempfile

    with tempfile.TemporaryDirectory() as name, Chaos(Path(name), int(sys.argv[1]), int(sys.argv[2])) as chaos:
        start = time.monotonic()
        kills = dict(zip(range(2, chaos.requests, 3), sys.argv[3:], strict=False))
        try:
            chaos.run(kills, 300)
        finally:
            for part in chaos.parts.values():
                print(part.log.name, part.log.read_text()[-1500:] if part.log.exists() else "")
        print(f"{time.monotonic() - start:.1f} s, {chaos.stored()} stored, {chaos.repeats()} repeats", chaos.kills)
        print(chaos.faults())


if __name__ == "__main__":
    main()
