"""A fleet: makes its keys, runs its parts, and tells its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import time
from typing import Any

from hwprof.errors import EnvironmentUnfitError
from hwprof.files import write_text
from hwprof.fleet import certificates
from hwprof.fleet.driver import Board, Fleet
from hwprof.fleet.measuring import open_fleet as open_fleet
from hwprof.fleet.plan import EXAMPLE, Plan
from hwprof.fleet.serving import FOLDER, run_agent, run_scheduler
from hwprof.fleet.supervisor import Supervisor

__all__ = ["bring_up", "drain", "init", "open_fleet", "serve_board", "serve_scheduler", "status"]

Tell = Callable[[str], None]


def init(path: Path, renew: bool = False) -> list[Path]:
    """Writes an example of the fleet's file, where there is none, and the keys that it names. Returns the new files.

    renew: new certificates of the same authority. Raises InputError where there are keys already."""
    new = not path.exists()
    if new:
        write_text(path, EXAMPLE)
    plan = Plan.load(path)
    return [*([path] if new else []), *certificates.make(plan.keys, path.stem, renew)]


def bring_up(path: Path, tell: Tell, folder: Path = FOLDER, listen: str | None = None) -> None:
    """Runs the scheduler, and the agents that are started on this machine, until Ctrl-C. listen: the address of this
    machine at which the scheduler listens, where that is not the one by which others reach it."""
    with Supervisor(Plan.load(path), folder, tell, listen) as supervisor:
        supervisor.run()


def serve_scheduler(path: Path, tell: Tell, listen: str | None = None) -> None:
    """Runs the scheduler alone."""
    run_scheduler(Plan.load(path), tell, listen)


def serve_board(path: Path, board: str, tell: Tell, folder: Path = FOLDER, host: str | None = None) -> None:
    """Runs the agent of a board until it is drained. folder: where it keeps answers. host: its address, as the
    scheduler reaches it."""
    run_agent(Plan.load(path), board, tell, folder, host)


def drain(path: Path, board: str, tell: Tell) -> None:
    """The board's agent finishes what it measures, takes nothing new and ends. Raises EnvironmentUnfitError where it is
    not there."""
    plan = Plan.load(path)
    plan.board(board)
    with Fleet(plan, tell) as fleet:
        found = fleet.boards().get(board)
        if found is None:
            raise EnvironmentUnfitError(f"board {board!r} has no agent; see hwprof fleet status {path}")
        fleet.command(found, "drain")


def status(path: Path, tell: Tell) -> list[dict[str, Any]]:
    """A row for each board of the plan: what it does, and since when."""
    plan = Plan.load(path)
    with Fleet(plan, tell) as fleet:
        alive = fleet.boards()
    return [
        {"board": board.name, "devices": ", ".join(board.devices), **_row(alive.get(board.name))}
        for board in plan.boards
    ]  # fmt: skip


def _row(board: Board | None) -> Mapping[str, Any]:
    state = board.state if board else {}
    return {
        "state": state.get("doing", "no agent"),
        "networks": state.get("models", ""),
        "progress": f"{state['progress']:.0%}" if state.get("doing") == "measuring" else "",
        "for s": round(time() - state["since"]) if "since" in state else "",
        "answered": state.get("answered", ""),
        "to deliver": len(state["holds"]) if "holds" in state else "",
        "failures": state.get("failures", ""),
    }
