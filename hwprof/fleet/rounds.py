"""Measures the cohorts of a job on the boards of a fleet: each whole on one board, in groups, until all are stored.

A cohort is sent again until its answer is there. It goes back to the board that has its answer or is measuring it, so
that it is not measured twice, also when the scheduler or the driver was killed meanwhile; other boards get it when that
board does not come back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from hwprof.errors import DeviceLostError, HwprofError
from hwprof.fleet import request as requests
from hwprof.fleet.driver import Board, Sent
from hwprof.fleet.parcel import Parcel
from hwprof.fleet.pool import Pool, error_is_boards
from hwprof.fleet.request import DrainingError
from hwprof.measure.rounds import Cohort, CohortRounds
from hwprof.measure.transport import understood

GRACE_S = 15.0  # for a board that was lost to come back, before others get what it was measuring
_ATTEMPTS = 2  # one retry
_FEWEST_SHARES = 2  # of what waits, for each board: so that no board is still busy long after the others


@dataclass(slots=True, eq=False)
class _Task:
    """A cohort on its way. `name`: of its answer. `place`: the board that may have it; others get the cohort from
    `free_at` on."""

    cohort: Cohort
    name: str
    attempt: int = 0
    place: str = ""
    free_at: float = 0.0
    failed_on: str = ""


@dataclass(slots=True)
class FleetRounds(CohortRounds):
    """Measures on all boards of a pool at once, which know their own transports.

    limit_s: of each answer of a worker."""

    pool: Pool | None = None
    limit_s: float = 0.0
    mean_s: float = field(default=0.0, init=False)  # that a cohort takes
    job: str = field(default_factory=lambda: os.urandom(8).hex(), init=False)  # its name, by which boards stop it
    stopped: set[str] = field(default_factory=set, init=False)  # the addresses of the boards that did
    found_at: float = field(default=0.0, init=False)  # the look at the boards after which answers were found
    stored: set[str] = field(default_factory=set, init=False)
    waiting: list[_Task] = field(default_factory=list, init=False)
    sent: list[tuple[Sent, list[_Task]]] = field(default_factory=list, init=False)

    def run(self, cohorts: Sequence[Cohort]) -> Iterator[Cohort]:
        """Measures until every cohort has ended; yields each as it ends, and tells its board when the caller comes
        back for the next: by then it is stored. Raises DeviceLostError where no board is left."""
        for cohort in [cohort for cohort in cohorts if cohort.is_done(self.settings)]:
            yield self._ended(cohort)
        self.waiting = [_Task(cohort, self._name(cohort, 0)) for cohort in cohorts if not cohort.ended]
        self.mean_s = self.settings.budget_s
        end = monotonic() + self.total_s
        patience = self._patience()
        while self.waiting or self.sent:
            if monotonic() > end:
                yield from self._end_early()
            elif self._send_all() or self.sent:
                patience = self._patience()
            else:
                self._pool.require_hope(patience)
            self._pool.fleet.wait()
            for sent, tasks in self._taken():
                yield from self._answered(sent, tasks)

    @property
    def _pool(self) -> Pool:
        assert self.pool is not None
        return self.pool

    def _patience(self) -> float:
        return monotonic() + self._pool.fleet.plan.patience_s

    # -- what is sent --------------------------------------------------------------------------------------

    def _send_all(self) -> bool:
        """Fills the boards that have room. Returns whether anything was sent."""
        boards = self._pool.boards()
        if self._pool.fleet.looked != self.found_at:
            self._find(boards)
        was_sent = False
        for board in boards:
            while self._pool.fleet.capacity(board) > 0 and (group := self._group(board, len(boards))):
                if not self._send(board, group):
                    return was_sent
                was_sent = True
        return was_sent

    def _find(self, boards: Sequence[Board]) -> None:
        """Notes which board has the answer of which task, or is about to have it."""
        self.found_at = self._pool.fleet.looked
        places = {name: board.name for board in boards for name in board.answers}
        for board in boards:  # a second answer, of a board that was taken for lost
            self._pool.fleet.acknowledge(board.name, [name for name in board.answers if name in self.stored])
        for task in self.waiting:
            if task.name in places:
                task.place, task.free_at = places[task.name], math.inf
            elif task.free_at == math.inf:
                task.free_at = monotonic() + GRACE_S

    def _name(self, cohort: Cohort, attempt: int) -> str:
        return requests.name_of(cohort, self.device, self.settings, attempt)

    def _group(self, board: Board, n_boards: int) -> list[_Task]:
        """The board's next tasks: those that it has, then free ones; about as many as fill the plan's seconds."""
        own = [task for task in self.waiting if task.place == board.name]
        now = monotonic()
        free = [task for task in self.waiting if task.place != board.name and task.free_at <= now]
        elsewhere = [task for task in free if task.failed_on != board.name]
        share = math.ceil(len(self.waiting) / (_FEWEST_SHARES * n_boards))
        most = max(1, min(int(self._pool.fleet.plan.group_s / max(self.mean_s, 1e-3)), share))
        return [*own, *(elsewhere if n_boards > 1 else free)][:most]

    def _send(self, board: Board, group: Sequence[_Task]) -> bool:
        parcel = Parcel()
        try:
            records = [requests.cohort_record(task.name, task.cohort, parcel) for task in group]
            sent = self._pool.fleet.send(
                board, "measure", parcel, device=self.device.to_record(with_address=True),
                settings=asdict(self.settings), limit_s=self.limit_s, in_detail=self.in_detail, job=self.job,
                cohorts=records,
            )  # fmt: skip
        except HwprofError as error:
            if len(group) > 1:
                return self._send(board, group[:1])
            group[0].cohort.error = error
            sent = Sent(self._pool.fleet, board, lambda _: None, error=error)
        if sent is None:
            return False
        for task in group:
            self.waiting.remove(task)
            task.place, task.free_at = board.name, math.inf
        self.sent.append((sent, list(group)))
        return True

    # -- what comes back -----------------------------------------------------------------------------------

    def _taken(self) -> list[tuple[Sent, list[_Task]]]:
        """The requests that have ended, each of which is asked once: it may end between two questions."""
        ended: list[tuple[Sent, list[_Task]]] = []
        pending: list[tuple[Sent, list[_Task]]] = []
        for sent, tasks in self.sent:
            (ended if sent.has_ended else pending).append((sent, tasks))
        self.sent = pending
        return ended

    def _answered(self, sent: Sent, tasks: Sequence[_Task]) -> Iterator[Cohort]:
        fleet = self._pool.fleet
        if sent.error is not None or sent.answer is None:
            yield from self._failed(sent, tasks)
            return
        with understood("measure"):
            records = [dict(record) for record in sent.answer["cohorts"]]
            is_well = bool(sent.answer["is_well"])
        if len(records) != len(tasks):
            raise DeviceLostError(f"board {sent.board.name} answered {len(records)} of {len(tasks)} cohorts")
        if is_well:
            fleet.succeeded(sent.board)
        else:
            fleet.failed(sent.board, DeviceLostError(f"board {sent.board.name} no longer runs the smallest network"))
        self._note_pace(records)
        for task, record in zip(tasks, records, strict=True):
            name = task.name
            if (ended := self._apply(task, record, sent.board)) is not None:
                yield ended
            self.stored.add(name)
            fleet.acknowledge(sent.board.name, [name])

    def _apply(self, task: _Task, record: Mapping[str, Any], board: Board) -> Cohort | None:
        """The cohort with what was measured of it, in the store; None where it is to be measured again."""
        cohort, error = task.cohort, requests.error_of(record)
        with understood("measure"):
            found = requests.processes(record["processes"])
            spent_s = float(record["spent_s"])
        if len(found) != len(cohort.graphs):
            raise DeviceLostError(f"board {board.name} answered with other networks than it was sent")
        if error is not None and error_is_boards(error) and not all(found) and task.attempt + 1 < _ATTEMPTS:
            self._again(task, board)
            return None
        cohort.board, cohort.spent_s, cohort.error = board.name, spent_s, error
        for number in sorted({p.round for processes in found for p in processes}):
            for place, processes in enumerate(found):
                known = {p.round for p in cohort.processes[place]}
                for process in processes:
                    if process.round == number and number not in known:
                        self._keep(cohort, place, process)
        return self._ended(cohort)

    def _again(self, task: _Task, board: Board) -> None:
        task.attempt += 1
        task.name = self._name(task.cohort, task.attempt)
        task.place, task.free_at, task.failed_on = "", 0.0, board.name
        self.waiting.append(task)

    def _failed(self, sent: Sent, tasks: Sequence[_Task]) -> Iterator[Cohort]:
        """The request has no answer. What was lost with its board or scheduler is asked for again, there first."""
        error = sent.error or DeviceLostError("there is no answer")
        if sent.is_lost:
            self._pool.fleet.lost(sent)
        elif error_is_boards(error) and not isinstance(error, DrainingError):
            self._pool.fleet.failed(sent.board, error)
        for task in tasks:
            if sent.is_lost or isinstance(error, DrainingError):
                task.free_at = monotonic() + (GRACE_S if sent.is_lost else 0.0)
                self.waiting.append(task)
            elif error_is_boards(error) and task.attempt + 1 < _ATTEMPTS:
                self._again(task, sent.board)
            else:
                task.cohort.error = error
                yield self._ended(task.cohort)

    def _end_early(self) -> Iterator[Cohort]:
        """The time of the whole job is over: boards end what they measure, and what they have of it is still taken."""
        self._pool.fleet.boards()
        boards = {sent.board.address: sent.board for sent, _ in self.sent if sent.board.address not in self.stopped}
        if boards:
            told = self._pool.fleet.command([*boards.values()], "stop", job=self.job)
            self.stopped.update(board.address for board in told)
        left, self.waiting = self.waiting, []
        yield from (self._out_of_time(task.cohort) for task in left)

    def _note_pace(self, records: Sequence[Mapping[str, Any]]) -> None:
        seconds = [float(record.get("spent_s", 0.0)) for record in records]
        self.mean_s += 0.5 * (sum(seconds) / len(seconds) - self.mean_s) if seconds else 0.0
