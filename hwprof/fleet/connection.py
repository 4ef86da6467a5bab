"""The driver's connection to a fleet's scheduler. It is made again where it was lost, and while the scheduler is away
whatever is asked of it is answered with None."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import RLock
from typing import Any

from hwprof import plugins
from hwprof.errors import EnvironmentUnfitError
from hwprof.fleet import engine
from hwprof.fleet.agent import answer
from hwprof.fleet.certificates import Credentials, Role, require_access
from hwprof.fleet.plan import Plan

with plugins.optional_library("a fleet"):
    from distributed import Client, Future

_ASK_S = 10.0  # for the scheduler to say which boards there are
_TOPIC = "hwprof"


@dataclass(frozen=True, slots=True)
class Note:
    """A driver's words about a board. at: Unix time, s. is_aside: that driver gives the board nothing more."""

    board: str
    text: str
    at: float
    is_aside: bool = False


@dataclass(slots=True)
class Connection:
    """Threads may share it. notes: this driver's own, which each new scheduler is told again."""

    plan: Plan
    notes: list[Note] = field(default_factory=list)
    _keys: Credentials = field(init=False)
    _client: Client | None = field(default=None, init=False)
    _lock: RLock = field(default_factory=RLock, init=False)
    _informed: tuple[str, str] = field(default=("", ""), init=False)  # the scheduler and client that have the notes

    def open(self) -> None:
        """Raises EnvironmentUnfitError, in one line, where the scheduler refuses the keys or does not answer."""
        self._keys = Credentials.of(self.plan.keys, Role.DRIVER)
        engine.silence()
        try:
            require_access(*self.plan.host_and_port, self._keys)
        except ConnectionError as error:
            raise EnvironmentUnfitError(f"{error}; start it with: hwprof fleet up {self.plan.path}") from None

    def close(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                self._client.close(timeout=2)

    def identity(self) -> Mapping[str, Any] | None:
        """The scheduler's words about itself, its workers and its drivers (`engine.QuietScheduler`)."""
        client = self._connected()
        if client is None or client.scheduler is None:
            return None
        try:
            told: Mapping[str, Any] = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_ASK_S)
        except Exception:  # noqa: BLE001 -- whatever Dask raises where the scheduler has just died
            return None
        if (informed := (str(told["id"]), client.id)) != self._informed:
            self._informed = informed
            for note in self.notes:
                self._publish(note)
        return told

    def submit(self, address: str, board: str, text: str) -> Future[Any] | None:
        """The agent's answer to a request, when its turn has come."""
        if (client := self._connected()) is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large request: a network with its weights
            return client.submit(
                answer, text, workers=[address], allow_other_workers=False, pure=False, retries=0,
                resources={f"board:{board}": 1},
            )  # fmt: skip

    def run(self, text: str, addresses: Sequence[str]) -> dict[str, str] | None:
        """The answers of agents at once, also while they measure, by address; without those that cannot be reached."""
        if (client := self._connected()) is None:
            return None
        try:
            return dict(client.run(answer, text, workers=list(addresses), on_error="ignore"))
        except Exception:  # noqa: BLE001 -- Dask's, where the scheduler has just died
            return None

    def add_note(self, note: Note) -> None:
        """Keeps a note with the scheduler, where `hwprof fleet status` finds it."""
        self.notes.append(note)
        self._publish(note)

    def all_notes(self, drivers: Sequence[str]) -> Iterator[Note]:
        """The notes of these drivers, oldest first; nothing while the scheduler is away."""
        if (client := self._connected()) is None:
            return
        with suppress(Exception):  # Dask's
            for _, told in client.get_events(_TOPIC):
                if told["driver"] in drivers:
                    yield Note(**told["note"])

    def _publish(self, note: Note) -> None:
        client = self._connected()
        with suppress(Exception):  # Dask's; the next scheduler is told all of them
            if client is not None:
                client.log_event(_TOPIC, {"driver": client.id, "note": asdict(note)})

    def _connected(self) -> Client | None:
        """The client, a new one where the last one has given up."""
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
