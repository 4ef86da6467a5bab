"""The machine that measures, as a job sees it: the job asks a worker and inspects nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwprof import plugins
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError
from hwprof.interfaces import Backend, SaturatingBackend
from hwprof.measure.fitness import accelerator_checks, preflight, require_fit
from hwprof.measure.transport import RestartedWorker, Transport, Worker, ask_once, understood
from hwprof.measurement import Evidence


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that measures a device: its fingerprint (`hardware`), all that is stored of it with a measurement
    (`snapshot`, JSON-ready), the runtime's versions, what its times are worth, and what a stamp costs there."""

    hardware: str
    snapshot: Mapping[str, Any]
    versions: Mapping[str, str]
    evidence: Evidence
    overhead_ns: float
    warnings: tuple[str, ...]


def look(worker: Worker, device: Device, allow_unfit: bool = False) -> Machine:
    """The machine of the device's workers. Raises EnvironmentUnfitError where it is not fit to measure, unless that is
    allowed, and what the runtime raises where the device is not there."""
    warnings = require_fit(preflight(worker, device), allow_unfit)
    hello = _hello(worker, device)
    with understood("hello"):
        warnings += _evidence_warning(device, Evidence(hello["evidence"]))
        warnings += require_fit(accelerator_checks(hello["state"]), allow_unfit)
    costs = list(worker.ask("overhead", device=device.to_record(with_address=True)))
    seen = ask_once(worker, "snapshot", device=device.to_record(with_address=True))
    overhead = {name: value for answer in costs for name, value in answer.items()}
    with understood("overhead"):
        stamped, plain = overhead["empty_ns"]
        overhead_ns = max(0.0, float(stamped - plain))
    with understood("hello"):
        return Machine(
            hardware=str(hello["fingerprint"]),
            snapshot={"hardware": hello["hardware"], **seen, "overhead": overhead, "accelerator": hello["state"]},
            versions=dict(hello["versions"]),
            evidence=Evidence(hello["evidence"]),
            overhead_ns=overhead_ns,
            warnings=tuple(warnings),
        )


def fingerprint(transport: Transport, device: Device) -> str:
    """The fingerprint of the hardware that runs the device's networks. Raises what the backend raises where it is not
    there."""
    return identity(transport, device)[0]


def identity(transport: Transport, device: Device) -> tuple[str, str]:
    """The fingerprint of the hardware that runs the device's networks, and its processor in words. Raises as
    `fingerprint`."""
    with RestartedWorker(transport, device) as worker, understood("hello"):
        hello = _hello(worker, device)
        return str(hello["fingerprint"]), str(hello["hardware"].get("cpu", ""))


def saturates(transport: Transport, device: Device) -> bool:
    """Whether two products of uint8 and int8 are summed in 16 bits on the device (`interfaces.SaturatingBackend`).
    Raises as `fingerprint`."""
    backend = plugins.load("backend", device.backend)
    if not isinstance(backend, SaturatingBackend) or device.remote:
        return False
    with RestartedWorker(transport, device) as worker, understood("hello"):
        return backend.saturates(device, frozenset(_hello(worker, device)["hardware"]["features"]))


def evidence_of(device: Device) -> Evidence:
    """The kind of evidence of the device's figures. Raises as `plugins.load` does."""
    backend: Backend = plugins.load("backend", device.backend)
    return backend.evidence


def is_formula(device: Device) -> bool:
    """Whether the device says that it is analytic, and its backend does, too. Only then is the backend imported here:
    the libraries of other devices may crash."""
    if device.kind != Evidence.ANALYTIC:
        return False
    try:
        return evidence_of(device) is Evidence.ANALYTIC
    except HwprofError:  # which a worker process tells
        return False


def require_times(device: Device) -> None:
    """Raises InputError for a device whose instructions are counted, because it has no figures in ms."""
    if evidence_of(device) is Evidence.EMULATED:
        raise InputError(
            f"device {device.name!r} is emulated: it counts instructions (hwprof profile, explain, collect) and has no "
            "latency; hwprof train --counts predicts latencies from the counts"
        )


def _hello(worker: Worker, device: Device) -> dict[str, Any]:
    return ask_once(worker, "hello", device=device.to_record(with_address=True))


def _evidence_warning(device: Device, evidence: Evidence) -> list[str]:
    if evidence is Evidence.MEASURED:
        return []
    figures = "instructions counted" if evidence is Evidence.EMULATED else "times"
    return [f"{evidence}: the {figures} for device {device.name!r} are not measured on it"]
