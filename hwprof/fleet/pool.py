"""The boards that may measure a device: equal hardware with equal versions, each greeted before it gets work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError
from hwprof.fleet.driver import Board, Fleet, Sent
from hwprof.measure.fitness import Check, Fitness
from hwprof.measure.transport import understood

_SETTLING_S = 10.0  # to wait after the first greeting for those of boards that come before it in the plan
_MOST_NAMES = 8  # of boards in a message


@dataclass(slots=True)
class Pool:
    """Used by one thread. The first board of the plan that answered is the reference: all figures of the device are of
    hardware like its. allow_unfit: whether a board that is not fit to measure may do so."""

    fleet: Fleet
    device: Device
    allow_unfit: bool = False
    greetings: dict[tuple[str, float], Mapping[str, Any]] = field(default_factory=dict)
    sent: dict[tuple[str, float], Sent] = field(default_factory=dict)
    reference: Mapping[str, Any] | None = None
    _first: float | None = None
    _equal: dict[tuple[str, float], bool] = field(default_factory=dict)
    _planned: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Raises InputError where no board of the plan has the device."""
        self._planned = {board.name: board for board in self.fleet.plan.boards_of(self.device.name)}

    def boards(self) -> list[Board]:
        """The boards that can take work now, in the order of the plan. Greets those that are new."""
        self._take_greetings()
        found = []
        for board in self.fleet.ready(self._planned):
            key = (board.name, board.started)
            if key in self.greetings:
                if self.reference is not None and key not in self._equal:
                    self._equal[key] = self._is_equal(board, self.greetings[key])
                if self._equal.get(key):
                    found.append(board)
            elif key not in self.sent and self.fleet.capacity(board) > 0:
                self._greet(board, key)
        return found

    def greeting(self) -> Mapping[str, Any]:
        """The reference's answers, by the question (`request.GREETINGS`); waits for a board.

        Raises DeviceLostError where all boards are set aside, or none is there in the plan's time."""
        end = monotonic() + self.fleet.plan.patience_s
        while self.reference is None:
            self.boards()
            self._choose_reference()
            if self.reference is None:
                self.require_hope(end)
                self.fleet.wait()
        return self.reference

    def require_hope(self, end: float) -> None:
        """Raises DeviceLostError where nobody is left to measure, or when `end` has come."""
        names = _some([*self._planned])
        aside = [f"{name} ({reason})" for name, reason in self.fleet.set_aside.items() if name in self._planned]
        if len(aside) == len(self._planned):
            raise DeviceLostError(f"every board with device {self.device.name!r} was set aside: {'; '.join(aside)}")
        if monotonic() > end:
            raise DeviceLostError(
                f"no board with device {self.device.name!r} was there for {self.fleet.plan.patience_s:g} s ({names}"
                f"{'; set aside: ' if aside else ''}{'; '.join(aside)}); start agents, and the same command goes on"
            )
        self.fleet.tell_waiting(f"waits for a board with device {self.device.name!r}: {names}")

    def _greet(self, board: Board, key: tuple[str, float]) -> None:
        sent = self.fleet.send(board, "greet", device=self.device.to_record(with_address=True))
        if sent is not None:
            self.sent[key] = sent

    def _take_greetings(self) -> None:
        for key, sent in [(key, sent) for key, sent in self.sent.items() if sent.has_ended]:
            del self.sent[key]
            if sent.answer is not None and sent.error is None:
                self.greetings[key] = sent.answer
                self._first = self._first or monotonic()
            elif sent.error is not None and not sent.is_lost:
                self.fleet.refuse(key[0], str(sent.error))
                self.fleet.failed(sent.board, sent.error)

    def _choose_reference(self) -> None:
        """The first board of the plan that is there and fit; those before it have time to answer."""
        is_settled = self._first is not None and monotonic() - self._first > _SETTLING_S
        order = {name: place for place, name in enumerate(self._planned)}
        for key in sorted({*self.greetings, *self.sent}, key=lambda key: (order[key[0]], -key[1])):
            if key in self.greetings and self._is_fit(key[0], self.greetings[key]):
                self.reference = self.greetings[key]
                return
            if key in self.sent and not is_settled:
                return

    def _is_equal(self, board: Board, greeting: Mapping[str, Any]) -> bool:
        if self.reference is None or greeting is self.reference:
            return True
        if not self._is_fit(board.name, greeting):
            return False
        if (difference := _difference(greeting, self.reference)) is not None:
            self.fleet.refuse(board.name, f"device {self.device.name!r}: {difference}")
            return False
        return True

    def _is_fit(self, board: str, greeting: Mapping[str, Any]) -> bool:
        if self.allow_unfit:
            return True
        with understood("preflight"):
            checks = [Check.from_record(record) for record in greeting["preflight"]]
        unfit = [check for check in checks if check.fitness is Fitness.UNFIT]
        for check in unfit:
            self.fleet.refuse(board, f"not fit to measure: {check.name}: {check.found}; {check.advice}")
        return not unfit


def _difference(one: Mapping[str, Any], reference: Mapping[str, Any]) -> str | None:
    """The reason for which figures of the two machines are not of the same device; None where they are."""
    with understood("hello"):
        (a,), (b,) = one["hello"], reference["hello"]
        for library in sorted({*a["versions"], *b["versions"]}):
            mine, other = a["versions"].get(library, "none"), b["versions"].get(library, "none")
            if mine != other:
                return f"it has {library} {mine}, the fleet {other}; install one version on all"
        if a["fingerprint"] != b["fingerprint"]:
            return f"its hardware is {a['fingerprint']}, the others' {b['fingerprint']}; give it a device of its own"
    return None


def _some(names: Sequence[str]) -> str:
    """All names, or the first ones of many."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def error_is_boards(error: HwprofError) -> bool:
    """Whether a request may succeed on another board."""
    return error.exit_status != 2  # all but bad input


def first_with_room(fleet: Fleet, boards: Sequence[Board]) -> Board | None:
    """The board with the most room for requests."""
    with_room = [board for board in boards if fleet.capacity(board) > 0]
    return max(with_room, key=fleet.capacity, default=None)
