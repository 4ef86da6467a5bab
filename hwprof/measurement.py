"""The measurement of one network on one device: raw samples per process, protocol, environment. The rest is derived.

2026-11-20, the weights of the anchors are fixed. Estimating them for each network from its own blocks (least squares of
log latency on log anchor time, shrunk or not) explained more within a session and less between sessions: noise in the
anchors biases the estimates, and their scatter multiplies the whole slowdown. Over 12 sessions of five networks on a
shared machine 95 % of pairs agreed within 3.3 % with the fixed weights, within 7 to 40 % with estimated ones and within
13 % without a correction; any weight from 0.7 to 0.9 for arithmetic did as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np

from hwprof import instructions as counting
from hwprof import metrics
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.instructions import Counts

# How far a network follows each kind of anchor. They sum to one: on a machine half as fast it takes twice as long.
ANCHOR_WEIGHTS = {"compute": 0.8, "copy": 0.2}
# A block with this correction has half the weight. The remaining error grows with the correction: over 400 cells
# (2026-11-21) two halves of the processes disagreed by 1.6 % (median absolute deviation) against 2.4 % unweighted.
_TRUSTED_SLOWDOWN = 0.02


class Evidence(StrEnum):
    """The kind of a figure. Only MEASURED may be called a measurement. SIMULATED times are those of another program on
    this machine; EMULATED figures are instructions, not times."""

    MEASURED = "measured"
    REPLAYED = "replayed"
    ANALYTIC = "analytic"
    SIMULATED = "simulated"
    EMULATED = "emulated"


class Status(StrEnum):
    """How a measurement ended. Only CONVERGED reached its target."""

    CONVERGED = "converged"
    BUDGET = "budget"
    UNSTABLE = "unstable"
    NOT_STEADY = "not steady"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """The numbers of the protocol. They are stored with every measurement.

    `target` is the half-width of the 95 % interval relative to the median. A fast sweep is the same
    protocol with a wider target and fewer processes.
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
    max_rejected_share: float = 0.2
    seed: int = 0


FAST = ProtocolSettings(target=0.03, min_processes=3, max_processes=5, budget_s=10.0, pilot_blocks=5)


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

    samples_ns: time of `runs_per_sample` inferences each. anchors_ns: time of one run of each anchor around this block.
    cpu_ns: processor time of the block and of the inferences that warm it up. `rejected` names the cause for which the
    block is not valid, or is empty. states: of the accelerator before and after the samples; empty where the device is
    the host or has no sensors.
    """

    start_ns: int
    samples_ns: tuple[int, ...]
    runs_per_sample: int = 1
    anchors_ns: Mapping[str, float] = field(default_factory=dict)
    cpu_ns: int = 0
    rejected: str = ""
    states: tuple[DeviceState, ...] = ()

    @property
    def latencies_ns(self) -> np.ndarray:
        """[n_samples], ns per inference."""
        return np.asarray(self.samples_ns, float) / self.runs_per_sample


@dataclass(frozen=True, slots=True)
class Process:
    """The measurement of one graph in one fresh worker process.

    `cold_ns` is the first inference after `open_ns` of loading; `warmup_ns` are the inferences until the times were
    steady. `energy_mj` per inference is None where no counter exists. `figures` are further figures of the timer, each
    with its unit in its name (`Measurement.figures`). `build` records what was compiled, where a runtime compiles. An
    emulated core has no times but `instructions`, of each counted inference.
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

    @property
    def kept(self) -> tuple[TimedBlock, ...]:
        """The undisturbed blocks; where there are none, all of them: no process is dropped for being unlucky, and the
        share of rejected blocks makes the measurement `unstable`."""
        return tuple(b for b in self.blocks if not b.rejected) or self.blocks


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """All in ms. `low` and `high` bound the median with 95 % confidence (nan for a single process)."""

    median: float
    low: float
    high: float
    p90: float
    p99: float
    mean: float
    min: float

    @property
    def relative_half_width(self) -> float:
        return (self.high - self.low) / 2 / self.median


@dataclass(frozen=True, slots=True)
class Measurement:
    """Raw samples of one graph on one device, with everything needed to read them years later.

    `environment` and `versions` are JSON-ready. `anchor_baseline_ns` is the undisturbed time of one run of each anchor
    on this machine, with which `normalized` corrects for a slow phase of the machine.
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
        return _statistics([[b.latencies_ns / 1e6 for b in p.kept] for p in self.processes if p.kept])

    @property
    def normalized(self) -> LatencyStatistics:
        """The latency at this machine's undisturbed speed: each block divided by the slowdown of the anchors around it
        (`slowdown`), with a weight that falls with the correction (`_TRUSTED_SLOWDOWN`). Without anchors it equals
        `statistics`."""
        self._require_times()
        base = self.anchor_baseline_ns
        if not base:
            return self.statistics
        kept = [p.kept for p in self.processes if p.kept]
        slow = [np.array([slowdown(b, base) for b in blocks]) for blocks in kept]
        trust = [1 / (1 + (np.maximum(s - 1, 0) / _TRUSTED_SLOWDOWN) ** 2) for s in slow]
        ms = [[b.latencies_ns / 1e6 / f for b, f in zip(*of, strict=True)] for of in zip(kept, slow, strict=True)]
        return _statistics(ms, trust)

    @property
    def is_counted(self) -> bool:
        """Whether it has the instructions of an emulated core, and no times."""
        return self.evidence is Evidence.EMULATED

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
        blocks = [b for p in self.processes for b in p.blocks]
        return sum(bool(b.rejected) for b in blocks) / len(blocks) if blocks else math.nan

    @property
    def peak_memory_bytes(self) -> int:
        return max((p.peak_memory_bytes for p in self.processes), default=0)

    @property
    def builds(self) -> tuple[str, ...]:
        """The different builds that the processes ran, in the order of their appearance."""
        return tuple(dict.fromkeys(p.build for p in self.processes if p.build))

    @property
    def build_warnings(self) -> tuple[str, ...]:
        """Warnings about the network that apply to all its figures: that its weights are random, or that nobody tuned
        its build."""
        of_builds = (w for p in self.processes if p.build for w in p.warnings)
        return tuple(dict.fromkeys((*self.network_warnings, *of_builds)))

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
                    "operators": tuple(
                        OperatorTime(**{**o, "members": tuple(o["members"])}) for o in record["operators"]
                    ),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a measurement record: {error}") from None

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

    ratio: B's latency over A's, with its 95 % interval `low` to `high`; inside 1 ± `margin` they are the same.
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
        }
    )


def _block_from_record(record: Mapping[str, Any]) -> TimedBlock:
    states = tuple(DeviceState(**{**s, "throttled": tuple(s["throttled"])}) for s in record.get("states") or ())
    _numbers([record["start_ns"], *record.get("anchors_ns", {}).values()])
    return TimedBlock(**{**record, "samples_ns": _numbers(record["samples_ns"]), "states": states})


def _numbers(values: Iterable[int]) -> tuple[int, ...]:
    """Raises TypeError for anything that is not a time or size: a text, NaN, less than 0."""
    checked = tuple(values)
    for value in checked:
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise TypeError(f"{value!r} is not a time, size or number of a round")
    return checked


def slowdown(block: TimedBlock, baseline_ns: Mapping[str, float]) -> float:
    """The slowdown of the block's anchors against their baselines: a geometric mean weighted by `ANCHOR_WEIGHTS` of
    those that have a baseline; 1 without any."""
    ratios = {name: ns / baseline_ns[name] for name, ns in block.anchors_ns.items() if baseline_ns.get(name)}
    weights = {name: ANCHOR_WEIGHTS[name.partition("-")[0]] for name in ratios}
    total = sum(weights.values())
    return math.exp(sum(weights[name] * math.log(ratio) for name, ratio in ratios.items()) / total) if total else 1.0


def at_one_speed(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements with the lowest anchor times in any of them as baselines: one undisturbed machine."""
    lowest: dict[str, float] = {}
    for m in measurements:
        for name, ns in m.anchor_baseline_ns.items():
            lowest[name] = min(ns, lowest.get(name, ns))
    return [replace(m, anchor_baseline_ns={name: lowest[name] for name in m.anchor_baseline_ns}) for m in measurements]


def _statistics(processes: list[list[np.ndarray]], trust: list[np.ndarray] | None = None) -> LatencyStatistics:
    """processes: for each the latencies of its blocks, [n_samples] ms; trust: the blocks' weights in the median, where
    it is not the median of the processes' medians."""
    if not processes:
        raise InputError("the measurement has no valid block")
    medians = [np.array([np.median(b) for b in blocks]) for blocks in processes]
    every = np.concatenate([b for blocks in processes for b in blocks])
    p90, p99 = np.quantile(every, [0.9, 0.99]).tolist()
    # Intervals on logarithms: a latency is positive, so the bounds of its interval must be, too.
    if trust is None:
        median = metrics.median_of_medians(medians)
        interval = metrics.bootstrap_interval([np.log(m / median) for m in medians])
    else:
        median = float(metrics.weighted_median(np.concatenate(medians), np.concatenate(trust)))
        interval = metrics.weighted_bootstrap_interval([np.log(m / median) for m in medians], trust)
    low, high = (median * np.exp(interval)).tolist()
    # With an even number of values the median of logarithms is slightly below that of latencies.
    low, high = (low, high) if math.isnan(low) else (min(low, median), max(high, median))
    return LatencyStatistics(median, low, high, p90, p99, float(every.mean()), float(every.min()))
