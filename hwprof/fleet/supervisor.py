"""Keeps the scheduler, and the agents that are started here, running: each is a process that is started again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from hwprof.fleet.plan import Launch, Plan

_AGAIN_S = 1.0
_END_S = 30.0
_POLL_S = 0.2


@dataclass(slots=True)
class Kept:
    """One part: its command, its process, and when it may be started again."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    is_done: bool = False


@dataclass(slots=True)
class Supervisor:
    """A context manager; all parts end with it. A part that ends with status 0 was drained and stays away."""

    plan: Plan
    folder: Path
    tell: Callable[[str], None]
    listen: str | None = None
    parts: list[Kept] = field(default_factory=list)

    def __enter__(self) -> Self:
        path = str(self.plan.path)
        listen = ["--listen", self.listen] if self.listen else []
        self.parts.append(Kept("scheduler", _command("scheduler", path, *listen)))
        for board in self.plan.boards:
            if board.launch is not Launch.AGENT:
                self.parts.append(
                    Kept(board.name, _command("agent", path, board.name, "--folder", str(self.folder)))
                )  # fmt: skip
        self.look()
        return self

    def look(self) -> None:
        """Starts again what has ended."""
        for part in self.parts:
            if part.process is not None and (status := part.process.poll()) is not None:
                _close_input(part.process)
                part.process, part.start_at, part.is_done = None, monotonic() + _AGAIN_S, status == 0
                self.tell(f"{part.name}: ended" + (f" with status {status}; is started again" if status else ""))
            if part.process is None and not part.is_done and monotonic() >= part.start_at:
                part.process = subprocess.Popen(part.command, stdin=subprocess.PIPE)

    def run(self) -> None:
        """Until Ctrl-C."""
        while not all(part.is_done for part in self.parts):
            self.look()
            sleep(_POLL_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Agents finish what they measure; what does not end in time is killed."""
        running = [part.process for part in self.parts if part.process is not None]
        for process in running:
            process.terminate()
        end = monotonic() + _END_S
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - monotonic()))
            process.kill()
            process.wait()
            _close_input(process)


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _command(part: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "hwprof", "fleet", part, *arguments, "--with-parent"]
