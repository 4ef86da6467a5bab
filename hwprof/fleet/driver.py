"""The driver's connection to a fleet: the boards that are alive, and the requests that are on their way to them.

Whatever the connection knows may be lost with the scheduler; a request that was lost is sent again, and an agent that
has its answer already gives it from its outbox.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Event, RLock
from time import monotonic
from types import TracebackType
from typing import Any, Self

from hwprof import plugins
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, HwprofError, one_line
from hwprof.fleet import engine
from hwprof.fleet import request as requests
from hwprof.fleet.agent import answer
from hwprof.fleet.certificates import Credentials, Role, require_access
from hwprof.fleet.plan import Plan

with plugins.optional_library("a fleet"):
    from distributed import Client, Future
    from distributed.scheduler import KilledWorker

IN_FLIGHT = 2  # requests at a board: one that is measured, and one that waits, so that it is never idle
FAILURES = 3  # in a row, after which a board is set aside
_LOOK_S = 1.0  # between two looks at the boards
_LOOK_S_PER_BOARD = 4 / 1000  # so that a thousand take no larger share of the scheduler
_ASK_S = 10.0  # for the scheduler to say which boards there are
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
    knows whether it was measured; `was_killed`: its board's agent ended meanwhile."""

    board: Board
    future: Future[Any] | None
    answer: dict[str, Any] | None = None
    error: HwprofError | None = None
    is_lost: bool = False
    was_killed: bool = False

    def lose(self, reason: str) -> None:
        """The answer does not come any more."""
        self.is_lost, self.error = True, DeviceLostError(f"board {self.board.name} was lost ({reason})")

    @property
    def has_ended(self) -> bool:
        """Looks whether the answer is there."""
        if self.answer is None and self.error is None and self.future is not None and self.future.status != "pending":
            self._take(self.future)
        return self.answer is not None or self.error is not None

    def _take(self, future: Future[Any]) -> None:
        try:
            found = json.loads(future.result(timeout=_ASK_S))
        except Exception as error:  # noqa: BLE001 -- of Dask, and whatever it found on the way
            self.was_killed = isinstance(error, KilledWorker)
            self.lose(type(error).__name__)
        else:
            self.answer, self.error = found, requests.error_of(found)
        finally:
            future.release()  # or Dask would compute it again when its board is lost


@dataclass(slots=True)
class Fleet:
    """A context manager: an open connection, which jobs in several threads may use at once. tell: takes one line about
    what happens to boards."""

    plan: Plan
    tell: Callable[[str], None]
    set_aside: dict[str, str] = field(default_factory=dict)
    is_closed: Event = field(default_factory=Event)
    _keys: Credentials = field(init=False)
    _client: Client | None = field(default=None, init=False)
    _boards: dict[str, Board] = field(default_factory=dict, init=False)
    _known: dict[str, Board] = field(default_factory=dict, init=False)  # also those that are not there just now
    looked: float = field(default=float("-inf"), init=False)  # when the boards were last asked for
    _told: float = field(default_factory=monotonic, init=False)
    _in_flight: Counter[str] = field(default_factory=Counter, init=False)
    _failures: Counter[str] = field(default_factory=Counter, init=False)
    _done: dict[str, list[str]] = field(default_factory=dict, init=False)
    _refused: set[str] = field(default_factory=set, init=False)
    _lock: RLock = field(default_factory=RLock, init=False)
    _killed: set[tuple[str, float]] = field(default_factory=set, init=False)  # agents that ended with requests
    _addresses: frozenset[str] | None = field(default=None, init=False)  # None while the scheduler is away
    _news: Condition = field(default_factory=Condition, init=False)
    _n_news: int = field(default=0, init=False)
    _seen_news: threading.local = field(default_factory=threading.local, init=False)

    def __enter__(self) -> Self:
        """Raises EnvironmentUnfitError, in one line, where the scheduler refuses the keys or does not answer."""
        self._keys = Credentials.of(self.plan.keys, Role.DRIVER)
        engine.silence()
        try:
            require_access(*self.plan.host_and_port, self._keys)
        except ConnectionError as error:
            raise EnvironmentUnfitError(f"{error}; start it with: hwprof fleet up {self.plan.path}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_closed.set()
        self.notify()
        self._acknowledge_all()
        if self._client is not None:
            with suppress(Exception):
                self._client.close(timeout=2)

    # -- boards --------------------------------------------------------------------------------------------

    def boards(self) -> dict[str, Board]:
        """The boards of the plan whose agents are alive and of this version, by name, in the order of the plan; empty
        while the scheduler is away."""
        with self._lock:
            if monotonic() - self.looked >= max(_LOOK_S, len(self._boards) * _LOOK_S_PER_BOARD):
                self._boards = self._seen()
                self._known |= self._boards
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
                self.tell(f"board {board.name} is set aside after {FAILURES} failures in a row: {reason}")

    def lost(self, sent: Sent) -> None:
        """The request was lost. That counts against its board where its agent ended, once for each agent."""
        with self._lock:
            agent = (sent.board.name, sent.board.started)
            if sent.was_killed and sent.error is not None and agent not in self._killed:
                self._killed.add(agent)
                self.failed(sent.board, sent.error)

    def is_gone(self, sent: Sent) -> bool:
        """Whether the scheduler no longer knows the board to which the request went."""
        return self._addresses is not None and sent.board.address not in self._addresses

    def succeeded(self, board: Board) -> None:
        self._failures[board.name] = 0

    def refuse(self, board: str, reason: str) -> None:
        """Says once why the board gets nothing."""
        with self._lock:
            if f"{board} {reason}" not in self._refused:
                self._refused.add(f"{board} {reason}")
                self.tell(f"board {board} is refused: {reason}")

    # -- requests ------------------------------------------------------------------------------------------

    def send(self, board: Board, do: str, **arguments: Any) -> Sent | None:
        """None where the scheduler is away."""
        client = self._connected()
        if client is None:
            return None
        with self._lock:
            done = self._done.pop(board.name, [])
            text = requests.request_text(do, done=done, **arguments)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a large request: a network with its weights
                future = client.submit(
                    answer, text, workers=[board.address], allow_other_workers=False, pure=False, retries=0,
                    resources={f"board:{board.name}": 1},
                )  # fmt: skip
            self._in_flight[board.name] += 1
        future.add_done_callback(lambda _: self._ended(board.name))
        return Sent(board, future)

    def command(self, board: Board, do: str, **arguments: Any) -> dict[str, Any]:
        """Has the agent do something at once, also while it measures. Raises what it raises, and DeviceLostError."""
        client = self._connected()
        if client is None:
            raise DeviceLostError("the fleet's scheduler does not answer")
        try:
            texts = client.run(answer, requests.request_text(do, **arguments), workers=[board.address])
            found = json.loads(texts[board.address])
        except HwprofError:
            raise
        except Exception as error:  # noqa: BLE001 -- Dask's
            raise DeviceLostError(f"board {board.name} did not answer: {one_line(error)}") from None
        if (refused := requests.error_of(found)) is not None:
            raise refused
        return dict(found)

    def acknowledge(self, board: str, names: list[str]) -> None:
        """The store has these answers; the board may forget them with its next request."""
        with self._lock:
            self._done.setdefault(board, []).extend(names)

    def notify(self) -> None:
        """Wakes whoever waits."""
        with self._news:
            self._n_news += 1
            self._news.notify_all()

    def _ended(self, board: str) -> None:
        with self._lock:
            self._in_flight[board] -= 1
        self.notify()

    def _acknowledge_all(self) -> None:
        for name, names in list(self._done.items()):
            if (board := self._known.get(name)) is not None:
                with suppress(HwprofError):  # the agent removes them itself, after a week
                    self.command(board, "forget", done=names)

    # -- the connection ------------------------------------------------------------------------------------

    def _connected(self) -> Client | None:
        """The client, a new one where the last one has given up; None while the scheduler is away."""
        with self._lock:
            if self._client is not None and self._client.status == "closed":
                self._client = None
            if self._client is None:
                self._client = self._connection()
            return self._client if self._client is not None and self._client.status == "running" else None

    def _connection(self) -> Client | None:
        try:
            require_access(*self.plan.host_and_port, self._keys)
            with engine.settings():
                return engine.client(self.plan.address, self._keys)
        except (OSError, FutureTimeoutError):
            return None

    def _seen(self) -> dict[str, Board]:
        found = dict[str, Board]()
        workers = self._told_workers()
        self._addresses = None if workers is None else frozenset(workers)
        for address, told in (workers or {}).items():
            with suppress(KeyError, TypeError, ValueError):
                facts = told["hwprof"]
                board = Board(
                    str(facts["board"]), address, str(facts["hwprof"]), float(facts["started"]),
                    told["metrics"]["hwprof"],
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

    def _told_workers(self) -> Mapping[str, Any] | None:
        """None while the scheduler is away."""
        client = self._connected()
        if client is None or client.scheduler is None:
            return None
        try:
            told = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_ASK_S)
        except Exception:  # noqa: BLE001 -- whatever Dask raises where the scheduler has just died
            return None
        return dict(told["workers"])
