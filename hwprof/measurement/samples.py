"""The raw samples of one network in one worker process, as they are stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from hwprof.instructions import Counts


class CpuTime(StrEnum):
    """Whether the CPU time of a process is the work of its network. UNKNOWN: it was not taken, or belongs to a device
    with a clock of its own. COARSE: the clock's step is too large. SLEEPING: the process waits for work that is done
    elsewhere. SPINNING: idle threads wait busily."""

    UNKNOWN = ""
    WORK = "work"
    COARSE = "coarse"
    SLEEPING = "sleeping"
    SPINNING = "spinning"


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """One kernel that the runtime executed: `ns` per inference; `members` name the graph's nodes in it."""

    name: str
    op: str
    ns: float
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceState:
    """An accelerator's own readings at one moment; None where it lacks the sensor.

    throttled: the causes that hold its clock down, in words. energy_mj: spent since some moment in the past.
    """

    clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    energy_mj: float | None = None


@dataclass(frozen=True, slots=True)
class TimedBlock:
    """Consecutive inferences of one graph.

    samples_ns: time of `runs_per_sample` inferences each. cpu_samples_ns: CPU time of the same inferences, of all
    threads, `runs_per_cpu_sample` inferences each; empty where it was not taken. anchors_ns, anchors_cpu_ns: time of
    one run of each anchor around this block, by both clocks. cpu_ns: CPU time of the block and of the inferences that
    warm it up. `rejected` names the cause for which the block is not valid, or is empty. states: of the accelerator
    before and after the samples; empty where the device is the host or has no sensors.
    """

    start_ns: int
    samples_ns: tuple[int, ...]
    runs_per_sample: int = 1
    anchors_ns: Mapping[str, float] = field(default_factory=dict)
    cpu_ns: int = 0
    rejected: str = ""
    states: tuple[DeviceState, ...] = ()
    cpu_samples_ns: tuple[int, ...] = ()
    runs_per_cpu_sample: int = 1
    anchors_cpu_ns: Mapping[str, float] = field(default_factory=dict)

    @property
    def latencies_ns(self) -> np.ndarray:
        """[n_samples], ns per inference."""
        return np.asarray(self.samples_ns, float) / self.runs_per_sample

    @property
    def cpu_times_ns(self) -> np.ndarray:
        """[n_cpu_samples], ns of CPU time per inference, of all threads together."""
        return np.asarray(self.cpu_samples_ns, float) / self.runs_per_cpu_sample


@dataclass(frozen=True, slots=True)
class Process:
    """The measurement of one graph in one fresh worker process.

    `cold_ns` is the first inference after `open_ns` of loading; `warmup_ns` are the inferences until the times were
    steady. `energy_mj` per inference is None where no counter exists. `figures` are further figures of the timer, each
    with its unit in its name (`Measurement.figures`). `build` records what was compiled, where a runtime compiles. An
    emulated core has no times but `instructions`, of each counted inference. It ran on `cores` cores. other_cpus: how
    many CPUs other programs kept busy during the blocks, on average; None where the system does not tell. clock: the
    device's own one that took the samples ("CUDA events"), or empty for the wall clock of this machine.
    """

    round: int
    started: str
    open_ns: int
    cold_ns: int
    warmup_ns: tuple[int, ...]
    warmup: str
    blocks: tuple[TimedBlock, ...]
    peak_memory_bytes: int
    energy_mj: float | None = None
    warnings: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    build: str = ""
    instructions: tuple[Counts, ...] = ()
    cores: int = 1
    cpu_time: CpuTime = CpuTime.UNKNOWN
    other_cpus: float | None = None
    clock: str = ""

    @property
    def kept(self) -> tuple[TimedBlock, ...]:
        """The undisturbed blocks; where there are none, all of them: no process is dropped for being unlucky, and the
        share of rejected blocks makes the measurement `unstable`."""
        return tuple(b for b in self.blocks if not b.rejected) or self.blocks


def process_from_record(record: Mapping[str, Any]) -> Process:
    """The inverse of `dataclasses.asdict` on a Process. Raises KeyError or TypeError on a foreign record."""
    blocks = tuple(_block_from_record(b) for b in record["blocks"])
    _numbers([record["round"], record["open_ns"], record["cold_ns"], record["peak_memory_bytes"]])
    return Process(
        **{
            **record,
            "blocks": blocks,
            "warmup_ns": _numbers(record["warmup_ns"]),
            "warnings": tuple(record["warnings"]),
            "instructions": tuple(record.get("instructions") or ()),
            "cpu_time": CpuTime(record.get("cpu_time") or ""),
            "clock": str(record.get("clock") or ""),
        }
    )


def _block_from_record(record: Mapping[str, Any]) -> TimedBlock:
    states = tuple(DeviceState(**{**s, "throttled": tuple(s["throttled"])}) for s in record.get("states") or ())
    anchors = (record.get(name) or {} for name in ("anchors_ns", "anchors_cpu_ns"))
    _numbers([record["start_ns"], record.get("runs_per_cpu_sample", 1), *(ns for a in anchors for ns in a.values())])
    samples, cpu_samples = _numbers(record["samples_ns"]), _numbers(record.get("cpu_samples_ns") or ())
    return TimedBlock(**{**record, "samples_ns": samples, "cpu_samples_ns": cpu_samples, "states": states})


def _numbers(values: Iterable[int]) -> tuple[int, ...]:
    """Raises TypeError for anything that is not a time or size: a text, NaN, less than 0."""
    checked = tuple(values)
    for value in checked:
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise TypeError(f"{value!r} is not a time, size or number of a round")
    return checked
