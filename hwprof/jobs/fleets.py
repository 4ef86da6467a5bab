"""A fleet: makes its keys, runs its parts, and tells its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

from hwprof.data.store import Store
from hwprof.data.store_care import existing
from hwprof.errors import EnvironmentUnfitError
from hwprof.files import write_text
from hwprof.fleet import certificates
from hwprof.fleet.connection import Note
from hwprof.fleet.driver import Board, Fleet
from hwprof.fleet.measuring import open_fleet as open_fleet
from hwprof.fleet.plan import EXAMPLE, Plan, PlannedBoard
from hwprof.fleet.serving import FOLDER, run_agent, run_scheduler
from hwprof.fleet.supervisor import Supervisor
from hwprof.report import boards
from hwprof.report.boards import BoardState, FleetState, Trouble

__all__ = ["bring_up", "drain", "init", "open_fleet", "serve_board", "serve_scheduler", "state", "status"]

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
        if not fleet.command([found], "drain"):
            raise EnvironmentUnfitError(f"board {board!r} does not answer; see hwprof fleet status {path}")


def status(path: Path, tell: Tell) -> list[dict[str, Any]]:
    """A row for each board of the plan: what it does, and since when."""
    return boards.rows(state(path, tell))


def state(path: Path, tell: Tell, store: Path | str | None = None) -> FleetState:
    """The work of each board of the plan, the words of the drivers that run now about it, and its last errors. store:
    that of a driver, whose measurements are counted."""
    plan = Plan.load(path)
    with Fleet(plan, tell) as fleet:
        alive, notes = fleet.boards(), fleet.notes()
    stored, unfinished = _stored(store)
    found = [_state(b, alive.get(b.name), notes, stored.get(b.name)) for b in plan.boards]
    troubles = [Trouble(note.at, note.board, note.text) for note in notes]
    troubles += [
        Trouble(float(at), board.name, str(text)) for board in alive.values() for at, text in board.state["errors"]
    ]
    return FleetState(plan.scheduler, time(), tuple(found), tuple(troubles), unfinished)


def _state(planned: PlannedBoard, board: Board | None, notes: Sequence[Note], stored: int | None) -> BoardState:
    own = [note for note in notes if note.board == planned.name]
    found = BoardState(
        planned.name, planned.devices, stored=stored, notes=tuple(dict.fromkeys(note.text for note in own)),
        is_aside=any(note.is_aside for note in own),
    )  # fmt: skip
    if board is None:
        return found
    told: Mapping[str, Any] = board.state
    return replace(
        found, doing=told["doing"], networks=told["models"], progress=told["progress"], since=told["since"],
        answered=told["answered"], delivered=told["delivered"], waiting=len(told["holds"]), failures=told["failures"],
        hardware=told["hardware"],
    )  # fmt: skip


def _stored(path: Path | str | None) -> tuple[dict[str, int], int | None]:
    """How many finished measurements of each board the store has, and how many are begun."""
    if path is None:
        return {}, None
    with existing(Path(path)) as store:
        return _by_board(store), int(store.query("SELECT count(*) FROM measurement WHERE status IS NULL")[0][0])


def _by_board(store: Store) -> dict[str, int]:
    found = store.query(
        "SELECT json_extract(record, '$.environment.board'), count(*) FROM measurement WHERE status IS NOT NULL "
        "GROUP BY 1"
    )
    return {str(board): int(n) for board, n in found if board is not None}
