"""A fleet as a place where workers run: each request goes to a worker of its own on one of the boards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.fleet import request as requests
from hwprof.fleet.driver import Sent
from hwprof.fleet.parcel import Parcel
from hwprof.fleet.pool import Pool, error_is_boards, first_with_room
from hwprof.fleet.request import DrainingError
from hwprof.graph import Graph
from hwprof.measure.transport import LIMIT_S, Answer, Worker, understood

_TRIES = 2  # one retry


@dataclass(frozen=True, slots=True)
class FleetTransport:
    """pools: the boards of each device. Nothing needs to be held or looked at again: agents lock their boards, and
    have said what their machines are."""

    pools: Any

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:
        return _BoardWorker(self.pools.of(device), limit_s)


@dataclass(frozen=True, slots=True)
class _BoardWorker(AbstractContextManager["_BoardWorker"]):
    pool: Pool
    limit_s: float

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        if do == "hold":
            yield {"is_held": False}
        elif do in requests.GREETINGS:
            with understood(do):
                yield from self.pool.greeting()[do]
        elif do == "tune" and len(boards := self.pool.fleet.plan.boards_of(self.pool.device.name)) > 1:
            names = ", ".join(board.name for board in boards)
            raise InputError(
                f"kernels are kept on the board that tuned them, and {names} all have device "
                f"{self.pool.device.name!r}; tune with a fleet file of one board at a time"
            )
        else:
            yield from self._asked({"do": do, **arguments})

    def _asked(self, asked: dict[str, Any]) -> list[Answer]:
        """The answers of a board. Raises the error of the worker there."""
        parcel = Parcel()
        texts = [asked.pop("graph")] if "graph" in asked else asked.get("graphs", [])
        graphs = [parcel.packed(Graph.from_json(text)) for text in texts]
        asked = {**asked, **({"graphs": []} if "graphs" in asked else {})}
        arguments = {
            "device": self.pool.device.to_record(with_address=True), "limit_s": self.limit_s, "request": asked,
            "graphs": graphs,
        }  # fmt: skip
        for attempt in range(1, _TRIES + 1):
            sent = self._sent(arguments, parcel)
            if sent.error is None and sent.answer is not None:
                self.pool.fleet.succeeded(sent.board)
                with understood(str(asked["do"])):
                    return [dict(answer) for answer in sent.answer["answers"]]
            if sent.error is not None and (attempt == _TRIES or not error_is_boards(sent.error)):
                raise sent.error
        raise DeviceLostError("the request was lost")

    def _sent(self, arguments: Mapping[str, Any], parcel: Parcel) -> Sent:
        """A request that has ended; again where its board was drained or lost before it answered."""
        fleet, end = self.pool.fleet, monotonic() + self.pool.fleet.plan.patience_s
        self.pool.greeting()
        while True:
            board = first_with_room(fleet, self.pool.boards())
            sent = fleet.send(board, "ask", parcel, **arguments) if board is not None else None
            if sent is None:
                self.pool.require_hope(end)
                fleet.wait()
                continue
            while not sent.has_ended:
                fleet.wait()
                fleet.boards()
            if sent.is_lost:
                fleet.lost(sent)
            elif not isinstance(sent.error, DrainingError):
                return sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass
