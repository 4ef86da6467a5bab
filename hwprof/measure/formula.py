"""Asks devices whose times are formulas in this process: nothing runs for them that could crash, hang or be disturbed.

The answers are a worker's own (`hwprof.measure.worker`), so measurements, errors and stores are the same as with a
process for each round.
"""

from __future__ import annotations

from hwprof.measure import worker
from hwprof.measure.transport import FunctionWorker
from hwprof.measure.worker_state import WorkerState


def open_formula() -> FunctionWorker:
    """A worker in this process."""
    state = WorkerState(is_alone=False)
    return FunctionWorker(lambda request: worker.answer(request, state))
