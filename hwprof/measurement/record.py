"""The measurement of one network on one device: raw samples per process, protocol, environment. The rest is derived."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np

from hwprof import instructions as counting
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.measurement import estimate, pairing
from hwprof.measurement.estimate import MAX_REJECTED_SHARE, Baseline, Clock, LatencyStatistics
from hwprof.measurement.samples import CpuTime, OperatorTime, Process, process_from_record

_BEFORE_CPU_TIME = (
    "measured by an older hwprof, without CPU times, while other programs ran: the undisturbed latency is corrected by "
    "wall time, which misjudges short networks then; --fresh measures again"
)


class Evidence(StrEnum):
    """The kind of a figure. Only MEASURED may be called a measurement. SIMULATED times are those of another program on
    this machine; EMULATED figures are instructions, not times."""

    MEASURED = "measured"
    REPLAYED = "replayed"
    ANALYTIC = "analytic"
    SIMULATED = "simulated"
    EMULATED = "emulated"


class Status(StrEnum):
    """How a measurement ended. Only CONVERGED reached its target. LIMITED is known as precisely as the load of the
    machine lets it be: more processes would not help."""

    CONVERGED = "converged"
    LIMITED = "limited"
    BUDGET = "budget"
    UNSTABLE = "unstable"
    NOT_STEADY = "not steady"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """The numbers of the protocol. They are stored with every measurement.

    `target` is the half-width of the 95 % interval relative to the median. `budget_s` is for the processes of one
    network: each gets its share, and none starts most of which would come after the end, but the fewest that make an
    interval may take three times as long. A fast sweep is the same protocol with a wider target and fewer processes.
    """

    target: float = 0.01
    pilot_processes: int = 3
    min_processes: int = 5
    max_processes: int = 20
    budget_s: float = 60.0
    block_ms: float = 20.0
    block_ticks: int = 1000
    pilot_blocks: int = 10
    min_blocks: int = 5
    max_blocks: int = 40
    warmup_runs: int = 10
    warmup_max_s: float = 5.0
    warmup_tolerance: float = 0.02
    stamp_each_from_us: float = 50.0
    anchor_tolerance: float = 0.03
    max_rejected_share: float = MAX_REJECTED_SHARE
    seed: int = 0


FAST = ProtocolSettings(target=0.03, min_processes=3, max_processes=5, budget_s=10.0, pilot_blocks=5)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Raw samples of one graph on one device, with everything needed to read them years later.

    `environment` and `versions` are JSON-ready. `anchor_baseline_ns` and `anchor_baseline_cpu_ns` are the undisturbed
    times of one run of each anchor on this machine by the two clocks, with which `normalized` corrects for a slow phase
    of the machine; `is_baseline_quiet` says whether the machine was quiet when they were seen (None: not known).
    """

    model: str
    digest: str
    device: Device
    hardware: str
    evidence: Evidence
    versions: Mapping[str, str]
    protocol: ProtocolSettings
    environment: Mapping[str, Any]
    processes: tuple[Process, ...]
    status: Status
    warnings: tuple[str, ...] = ()
    anchor_baseline_ns: Mapping[str, float] = field(default_factory=dict)
    overhead_ns: float | None = None
    operators: tuple[OperatorTime, ...] = ()
    operators_total_ns: float | None = None  # of the profiled runs, which are slower than plain ones
    inputs: Mapping[str, str] = field(default_factory=dict)  # what the user gave of them, by name
    network_warnings: tuple[str, ...] = ()  # those of the graph; they are among `warnings`, too
    anchor_baseline_cpu_ns: Mapping[str, float] = field(default_factory=dict)
    is_baseline_quiet: bool | None = None
    operator_passes: tuple[tuple[OperatorTime, ...], ...] = ()  # in turns with those of the network it is compared with

    @property
    def latency_ms(self) -> float:
        return self.statistics.median

    @property
    def interval_ms(self) -> tuple[float, float]:
        s = self.statistics
        return s.low, s.high

    @property
    def statistics(self) -> LatencyStatistics:
        """Raw wall-clock latency. Raises InputError when no block was kept, and for an emulated core."""
        self._require_times()
        return self._with_known_bounds(estimate.raw(self.processes))

    @property
    def normalized(self) -> LatencyStatistics:
        """The latency at this machine's undisturbed speed, by `normalized_clock`. Without anchors it equals
        `statistics`, unless it is by CPU time."""
        self._require_times()
        found = estimate.undisturbed(self.processes, self.baseline, self.protocol.max_rejected_share)
        return self._with_known_bounds(found)

    @property
    def normalized_clock(self) -> Clock:
        """The clock of `normalized`, by the rule in `hwprof.measurement.estimate`."""
        return estimate.clock(self.processes, self.protocol.max_rejected_share)

    @property
    def clock_name(self) -> str:
        """The clock of `normalized` in words: the device's own ("CUDA events") where it has one. It says so where the
        anchors do not correct it."""
        clock = next((p.clock for p in self.processes if p.clock), self.normalized_clock.value)
        return clock if self.is_corrected else f"{clock}, uncorrected"

    @property
    def is_corrected(self) -> bool:
        """Whether the anchors may correct `normalized`: not where the runtime's idle threads spin."""
        return estimate.is_corrected(self.processes)

    @property
    def is_normalized(self) -> bool:
        """Whether `normalized` is more than `statistics`: the anchors ran, or it is by CPU time."""
        if self.is_counted or not any(p.blocks for p in self.processes):
            return False
        has_anchors = any(b.anchors_ns for p in self.processes for b in p.kept)
        return self.normalized_clock is Clock.CPU or (bool(self.anchor_baseline_ns) and has_anchors)

    @property
    def baseline(self) -> Baseline:
        """The undisturbed anchors."""
        return Baseline(self.anchor_baseline_ns, self.anchor_baseline_cpu_ns, self.is_baseline_quiet)

    @property
    def is_counted(self) -> bool:
        """Whether it has the instructions of an emulated core, and no times."""
        return self.evidence is Evidence.EMULATED

    @property
    def is_formula(self) -> bool:
        """Whether its times come from a formula. Its processes agree exactly, which says nothing about its error."""
        return self.evidence is Evidence.ANALYTIC

    def decisive_ms(self, s: LatencyStatistics) -> tuple[float, float]:
        """The bounds by which a limit in ms is judged: those of `s`, its statistics; of a formula, which has none, its
        value."""
        return (s.median, s.median) if self.is_formula else (s.low, s.high)

    @property
    def instructions(self) -> dict[str, float]:
        """Instructions of one inference by class: medians over the processes' medians. Raises InputError without
        any."""
        counted = [counting.median(p.instructions) for p in self.processes if p.instructions]
        if not counted:
            raise InputError(f"the instructions of {self.model!r} were not counted; use an emulated device for that")
        return counting.median(counted)

    @property
    def cold_start_ms(self) -> float:
        """Median over the processes of the first inference, ms."""
        self._require_times()
        return float(np.median([p.cold_ns for p in self.processes])) / 1e6

    @property
    def open_ms(self) -> float:
        return float(np.median([p.open_ns for p in self.processes])) / 1e6

    @property
    def samples(self) -> int:
        return sum(len(b.samples_ns) for p in self.processes for b in p.kept)

    @property
    def rejected_share(self) -> float:
        return estimate.rejected_share(self.processes)

    @property
    def peak_memory_bytes(self) -> int:
        return max((p.peak_memory_bytes for p in self.processes), default=0)

    @property
    def builds(self) -> tuple[str, ...]:
        """The different builds that the processes ran, in the order of their appearance."""
        return tuple(dict.fromkeys(p.build for p in self.processes if p.build))

    @property
    def build_warnings(self) -> tuple[str, ...]:
        """Warnings that apply to all its figures: that the weights are random, that nobody tuned the build, or that
        an older hwprof measured it (`age_warnings`)."""
        of_builds = (w for p in self.processes if p.build for w in p.warnings)
        return tuple(dict.fromkeys((*self.network_warnings, *of_builds, *self.age_warnings)))

    @property
    def age_warnings(self) -> tuple[str, ...]:
        """A warning where the processes are from before CPU times were taken, and the machine was disturbed."""
        is_older = all(p.cpu_time is CpuTime.UNKNOWN and p.other_cpus is None for p in self.processes)
        is_on_host = not (self.device.remote or self._has_own_clock)
        if not (self.evidence is Evidence.MEASURED and is_older and is_on_host and self.is_normalized):
            return ()
        slowest = max(estimate.median_slowdown(p, self.anchor_baseline_ns) for p in self.processes if p.blocks)
        is_slow = slowest > 1 + self.protocol.anchor_tolerance
        return (_BEFORE_CPU_TIME,) if is_slow or self.rejected_share > self.protocol.max_rejected_share else ()

    @property
    def _has_own_clock(self) -> bool:
        """Whether the device is an accelerator, as far as the record shows it."""
        return any(p.clock or any(b.states for b in p.blocks) for p in self.processes)

    @property
    def energy_mj(self) -> float | None:
        values = [p.energy_mj for p in self.processes if p.energy_mj is not None]
        return float(np.median(values)) if values else None

    @property
    def figures(self) -> dict[str, float]:
        """Medians over the processes of the timer's figures other than the latency (`interfaces.FigureTimer`)."""
        names = dict.fromkeys(name for p in self.processes for name in p.figures)
        return {n: float(np.median([p.figures[n] for p in self.processes if n in p.figures])) for n in names}

    @property
    def device_state(self) -> dict[str, float]:
        """Medians over the valid blocks of the accelerator's readings, and the share of readings in which a cause
        (power limit, ...) held its clock down; empty for the host."""
        states = [s for p in self.processes for b in p.kept for s in b.states]
        found: dict[str, float] = {}
        for name in ("clock_mhz", "memory_clock_mhz", "power_w", "temperature_c"):
            shown = [value for s in states if (value := getattr(s, name)) is not None]
            found |= {name: float(np.median(shown))} if shown else {}
        for cause in sorted({c for s in states for c in s.throttled}):
            found[f"{cause.replace(' ', '_')}_share"] = sum(cause in s.throttled for s in states) / len(states)
        return found

    def to_record(self, with_processes: bool = True) -> dict[str, Any]:
        """JSON-ready; `from_record` reads it back."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        record["device"] = self.device.to_record()
        record["protocol"] = asdict(self.protocol)
        record["processes"] = [asdict(p) for p in self.processes] if with_processes else []
        record["operators"] = [asdict(o) for o in self.operators]
        record["operator_passes"] = [[asdict(o) for o in one] for one in self.operator_passes]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Measurement:
        """Raises InputError when the record was not written by `to_record`."""
        try:
            return cls(
                **{
                    **record,
                    "device": Device.from_record(record["device"]),
                    "evidence": Evidence(record["evidence"]),
                    "status": Status(record["status"]),
                    "protocol": ProtocolSettings(**record["protocol"]),
                    "processes": tuple(process_from_record(p) for p in record["processes"]),
                    "warnings": tuple(record["warnings"]),
                    "network_warnings": tuple(record.get("network_warnings", ())),
                    "operators": _kernels(record["operators"]),
                    "operator_passes": tuple(map(_kernels, record.get("operator_passes", ()))),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a measurement record: {error}") from None

    def _with_known_bounds(self, s: LatencyStatistics) -> LatencyStatistics:
        return replace(s, low=math.nan, high=math.nan) if self.is_formula else s

    def _require_times(self) -> None:
        if self.is_counted:
            raise InputError(
                f"{self.model!r} has no latency on {self.device.name!r}: the core is emulated, and only its "
                "instructions were counted; measure on the device itself, or use a predictor that was trained on it"
            )

    def with_processes(self, *more: Process) -> Measurement:
        return replace(self, processes=(*self.processes, *more))


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A from paired rounds. `verdict` is faster, slower, same or inconclusive, of B relative to A.

    ratio: B's latency over A's, with its 95 % interval `low` to `high`; inside 1 ± `margin` they are the same. The
    verdict on two formulas is by their ratio alone, which is then `low` and `high`, too.
    output_error: the root mean square of the difference of their outputs, over that of A's; None where it was not
    asked for, as between two networks that do not compute the same thing.
    """

    a: Measurement
    b: Measurement
    verdict: str
    ratio: float
    low: float
    high: float
    pairs: int
    margin: float
    output_error: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the ratio; nan where there is none, as for two formulas, whose errors nobody knows."""
        return (math.nan, math.nan) if self.a.is_formula or self.b.is_formula else (self.low, self.high)

    @property
    def clock(self) -> Clock:
        """The clock of the ratio (`hwprof.measurement.pairing`)."""
        return pairing.clock(self.a.processes, self.b.processes, self.a.protocol.max_rejected_share)

    @property
    def clock_name(self) -> str:
        """The clock of the ratio in words: the device's own ("CUDA events") where it has one."""
        return next((p.clock for p in self.a.processes if p.clock), self.clock.value)


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest observed speeds of a device: multiply-adds per second by element type, bytes moved per second.

    `bytes_per_s` is the memory's; `bandwidths` lists (bytes moved in one pass, bytes per second) from small
    passes, which the caches serve, to large ones.
    """

    macs_per_s: Mapping[str, float]
    bytes_per_s: float
    bandwidths: tuple[tuple[int, float], ...] = ()

    def bandwidth(self, moved_bytes: int) -> float:
        """The best bandwidth observed for a pass of this size or a larger one, bytes per second."""
        sizes = [size for size, _ in self.bandwidths if size <= moved_bytes]
        start = max(sizes, default=0)
        return max((rate for size, rate in self.bandwidths if size >= start), default=self.bytes_per_s)


def _kernels(records: Iterable[Mapping[str, Any]]) -> tuple[OperatorTime, ...]:
    return tuple(OperatorTime(**{**record, "members": tuple(record["members"])}) for record in records)


def at_one_speed(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements with the lowest anchor times in any of them as baselines: one undisturbed machine for all that
    are from the same hardware, device and versions."""
    machines = {_machine(m) for m in measurements}
    lowest = {key: _lowest_baseline([m for m in measurements if _machine(m) == key]) for key in machines}
    return [_with_baseline(m, lowest[_machine(m)]) for m in measurements]


def _machine(m: Measurement) -> tuple[object, ...]:
    return m.hardware, m.device.digest, *sorted(m.versions.items())


def _lowest_baseline(measurements: Sequence[Measurement]) -> Baseline:
    wall_ns, cpu_ns = ([getattr(m.baseline, clock) for m in measurements] for clock in ("wall_ns", "cpu_ns"))
    return Baseline(_lowest(wall_ns), _lowest(cpu_ns))


def _with_baseline(m: Measurement, lowest: Baseline) -> Measurement:
    return replace(
        m,
        anchor_baseline_ns={name: lowest.wall_ns[name] for name in m.anchor_baseline_ns},
        anchor_baseline_cpu_ns={name: lowest.cpu_ns[name] for name in m.anchor_baseline_cpu_ns},
    )


def _lowest(baselines: Iterable[Mapping[str, float]]) -> dict[str, float]:
    lowest: dict[str, float] = {}
    for baseline in baselines:
        for name, ns in baseline.items():
            lowest[name] = min(ns, lowest.get(name, ns))
    return lowest
