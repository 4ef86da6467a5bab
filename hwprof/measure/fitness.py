"""Is the machine fit to measure? The checks' results, as a job sees them; `environment` runs them on the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, HwprofError
from hwprof.measure import disturbance
from hwprof.measure.opening import open_once, smallest
from hwprof.measure.transport import RestartedWorker, Transport, Worker, ask_once, understood


class Fitness(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    UNFIT = "unfit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `hwprof doctor`: what was checked, what was found, what to do about it."""

    name: str
    fitness: Fitness
    found: str
    advice: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Check:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**record, "fitness": Fitness(record["fitness"])})


def check_machine(transport: Transport, device: Device) -> list[Check]:
    """All checks of the machine that measures the device, of the device's runtime and of its accelerator."""
    with RestartedWorker(transport, device) as worker:
        checks = [*preflight(worker, device), *_runtime_checks(worker, device)]
        return checks if checks[-1].fitness is Fitness.UNFIT else [*checks, _check_settings(worker, device)]


def _check_settings(worker: Worker, device: Device) -> Check:
    """Whether the runtime grants what the device asks for (instruction set, provider, precision, threads): it runs the
    smallest network."""
    try:
        open_once(worker, smallest(device), device)
    except HwprofError as error:
        return Check("device", Fitness.UNFIT, str(error), "change the device's file, or choose another: hwprof devices")
    return Check("device", Fitness.OK, "opens and runs a network")


def preflight(worker: Worker, device: Device) -> list[Check]:
    """The checks of the worker's machine."""
    answers = list(worker.ask("preflight", device=device.to_record(with_address=True)))
    with understood("preflight"):
        return [Check.from_record(answer) for answer in answers]


def _runtime_checks(worker: Worker, device: Device) -> list[Check]:
    try:
        hello = ask_once(worker, "hello", device=device.to_record(with_address=True))
    except HwprofError as error:
        return [Check("runtime", Fitness.UNFIT, str(error), "choose another device: hwprof devices")]
    with understood("hello"):
        names = [f"{name} {version}" for name, version in hello["versions"].items()]
        found = ", ".join(names) or str(hello["evidence"])
        return [Check("runtime", Fitness.OK, found), *accelerator_checks(hello["state"])]


def accelerator_checks(state: Mapping[str, Any] | None) -> list[Check]:
    """state: a `DeviceState` as a record, None where the device is the host or shows nothing."""
    if state is None:
        return []
    clock, degrees, power = (state[key] for key in ("clock_mhz", "temperature_c", "power_w"))
    shown = ((clock, "MHz"), (degrees, "degrees C"), (power, "W"))
    found = ", ".join(f"{value:.0f} {unit}" for value, unit in shown if value is not None) or "shows nothing"
    causes = sorted(set(state["throttled"]) & disturbance.THROTTLING)
    if causes:
        return [Check("accelerator", Fitness.WARNING, f"{found}; held down: {', '.join(causes)}", "let it cool down")]
    return [Check("accelerator", Fitness.OK, found)]


def require_fit(checks: Sequence[Check], allow_unfit: bool) -> list[str]:
    """The warnings to show. Raises EnvironmentUnfitError for the first unfit check, unless that is allowed."""
    unfit = [c for c in checks if c.fitness is Fitness.UNFIT]
    if unfit and not allow_unfit:
        raise EnvironmentUnfitError(f"{unfit[0].name}: {unfit[0].found}; {unfit[0].advice}")
    return [f"{c.name}: {c.found}" for c in checks if c.fitness in (Fitness.WARNING, Fitness.UNFIT)]
