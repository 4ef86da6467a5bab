"""Asks devices whose times are formulas in this process: nothing runs for them that could crash, hang or be disturbed.

The answers are a worker's own (`hwprof.measure.worker`), so measurements, errors and stores are the same as with a
process for each round.
"""

from __future__ import annotations

from hwprof import plugins
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.interfaces import Backend
from hwprof.measure import worker
from hwprof.measure.transport import FunctionWorker
from hwprof.measure.worker_state import WorkerState
from hwprof.measurement import Evidence

_KIND = "analytic"  # in a device's file


def is_formula(device: Device) -> bool:
    """Whether the device says that it is analytic, and its backend does, too. Only then is the backend imported here:
    the libraries of other devices may crash."""
    if device.kind != _KIND:
        return False
    try:
        backend: Backend = plugins.load("backend", device.backend)
    except HwprofError:  # which a worker process tells
        return False
    return backend.evidence is Evidence.ANALYTIC


def open_formula() -> FunctionWorker:
    """A worker in this process."""
    state = WorkerState(is_alone=False)
    return FunctionWorker(lambda request: worker.answer(request, state))
