"""Measurements and devices made by hand for tests."""

from __future__ import annotations

from collections.abc import Sequence

from hwprof.device import Device
from hwprof.instructions import CLASSES
from hwprof.measurement import Evidence, Measurement, Process, ProtocolSettings, Status, TimedBlock


def make_process(round_number: int, block_medians_ns: Sequence[float], **changes: object) -> Process:
    """A process whose blocks hold one sample each."""
    blocks = tuple(TimedBlock(start_ns=i * 10**7, samples_ns=(round(ns),)) for i, ns in enumerate(block_medians_ns))
    values = {
        "round": round_number,
        "started": "2026-01-01T00:00:00+00:00",
        "open_ns": 10**6,
        "cold_ns": 10**6,
        "warmup_ns": (10**6,) * 20,
        "warmup": "flat",
        "blocks": blocks,
        "peak_memory_bytes": 2**20,
        **changes,
    }
    return Process(**values)


def make_measurement(processes: Sequence[Process], model: str = "m", **changes: object) -> Measurement:
    values = {
        "model": model,
        "digest": model.ljust(32, "0"),
        "device": Device("d", "roofline"),
        "hardware": "0" * 12,
        "evidence": Evidence.MEASURED,
        "versions": {"runtime": "1"},
        "protocol": ProtocolSettings(),
        "environment": {},
        "processes": tuple(processes),
        "status": Status.CONVERGED,
        **changes,
    }
    return Measurement(**values)


def counts(fma: int, **others: int) -> dict[str, int]:
    """Instructions of one inference by class."""
    return dict.fromkeys(CLASSES, 0) | {"fma": fma} | others


def counted_process(round_number: int, *instructions: dict[str, int]) -> Process:
    """What a worker makes on an emulated core: no times."""
    return make_process(
        round_number, [], cold_ns=0, warmup_ns=(), peak_memory_bytes=0, instructions=tuple(instructions)
    )


def counted_measurement(*processes: Process, model: str = "m", **changes: object) -> Measurement:
    """Of an emulated core."""
    device = Device("emulated-cortex-a72", "emulator").with_options(core="cortex-a72")
    return make_measurement(processes, model, **{"evidence": Evidence.EMULATED, "device": device, **changes})


def noisy_device(noise: float = 0.01, process_noise: float = 0.0, seed: int = 0) -> Device:
    """An analytic device whose runs and processes differ at random."""
    options = {
        "peak_macs_per_s": 1e12,
        "peak_bytes_per_s": 1e11,
        "launch_ns": 1_000_000.0,
        "noise": noise,
        "process_noise": process_noise,
        "seed": seed,
    }
    return Device("noisy", "roofline", kind="analytic").with_options(**options)
