"""Breaking a network's latency down: by kernel and by kind of operator, against the device's roofline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.jobs.inputs import Opening, StoreLike, Wanted, device_of, opened
from hwprof.jobs.profiling import profile
from hwprof.jobs.reporting import peaks
from hwprof.measure.machine import require_times
from hwprof.measure.recording import Options
from hwprof.measurement import Measurement
from hwprof.report import operators as breakdowns
from hwprof.report.operators import Breakdown, Kernel


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """Where the time of a network goes: its measurement, and the breakdown by kernel and by kind of operator."""

    measurement: Measurement
    breakdown: Breakdown

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """In the order of execution."""
        return self.breakdown.kernels

    @property
    def kinds(self) -> tuple[Kernel, ...]:
        """One row per kind of operator, the longest first."""
        return self.breakdown.kinds


def operators(
    model: object,
    device: Device | str = "cpu-1t",
    *,
    store: StoreLike = None,
    options: Options | None = None,
    **opening: Unpack[Opening],
) -> OperatorProfile:
    """The time of one network, given with `opening` as to `profile`, by operator, against the device's measured
    peaks.

    Raises InputError for a device that has no times or whose runtime cannot time operators.
    """
    wanted = Wanted(**opening)
    chosen = device_of(device)
    require_times(chosen)
    with opened(store, options) as (folder, kept, asked):
        graph = wanted.on(chosen, asked).open(model, folder, asked.on_warning)
        m = profile(graph, chosen, store=kept, options=asked)
        asked.on_step("measuring the machine's peaks")
        breakdown = breakdowns.of_measurement(m, graph, peaks(chosen, asked.limited_transport, asked.wait_s))
    if breakdown is None:
        raise InputError(f"device {chosen.name!r}: its runtime cannot time operators")
    return OperatorProfile(m, breakdown)
