"""Holds a machine for a job: between its rounds, too, no other hwprof may measure there.

A worker of the job's own keeps the lock (`hwprof.measure.exclusive`) on the machine that measures, wherever that is,
and does nothing else, so that it disturbs nothing. The lock vanishes with it, and it ends with its job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from hwprof.device import Device
from hwprof.errors import DeviceLostError
from hwprof.measure.transport import Transport, Worker


@contextmanager
def held(transport: Transport, device: Device) -> Iterator[Transport]:
    """A transport whose workers have the device's machine to themselves until the context ends.

    Raises EnvironmentUnfitError when another hwprof is measuring there. A device whose times are not measured on the
    worker's machine (analytic, emulated, remote) needs no lock and gets none.
    """
    with ExitStack() as stack:
        machine = _HeldMachine(transport, device, stack)
        machine.renew()
        yield machine


@dataclass(slots=True)
class _HeldMachine:
    """A transport that makes sure of the lock each time it opens a worker."""

    transport: Transport
    device: Device
    stack: ExitStack
    holder: Worker | None = field(default=None, init=False)
    is_needed: bool = field(default=True, init=False)

    def open(self, device: Device) -> Worker:
        self.renew()
        return self.transport.open(device)

    def renew(self) -> None:
        """Takes the lock, again where its holder was lost. Raises as `held` does."""
        if not self.is_needed:
            return
        if self.holder is not None:
            try:
                self._ask_to_hold(self.holder)
            except DeviceLostError:
                self.holder = None
        if self.holder is None:
            holder = self.stack.enter_context(self.transport.open(self.device))
            self.is_needed = self._ask_to_hold(holder)
            self.holder = holder
            if not self.is_needed:
                self.stack.close()

    def _ask_to_hold(self, holder: Worker) -> bool:
        (answer,) = holder.ask("hold", device=self.device.to_record(with_address=True))
        return bool(answer["is_held"])
