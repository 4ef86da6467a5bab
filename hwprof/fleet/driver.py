"""The driver's view of a fleet: the boards that are alive, and the requests that are on their way to them.

Whatever it knows may be lost with the scheduler; a request that was lost is sent again, and an agent that has its
answer already gives it from its outbox. Whoever sends a request keeps its `Sent`; the fleet counts how many of them are
at each board.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Event, RLock
from time import monotonic, time
from types import TracebackType
from typing import Any, Self

from hwprof import plugins
from hwprof.errors import DeviceLostError, HwprofError
from hwprof.fleet import request as requests
from hwprof.fleet.connection import Connection, Note
from hwprof.fleet.parcel import Parcel
from hwprof.fleet.plan import Plan

with plugins.optional_library("a fleet"):
    from distributed import Future
    from distributed.scheduler import KilledWorker

IN_FLIGHT = 2  # requests at a board: one that is measured, and one that waits, so that it is never idle
FAILURES = 3  # in a row, after which a board is set aside
_LOOK_S = 1.0  # between two looks at the boards
_LOOK_S_PER_BOARD = 4 / 1000  # so that a thousand take no larger share of the scheduler
_TAKE_S = 10.0  # for an answer that is there to arrive
_WAITING_S = 30.0  # between two notes that the driver still waits


@dataclass(frozen=True, slots=True)
class Board:
    """A board whose agent is alive. state: the agent's (`Agent.metric`). started: tells one board's agents apart."""

    name: str
    address: str
    version: str
    started: float
    state: Mapping[str, Any]

    @property
    def takes_requests(self) -> bool:
        return self.state.get("doing") != "draining"

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of those that it has, or is about to have."""
        return (*self.state.get("holds", ()), *self.state.get("names", ()))


@dataclass(slots=True)
class Sent:
    """A request on its way. `answer` is None until it is there; `error` where the request failed. `is_lost`: nobody
    knows whether it was measured; `was_killed`: its board's agent ended meanwhile.

    `submit` sends it with these contents of its parcel: once more, with all, where the board asks for some."""

    fleet: Fleet
    board: Board
    submit: Callable[[Mapping[str, str]], Future[Any] | None]
    parcel: Parcel = field(default_factory=Parcel)
    future: Future[Any] | None = None
    answer: dict[str, Any] | None = None
    error: HwprofError | None = None
    is_lost: bool = False
    was_killed: bool = False
    is_whole: bool = False

    def lose(self, reason: str) -> None:
        """The answer does not come any more."""
        self.is_lost, self.error = True, DeviceLostError(f"board {self.board.name} was lost ({reason})")

    @property
    def has_ended(self) -> bool:
        """Looks whether the answer is there, or its board no longer."""
        if self.answer is None and self.error is None and self.future is not None:
            if self.future.status != "pending":
                self._take(self.future)
            elif self.fleet.is_gone(self.board):
                self.lose("its agent is gone")
        return self.answer is not None or self.error is not None

    def _take(self, future: Future[Any]) -> None:
        try:
            found = json.loads(future.result(timeout=_TAKE_S))
        except Exception as error:  # noqa: BLE001 -- of Dask, and whatever it found on the way
            self.was_killed = isinstance(error, KilledWorker)
            self.lose(type(error).__name__)
        else:
            self._read(found)
        finally:
            future.release()  # or Dask would compute it again when its board is lost

    def _read(self, found: dict[str, Any]) -> None:
        if "missing" not in found:
            self.answer, self.error = found, requests.error_of(found)
        elif self.is_whole:
            self.error = DeviceLostError(f"board {self.board.name} does not keep the files that it is sent")
        else:
            self.is_whole, self.future = True, self.submit(self.parcel.contents)
            if self.future is None:
                self.lose("the scheduler is away")


@dataclass(slots=True)
class Fleet:
    """A context manager: an open connection, which jobs in several threads may use at once. tell: takes one line about
    what happens to boards."""

    plan: Plan
    tell: Callable[[str], None]
    set_aside: dict[str, str] = field(default_factory=dict)
    is_closed: Event = field(default_factory=Event)
    connection: Connection = field(init=False)
    looked: float = field(default=float("-inf"), init=False)  # when the boards were last asked for
    _boards: dict[str, Board] = field(default_factory=dict, init=False)
    _addresses: frozenset[str] | None = field(default=None, init=False)  # None while the scheduler is away
    _told: float = field(default_factory=monotonic, init=False)
    _in_flight: Counter[str] = field(default_factory=Counter, init=False)
    _contents: dict[tuple[str, float], set[str]] = field(default_factory=dict, init=False)  # sent to each agent
    _failures: Counter[str] = field(default_factory=Counter, init=False)
    _done: dict[str, list[str]] = field(default_factory=dict, init=False)
    _refused: set[str] = field(default_factory=set, init=False)
    _killed: set[tuple[str, float]] = field(default_factory=set, init=False)  # agents that ended with requests
    _lock: RLock = field(default_factory=RLock, init=False)
    _news: Condition = field(default_factory=Condition, init=False)
    _n_news: int = field(default=0, init=False)
    _seen_news: threading.local = field(default_factory=threading.local, init=False)

    def __enter__(self) -> Self:
        """Raises EnvironmentUnfitError, in one line, where the scheduler refuses the keys or does not answer."""
        self.connection = Connection(self.plan)
        self.connection.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_closed.set()
        self.notify()
        self._acknowledge_all()
        self.connection.close()

    # -- boards --------------------------------------------------------------------------------------------

    def boards(self) -> dict[str, Board]:
        """The boards of the plan whose agents are alive and of this version, by name, in the order of the plan; empty
        while the scheduler is away."""
        with self._lock:
            if monotonic() - self.looked >= max(_LOOK_S, len(self._boards) * _LOOK_S_PER_BOARD):
                self._boards = self._seen()
                self.looked = monotonic()
            return self._boards

    def ready(self, names: Mapping[str, Any]) -> Iterator[Board]:
        """The boards of these names that can take a request."""
        for name, board in self.boards().items():
            if name in names and name not in self.set_aside and board.takes_requests:
                yield board

    def capacity(self, board: Board) -> int:
        """How many requests it can take now."""
        return IN_FLIGHT - self._in_flight[board.name]

    def is_gone(self, board: Board) -> bool:
        """Whether the scheduler no longer knows the board's agent."""
        return self._addresses is not None and board.address not in self._addresses

    def wait(self, wait_s: float = _LOOK_S) -> None:
        """Until a request has ended since this thread last waited, or for so long. Raises DeviceLostError when the
        connection was closed."""
        with self._news:
            self._news.wait_for(lambda: self._n_news != getattr(self._seen_news, "n", 0), wait_s)
            self._seen_news.n = self._n_news
        if self.is_closed.is_set():
            raise DeviceLostError("the connection to the fleet was closed")

    def tell_waiting(self, text: str) -> None:
        """Says, now and then, what the driver waits for."""
        if monotonic() - self._told >= _WAITING_S:
            self._told = monotonic()
            self.tell(text)

    def failed(self, board: Board, reason: HwprofError) -> None:
        """The board lost a request, or is not well after it. It is set aside when that happens `FAILURES` times in a
        row."""
        with self._lock:
            self._failures[board.name] += 1
            if self._failures[board.name] >= FAILURES and board.name not in self.set_aside:
                self.set_aside[board.name] = str(reason)
                text = f"is set aside after {FAILURES} failures in a row: {reason}"
                self._say(board.name, text, is_aside=True)

    def succeeded(self, board: Board) -> None:
        self._failures[board.name] = 0

    def lost(self, sent: Sent) -> None:
        """The request was lost. That counts against its board where its agent ended, once for each agent."""
        with self._lock:
            agent = (sent.board.name, sent.board.started)
            if sent.was_killed and sent.error is not None and agent not in self._killed:
                self._killed.add(agent)
                self.failed(sent.board, sent.error)

    def refuse(self, board: str, reason: str) -> None:
        """Says once why the board gets nothing."""
        with self._lock:
            if f"{board} {reason}" not in self._refused:
                self._refused.add(f"{board} {reason}")
                self._say(board, f"is refused: {reason}")

    def notes(self) -> list[Note]:
        """The words of the drivers that use the fleet now about its boards, oldest first."""
        told = self.connection.identity()
        return [] if told is None else list(self.connection.all_notes(told["drivers"]))

    def _say(self, board: str, text: str, is_aside: bool = False) -> None:
        self.tell(f"board {board} {text}")
        self.connection.add_note(Note(board, text, time(), is_aside))

    # -- requests ------------------------------------------------------------------------------------------

    def send(self, board: Board, do: str, parcel: Parcel | None = None, **arguments: Any) -> Sent | None:
        """None where the scheduler is away. parcel: of the graphs among the arguments; of its contents only those are
        sent that the board was not sent before."""

        def submit(contents: Mapping[str, str]) -> Future[Any] | None:
            more = {} if parcel is None else {"contents": contents}
            return self._submit(board, requests.request_text(do, done=self._taken(board), **arguments, **more))

        sent = Sent(self, board, submit, parcel or Parcel())
        known = self._contents.setdefault((board.name, board.started), set())
        sent.future = submit({digest: text for digest, text in sent.parcel.contents.items() if digest not in known})
        known.update(sent.parcel.contents)
        return None if sent.future is None else sent

    def command(self, boards: Sequence[Board], do: str, **arguments: Any) -> list[Board]:
        """Has agents do something at once, also while they measure. Returns the boards that did; raises what an agent
        raises."""
        found = self.connection.run(requests.request_text(do, **arguments), [board.address for board in boards]) or {}
        for text in found.values():
            if (refused := requests.error_of(json.loads(text))) is not None:
                raise refused
        return [board for board in boards if board.address in found]

    def acknowledge(self, board: str, names: list[str]) -> None:
        """The store has these answers; the board may forget them with its next request."""
        with self._lock:
            self._done.setdefault(board, []).extend(names)

    def notify(self) -> None:
        """Wakes whoever waits."""
        with self._news:
            self._n_news += 1
            self._news.notify_all()

    def _submit(self, board: Board, text: str) -> Future[Any] | None:
        with self._lock:
            future = self.connection.submit(board.address, board.name, text)
            if future is None:
                return None
            self._in_flight[board.name] += 1
        future.add_done_callback(lambda _: self._ended(board.name))
        return future

    def _taken(self, board: Board) -> list[str]:
        """The names of the answers that the board may forget; one that is not told reminds of itself (`Outbox`)."""
        with self._lock:
            return self._done.pop(board.name, [])

    def _ended(self, board: str) -> None:
        with self._lock:
            self._in_flight[board] -= 1
        self.notify()

    def _acknowledge_all(self) -> None:
        for board in self.boards().values() if self._done else ():
            if names := self._taken(board):
                with suppress(HwprofError):  # the agent removes them itself, after a week
                    self.command([board], "forget", done=names)

    def _seen(self) -> dict[str, Board]:
        told = self.connection.identity()
        self._addresses = None if told is None else frozenset(told["workers"])
        found = dict[str, Board]()
        for address, worker in (told["workers"] if told else {}).items():
            with suppress(KeyError, TypeError, ValueError):
                facts = worker["hwprof"]
                board = Board(
                    str(facts["board"]), address, str(facts["hwprof"]), float(facts["started"]),
                    worker["metrics"]["hwprof"],
                )  # fmt: skip
                if board.name not in found or found[board.name].started < board.started:
                    found[board.name] = board
        return {b.name: found[b.name] for b in self.plan.boards if b.name in found and self._is_equal(found[b.name])}

    def _is_equal(self, board: Board) -> bool:
        try:
            requests.require_version(board.version, f"board {board.name}")
        except HwprofError as error:
            self.refuse(board.name, str(error))
            return False
        return True
