"""Checking whether a machine is fit to measure a device."""

from __future__ import annotations

from hwprof.device import Device
from hwprof.jobs.inputs import device_of
from hwprof.measure.fitness import Check, check_machine
from hwprof.measure.transport import Transport
from hwprof.measure.worker_process import LOCAL


def doctor(device: Device | str = "cpu-1t", transport: Transport = LOCAL) -> list[Check]:
    """All checks of the machine that measures the device, its runtime and its accelerator. Raises InputError for an
    unknown device."""
    return check_machine(transport, device_of(device))
