"""Holds a machine for a job: between its rounds, too, no other hwprof may measure there.

A worker of the job's own keeps the lock (`hwprof.measure.exclusive`) on the machine that measures, wherever that is,
and does nothing else, so that it disturbs nothing. The lock vanishes with it, and it ends with its job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep

from hwprof.device import Device
from hwprof.errors import MachineBusyError, TimeLimitError
from hwprof.measure.transport import LIMIT_S, RestartedWorker, Transport, Worker, ask_once

_POLL_S = 2.0


@contextmanager
def held(
    transport: Transport, device: Device, wait_s: float = 0.0, is_over: Callable[[], bool] = lambda: False
) -> Iterator[Transport]:
    """A transport whose workers have the device's machine to themselves until the context ends.

    Raises MachineBusyError when another hwprof still measures there after `wait_s`, or when `is_over` says that nobody
    wants it any more. A device whose times are not measured on the worker's machine (analytic, emulated, remote) needs
    no lock and gets none.
    """
    with RestartedWorker(transport, device) as holder:
        machine = _HeldMachine(transport, device, holder)
        _take(machine, wait_s, is_over)
        yield machine


def _take(machine: _HeldMachine, wait_s: float, is_over: Callable[[], bool]) -> None:
    end = monotonic() + wait_s
    while True:
        try:
            return machine.renew()
        except MachineBusyError:
            if monotonic() >= end or is_over():
                raise
            sleep(min(_POLL_S, max(0.0, end - monotonic())))


@dataclass(slots=True)
class _HeldMachine:
    """A transport that makes sure of the lock each time it opens a worker."""

    transport: Transport
    device: Device
    holder: RestartedWorker
    is_needed: bool = field(default=True, init=False)

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:
        self.renew()
        return self.transport.open(device, limit_s)

    def renew(self) -> None:
        """Takes the lock, again where its holder was lost or hangs. Raises as `held` does."""
        if not self.is_needed:
            return
        try:
            self.is_needed = self._is_held()
        except TimeLimitError:
            self.is_needed = self._is_held()
        if not self.is_needed:
            self.holder.close()

    def _is_held(self) -> bool:
        return bool(ask_once(self.holder, "hold", device=self.device.to_record(with_address=True)).get("is_held"))
