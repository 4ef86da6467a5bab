"""The state of a fleet: what each board does, what it has delivered, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import Scale, drawing, rect, shortened, text
from hwprof.report.tables import Cell, Fact, Table
from hwprof.report.verdict import Tone, Verdict

ABSENT = "no agent"
MEASURING = "measuring"
_WAITING = "waiting"
_SHORT = {ABSENT: "without an agent", _WAITING: "waiting for another hwprof"}  # in the headline
_ORDER = (MEASURING, "greeting", _WAITING, "idle", "draining", ABSENT)
_COLOURS = {MEASURING: "k0", "greeting": "k4", "draining": "k3"}
_ROW, _TOP, _NAMES = 26.0, 8.0, 0.24  # pixels, pixels, share of the width


@dataclass(frozen=True, slots=True)
class BoardState:
    """One board. doing: as its agent says, or `ABSENT`. since: when it began that (Unix, s). delivered: answers of this
    agent that a driver's store has; waiting: those that no store has yet. hardware: in words, by device. stored: its
    measurements in a store that was looked at. notes: the words of the drivers that use the fleet now about it, one of
    which gives it nothing more where it is set aside."""

    name: str
    devices: tuple[str, ...]
    doing: str = ABSENT
    networks: str = ""
    progress: float = 0.0
    since: float | None = None
    answered: int = 0
    delivered: int = 0
    waiting: int = 0
    failures: int = 0
    hardware: Mapping[str, str] = field(default_factory=dict)
    stored: int | None = None
    notes: tuple[str, ...] = ()
    is_aside: bool = False

    @property
    def is_there(self) -> bool:
        return self.doing != ABSENT

    @property
    def words(self) -> str:
        """The agent's word, and what it waits for."""
        doing = "waiting for another hwprof on its machine" if self.doing == _WAITING else self.doing
        return f"{doing}, set aside" if self.is_aside else doing

    @property
    def machine(self) -> str:
        """Its hardware, as far as a driver has asked for it."""
        return "; ".join(dict.fromkeys(self.hardware.values())) or quantity.UNKNOWN


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong. at: Unix time, s."""

    at: float
    board: str
    text: str


@dataclass(frozen=True, slots=True)
class FleetState:
    """A fleet at one moment. at: Unix time, s. unfinished: measurements that the store still waits for, where one was
    looked at."""

    scheduler: str
    at: float
    boards: tuple[BoardState, ...]
    troubles: tuple[Trouble, ...] = ()
    unfinished: int | None = None

    def seconds(self, board: BoardState) -> float | None:
        """For how long the board has done what it does."""
        return None if board.since is None else max(0.0, self.at - board.since)


def rows(state: FleetState) -> list[dict[str, Any]]:
    """A row for each board, for a terminal, Markdown, CSV or JSON."""
    return [_row(state, board) for board in state.boards]


def _row(state: FleetState, board: BoardState) -> dict[str, Any]:
    seconds = state.seconds(board)
    known = {
        "answered": board.answered, "to deliver": board.waiting, "delivered": board.delivered,
        "failures": board.failures,
    }  # fmt: skip
    return {
        "board": board.name,
        "devices": ", ".join(board.devices),
        "state": board.doing,
        "networks": board.networks,
        "progress": f"{board.progress:.0%}" if board.doing == MEASURING else "",
        "for s": "" if seconds is None else round(seconds),
        **(known if board.is_there else dict.fromkeys(known, "")),
        "notes": "; ".join((*board.notes, *((board.words,) if board.doing == _WAITING else ()))),
    }


def verdict(state: FleetState) -> Verdict:
    """How many boards work, and why others do not."""
    counts = Counter(board.doing for board in state.boards)
    n_aside = sum(board.is_aside for board in state.boards)
    n = len(state.boards)
    support = f"Scheduler {state.scheduler}, {_moment(state.at)} UTC."
    doubts = (*(f"{b.name} {note}." for b in state.boards for note in b.notes), *_absent(state.boards))
    if counts[ABSENT] == n:
        return Verdict(Tone.BAD, "No board has an agent", support, doubts)
    parts = [f"{counts[doing]} {_SHORT.get(doing, doing)}" for doing in _ORDER if counts[doing]]
    parts += [f"{n_aside} set aside"] if n_aside else []
    headline = f"{quantity.plural(n, 'board')}: {', '.join(parts)}"
    return Verdict(Tone.CAUTION if doubts else Tone.GOOD, headline, support, doubts)


def _absent(boards: Iterable[BoardState]) -> tuple[str, ...]:
    names = [board.name for board in boards if not board.is_there]
    return (f"Without an agent: {', '.join(names)}; start each with hwprof fleet agent.",) if names else ()


def facts(state: FleetState) -> tuple[Fact, ...]:
    """The figures of the whole fleet."""
    there = [board for board in state.boards if board.is_there]
    found = [
        Fact("with an agent", f"{len(there)} of {len(state.boards)}", "boards"),
        Fact("delivered", str(sum(board.delivered for board in there)), "answers in a store, since each agent started"),
        Fact("to deliver", str(sum(board.waiting for board in there)), "measured, and not in a store yet"),
        Fact("set aside", str(sum(board.is_aside for board in state.boards)), "by a driver, after failures in a row"),
    ]
    if state.unfinished is not None:
        stored = sum(board.stored or 0 for board in state.boards)
        found.append(
            Fact("in the store", str(stored), f"measurements of these boards; {state.unfinished} are not finished")
        )
    return tuple(found)


def table(state: FleetState) -> Table:
    """A row for each board."""
    has_store = state.unfinished is not None
    columns = ("board", "devices", "hardware", "state", "for", "progress", "delivered", "to deliver")
    columns += (*(("in the store",) if has_store else ()), "failures")
    return Table("Boards", columns, tuple(_cells(state, board, has_store) for board in state.boards))


def _cells(state: FleetState, board: BoardState, has_store: bool) -> tuple[Cell, ...]:
    seconds = state.seconds(board)
    is_measuring = board.doing == MEASURING
    counts = (board.delivered, board.waiting, *((board.stored or 0,) if has_store else ()), board.failures)
    return (
        Cell(board.name),
        Cell(", ".join(board.devices)),
        Cell(board.machine),
        Cell(board.words),
        Cell("–") if seconds is None else Cell(_duration(seconds), seconds),
        Cell(quantity.percent(board.progress), board.progress, board.progress) if is_measuring else Cell("–", 0.0),
        *(Cell(str(count), count) if board.is_there else Cell("–", 0.0) for count in counts),
    )


def troubles(state: FleetState) -> Table | None:
    """The last errors, newest first; None where there is none."""
    found = sorted(state.troubles, key=lambda trouble: -trouble.at)
    listed = tuple((Cell(_moment(t.at)), Cell(t.board), Cell(t.text)) for t in found)
    return Table("Last errors", ("UTC", "board", "error"), listed) if listed else None


def draw(state: FleetState, width: float) -> Markup:
    """A row for each board: its name, how far it is with what it measures, and what it does since when."""
    start = max(70.0, width * _NAMES)
    scale = Scale(0.0, 1.0, start, width)
    marks: list[Markup] = []
    for i, board in enumerate(state.boards):
        y = _TOP + i * _ROW
        marks.append(text(start - 10, y + 15, shortened(board.name, start - 10, 12), "end"))
        marks.append(rect(start, y, width - start, _ROW - 6, "tile-frame k7"))
        reached = board.progress if board.doing == MEASURING else float(board.doing in _COLOURS)
        if colour := _COLOURS.get(board.doing):
            tip = f"{board.name}: {_sentence(state, board)}"
            marks.append(rect(start, y, scale(reached) - start, _ROW - 6, f"soft {colour}", tip))
        words = shortened(_sentence(state, board), width - start - 16, 12)
        marks.append(text(start + 8, y + 14, words, class_="halo"))
    listed = "; ".join(f"{board.name}: {_sentence(state, board)}" for board in state.boards)
    return drawing(_TOP + _ROW * len(state.boards), f"What each board does: {listed}", join(marks), width=width)


def _sentence(state: FleetState, board: BoardState) -> str:
    seconds = state.seconds(board)
    if seconds is None:
        return board.words
    reached = quantity.percent(board.progress) if board.doing == MEASURING else ""
    parts = (board.words, reached, f"for {_duration(seconds)}", board.networks)
    return ", ".join(filter(None, parts))


def _duration(seconds: float) -> str:
    """5 s, 3 min, 2 h, 4 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
