"""Two estimates of a latency from the raw samples: what the clock showed, and what the undisturbed machine would show.

For the undisturbed latency each block is divided by the slowdown of the anchors around it, in one of two clocks. The
rule that chooses the clock is fixed in advance and looks at no latency:

1. Wall time, where at most a fifth of the processes was disturbed (`ProtocolSettings.max_rejected_share`). A process
   was disturbed where other programs kept the CPUs busy, or disturbed more than a fifth of its blocks.
2. Otherwise CPU time, where it is the network's work (`CpuTime`): it leaves out the time for which other programs had
   the core. A block that only waited for its core counts. The CPU time of several threads is divided by the number of
   CPUs that the network keeps busy in undisturbed blocks; without such a block, rule 3.
3. Otherwise wall time.

A device with a clock of its own (`Process.clock`) has no CPU time: its clock takes the place of wall time.

Where the idle threads of the runtime spin on several cores, nothing is corrected (`is_corrected`), and the undisturbed
latency is what the clock showed. The anchors then run next to spinning threads, too, and show those rather than the
machine: of 3 sessions of three networks on two cores of a quiet machine (2026-11-29) the clock's medians agreed within
2.4 %, the corrected ones within 149 %.

Under load the interval has a systematic part, which no number of processes makes narrower (`Precision`): a network
follows the load more or less than the anchors do, and the anchors of a machine that was never quiet do not show how
fast it would be. The part for the former is proportional to the correction. 2026-11-29, 48 sessions of three networks
under load against their medians on the quiet machine: networks were off by up to 7 %, the bootstrap's intervals held
the quiet median in 46 % (another core loaded) and 33 % (the same core). The two constants are the smallest that cover
90 % of every second session; of the others they cover 96 %, and 75 to 100 % of a network where they are chosen by the
other two. A quiet machine's corrections are for its own drift, the same for all its sessions: 83 % without that part.
How far each network follows the anchors, estimated from its own session (least squares over blocks or processes, shrunk
or not), brought no network's loaded median nearer to the quiet one.

2026-11-29, the copy anchor's weight was halved. Its time depends on where its pages happen to be: of 4 MiB each way it
took 127 us in some processes of a quiet machine and 164 us in others, which a weight of 0.2 made 5 % of the network's
latency. 95 % of the pairs of every second session agreed within 1.4 % (quiet), 5.1 % (another core loaded) and 3.4 %
(the core shared) with 0.1, and within 1.3, 5.8 and 4.5 % with 0.2; those of the others, which did not take part in the
choice, within 2.4, 2.7 and 2.7 % and within 2.4, 4.5 and 3.5 %. To correct a quiet machine only from some slowdown on
(2 to 10 %, less the threshold or not) did not help: within 2.2 to 5.4 % instead of 2.5 %.

2026-11-20, the weights of the anchors are fixed. Estimating them for each network from its own blocks (least squares of
log latency on log anchor time, shrunk or not) explained more within a session and less between sessions: noise in the
anchors biases the estimates, and their scatter multiplies the whole slowdown. Over 12 sessions of five networks on a
shared machine 95 % of pairs agreed within 3.3 % with the fixed weights, within 7 to 40 % with estimated ones and within
13 % without a correction; any weight from 0.7 to 0.9 for arithmetic did as well.

2026-11-29, each block is corrected by its own anchors. Smoothing them in time (the mean with the neighbouring block's,
the median of the process, a local-level smoother of maximum likelihood) did not help: over 8 sessions of three networks
on a quiet machine and 27 on a core shared with 8 to 18 programs, 95 % of the pairs of a network agreed within 1.7 to
5.1 %, and within 1.7 to 5.9 % with smoothing. The baseline matters more: 95 % of all loaded pairs agreed within 5.7 %
with the baseline that each session had seen by then, within 4.8 % with one for all (`record.at_one_speed`), and within
81 % as the clock ran; of the quiet ones, whose first two sessions met a slow machine, within 9.9, 3.8 and 32 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import numpy as np

from hwprof import metrics
from hwprof.errors import InputError
from hwprof.measurement.samples import CpuTime, Process, TimedBlock


class Clock(StrEnum):
    """The clock of an estimate."""

    WALL = "wall time"
    CPU = "CPU time"


# How far a network follows each kind of anchor. They sum to one: on a machine half as fast it takes twice as long.
ANCHOR_WEIGHTS = {"compute": 0.9, "copy": 0.1}
# A block with this correction has half the weight in the median. The remaining error grows with the correction: over
# 400 cells (2026-11-21) two halves of the processes disagreed by 1.6 % (median absolute deviation), and by 2.4 % where
# all weights are equal. In CPU time (2026-11-29, six networks, a core shared with seven programs) 95 % of pairs of four
# processes agreed within 3.2 % with 0.1 or equal weights, within 4.3 % with 0.02, within 5.0 % without anchors, and
# within 76 % by the wall clock.
_HALF_WEIGHT_AT = {Clock.WALL: 0.02, Clock.CPU: 0.1}
MAX_REJECTED_SHARE = 0.2
WAITED = "preempted"  # the cause of a block whose process waited for a core
# Of the interval's half-width, under load: for each per cent of correction, and where the machine was never quiet.
_SYSTEMATIC_PER_CORRECTION = 0.8
_SYSTEMATIC_OF_BASELINE = 0.05
_WORTHWHILE = 0.5  # of the systematic part: as long as the statistical one is larger, more processes help
_QUIET_CPUS = 0.15  # may be busy on a quiet machine: the parent of the worker and the system's daemons take as much
_RESAMPLES = 500
_LOPSIDED = 3.0  # by which one bound is farther from the median than the other


@dataclass(frozen=True, slots=True)
class Baseline:
    """The undisturbed time of one run of each anchor, ns by name, in both clocks. is_quiet: whether the machine was
    quiet when it was seen; None where that is not known."""

    wall_ns: Mapping[str, float] = field(default_factory=dict)
    cpu_ns: Mapping[str, float] = field(default_factory=dict)
    is_quiet: bool | None = None


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """All in ms but `systematic`. `low` and `high` bound the median with 95 % confidence; nan for a single process, and
    for a formula, whose error nobody knows.
    systematic: the part of their half-width, relative to the median, that more processes do not make narrower."""

    median: float
    low: float
    high: float
    p90: float
    p99: float
    mean: float
    min: float
    systematic: float = 0.0

    @property
    def in_ms(self) -> dict[str, float]:
        """By name, all that are in ms."""
        return {name: value for name, value in asdict(self).items() if name != "systematic"}

    @property
    def relative_half_width(self) -> float:
        return (self.high - self.low) / 2 / self.median

    @property
    def width_words(self) -> str:
        """The bounds relative to the median: one number where they are about as far from it, such as +-3.0%."""
        if not math.isfinite(self.relative_half_width):
            return "unknown"
        below, above = self.median - self.low, self.high - self.median
        if max(below, above) <= _LOPSIDED * min(below, above):
            return f"+-{self.relative_half_width:.1%}"
        return f"{-below / self.median:+.1%} to {above / self.median:+.1%}"


@dataclass(frozen=True, slots=True)
class Precision:
    """The two parts of the half-width of an interval, relative to the median. More processes make the statistical part
    narrower; the systematic part is that of the correction."""

    statistical: float
    systematic: float

    @property
    def total(self) -> float:
        return math.hypot(self.statistical, self.systematic)

    @property
    def is_limited(self) -> bool:
        """Whether more processes hardly help: without the statistical part the interval would be a tenth narrower."""
        return self.total <= self.narrowest

    @property
    def narrowest(self) -> float:
        """The half-width from which on more processes hardly help."""
        return math.hypot(1.0, _WORTHWHILE) * self.systematic


@dataclass(frozen=True, slots=True)
class _Block:
    """A block at the undisturbed speed. samples_ms: [n_samples]; weight: in the median over the blocks; slowdown: that
    of its anchors, by which it was divided."""

    samples_ms: np.ndarray
    weight: float
    slowdown: float


def raw(processes: Sequence[Process]) -> LatencyStatistics:
    """Statistics of the times that the clock showed. Raises InputError when there is no block."""
    return _statistics([[b.latencies_ns / 1e6 for b in p.kept] for p in processes if p.kept])


def undisturbed(
    processes: Sequence[Process], baseline: Baseline, max_rejected_share: float = MAX_REJECTED_SHARE
) -> LatencyStatistics:
    """Statistics at the machine's undisturbed speed, by the rule of this module. The larger the correction of a block,
    the smaller is its weight. Without anchors, in wall time, they equal `raw`. Raises InputError without a block."""
    by = clock(processes, max_rejected_share)
    found = _undisturbed_blocks(processes, baseline, by)
    weights = [np.array([b.weight for b in blocks]) for blocks in found]
    used = _used(weights, _usable(baseline, processes), by)
    systematic = _systematic(found, baseline) if _is_loaded(processes, max_rejected_share) else 0.0
    return _statistics([[b.samples_ms for b in blocks] for blocks in found], used, systematic)


def precision(
    processes: Sequence[Process], baseline: Baseline, max_rejected_share: float = MAX_REJECTED_SHARE
) -> Precision:
    """How precisely `undisturbed` is known, from fewer resamples, which are enough to steer by; the statistical part is
    infinite with fewer than two processes."""
    by = clock(processes, max_rejected_share)
    found = _undisturbed_blocks(processes, baseline, by)
    systematic = _systematic(found, baseline) if _is_loaded(processes, max_rejected_share) else 0.0
    if len(found) < 2:
        return Precision(math.inf, systematic)
    medians, weights = _medians_and_weights(found)
    median, (low, high) = _median_and_interval(medians, _used(weights, _usable(baseline, processes), by), _RESAMPLES)
    return Precision((high - low) / 2 / median, systematic)


def clock(processes: Sequence[Process], max_rejected_share: float = MAX_REJECTED_SHARE) -> Clock:
    """The clock of the undisturbed latency, by the rule of this module."""
    return Clock.CPU if is_disturbed(processes, max_rejected_share) and has_cpu_time(processes) else Clock.WALL


def is_disturbed(processes: Sequence[Process], max_rejected_share: float = MAX_REJECTED_SHARE) -> bool:
    """Whether the machine was not quiet for more than `max_rejected_share` of the processes."""
    return sum(not is_quiet(p, max_rejected_share) for p in processes) > max_rejected_share * len(processes)


def is_corrected(processes: Sequence[Process]) -> bool:
    """Whether the anchors correct the undisturbed latency: not where idle threads spin on several cores."""
    return not any(p.cores > 1 and p.cpu_time is CpuTime.SPINNING for p in processes)


def has_cpu_time(processes: Sequence[Process]) -> bool:
    """Whether the CPU time of all processes is the work of the network, so that it tells the latency."""
    blocks = [b for p in processes for b in p.blocks]
    is_work = all(p.cpu_time is CpuTime.WORK for p in processes) and all(b.cpu_samples_ns for b in blocks)
    return bool(blocks) and is_work and not math.isnan(busy_cpus(processes))


def rejected_share(processes: Sequence[Process]) -> float:
    """The share of disturbed blocks; nan without a block."""
    blocks = [b for p in processes for b in p.blocks]
    return sum(bool(b.rejected) for b in blocks) / len(blocks) if blocks else math.nan


def counts(block: TimedBlock, by: Clock) -> bool:
    """Whether the block counts in a clock."""
    return not block.rejected or (by is Clock.CPU and block.rejected == WAITED)


def block_median_ns(block: TimedBlock, by: Clock) -> float:
    """Median over the block's samples, ns per inference; of CPU time, that of all threads together."""
    return float(np.median(_samples_ns(block, by)))


def block_medians_ms(processes: Sequence[Process], by: Clock) -> list[np.ndarray]:
    """For each process with a block the median of each that counts, ms, as the clock showed it: [n_blocks]."""
    cpus = busy_cpus(processes) if by is Clock.CPU else 1.0
    return [
        np.array([block_median_ns(b, by) for b in blocks]) / 1e6 / cpus
        for p in processes
        if (blocks := _counted(p, by))
    ]


def corrected_medians_ms(
    processes: Sequence[Process], baseline: Baseline, by: Clock
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each process with a block: the median of each that counts at the undisturbed speed, ms, and its weight;
    both [n_blocks]."""
    return _medians_and_weights(_undisturbed_blocks(processes, baseline, by))


def _medians_and_weights(found: Sequence[Sequence[_Block]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The medians of the blocks and their weights, as `corrected_medians_ms` returns them."""
    medians = [np.array([np.median(b.samples_ms) for b in blocks]) for blocks in found]
    return medians, [np.array([b.weight for b in blocks]) for blocks in found]


def busy_cpus(processes: Sequence[Process]) -> float:
    """How many CPUs the network keeps busy: 1 on a single core; on several from its undisturbed blocks, nan without
    one."""
    if all(p.cores == 1 for p in processes):
        return 1.0
    calm = [b for p in processes for b in p.blocks if b.cpu_samples_ns and not b.rejected]
    cpus = [block_median_ns(b, Clock.CPU) / block_median_ns(b, Clock.WALL) for b in calm]
    return float(np.median(cpus)) if cpus else math.nan


def slowdown(block: TimedBlock, baseline_ns: Mapping[str, float], by: Clock = Clock.WALL) -> float:
    """The slowdown of the block's anchors against their baselines in a clock: a geometric mean weighted by
    `ANCHOR_WEIGHTS` of those that have a baseline; 1 without any."""
    anchors_ns = block.anchors_ns if by is Clock.WALL else block.anchors_cpu_ns
    ratios = {name: ns / baseline_ns[name] for name, ns in anchors_ns.items() if baseline_ns.get(name)}
    weights = {name: ANCHOR_WEIGHTS[name.partition("-")[0]] for name in ratios}
    total = sum(weights.values())
    return math.exp(sum(weights[name] * math.log(ratio) for name, ratio in ratios.items()) / total) if total else 1.0


def median_slowdown(process: Process, baseline_ns: Mapping[str, float], by: Clock = Clock.WALL) -> float:
    """The median of `slowdown` over the process' blocks; nan without a block."""
    return float(np.median([slowdown(b, baseline_ns, by) for b in process.blocks])) if process.blocks else math.nan


def baseline_of(processes: Sequence[Process]) -> Baseline:
    """The first decile of each anchor's times, in the processes during which the machine was quiet, or else in all."""
    quiet = [p for p in processes if is_quiet(p)]
    seen = quiet or processes
    is_known = any(p.other_cpus is not None for p in processes)
    return Baseline(undisturbed_ns(seen), undisturbed_ns(seen, Clock.CPU), bool(quiet) if is_known else None)


def undisturbed_ns(processes: Sequence[Process], by: Clock = Clock.WALL) -> dict[str, float]:
    """The first decile of each anchor's times, ns by name."""
    times: dict[str, list[float]] = {}
    for process in processes:
        for block in process.blocks:
            for name, ns in (block.anchors_ns if by is Clock.WALL else block.anchors_cpu_ns).items():
                times.setdefault(name, []).append(ns)
    return {name: float(np.quantile(values, 0.1)) for name, values in times.items()}


def is_quiet(process: Process, max_rejected_share: float = MAX_REJECTED_SHARE) -> bool:
    """Whether other programs hardly ran during the process' blocks, on any core."""
    is_alone = process.other_cpus is not None and process.other_cpus <= _QUIET_CPUS
    return is_alone and rejected_share([process]) <= max_rejected_share


def _counted(process: Process, by: Clock) -> tuple[TimedBlock, ...]:
    """The blocks that count in a clock: in CPU time also those that only waited for their core. Where there are none,
    all of them."""
    return tuple(b for b in process.blocks if counts(b, by)) or process.blocks


def _undisturbed_blocks(processes: Sequence[Process], baseline: Baseline, by: Clock) -> list[list[_Block]]:
    """For each process with a block those that count."""
    cpus = busy_cpus(processes) if by is Clock.CPU else 1.0
    usable = _usable(baseline, processes)
    base_ns = usable.wall_ns if by is Clock.WALL else usable.cpu_ns
    counted = [blocks for p in processes if (blocks := _counted(p, by))]
    return [[_undisturbed_block(b, slowdown(b, base_ns, by), cpus, by) for b in blocks] for blocks in counted]


def _undisturbed_block(block: TimedBlock, slow: float, cpus: float, by: Clock) -> _Block:
    excess = max(slow - 1, 0.0)
    return _Block(_samples_ns(block, by) / 1e6 / slow / cpus, 1 / (1 + (excess / _HALF_WEIGHT_AT[by]) ** 2), slow)


def _usable(baseline: Baseline, processes: Sequence[Process]) -> Baseline:
    """The baseline, or none where the anchors do not correct."""
    return baseline if is_corrected(processes) else Baseline()


def _is_loaded(processes: Sequence[Process], max_rejected_share: float) -> bool:
    """Whether other programs are known to have disturbed this machine's processor while it ran the network."""
    is_seen = all(p.other_cpus is not None and not p.clock for p in processes)
    return is_seen and is_disturbed(processes, max_rejected_share)


def _systematic(found: Sequence[Sequence[_Block]], baseline: Baseline) -> float:
    """The systematic part of the half-width under load; 0 where nothing was corrected."""
    blocks = [b for blocks in found for b in blocks]
    corrections = np.abs(np.log([b.slowdown for b in blocks]))
    if not corrections.any():
        return 0.0
    correction = float(np.average(corrections, weights=[b.weight for b in blocks]))
    of_baseline = 0.0 if baseline.is_quiet else _SYSTEMATIC_OF_BASELINE
    return math.hypot(_SYSTEMATIC_PER_CORRECTION * correction, of_baseline)


def _samples_ns(block: TimedBlock, by: Clock) -> np.ndarray:
    return block.latencies_ns if by is Clock.WALL else block.cpu_times_ns


def _used(weights: list[np.ndarray], baseline: Baseline, by: Clock) -> list[np.ndarray] | None:
    """None where nothing was corrected: then the median of the processes' medians is the estimate."""
    return None if by is Clock.WALL and not baseline.wall_ns else weights


def _statistics(
    processes: list[list[np.ndarray]], weights: list[np.ndarray] | None = None, systematic: float = 0.0
) -> LatencyStatistics:
    """processes: for each the latencies of its blocks, [n_samples] ms; weights: for each those of its blocks in the
    median, [n_blocks]; None for the median of the processes' medians."""
    if not processes:
        raise InputError("the measurement has no valid block")
    every = np.concatenate([b for blocks in processes for b in blocks])
    p90, p99 = np.quantile(every, [0.9, 0.99]).tolist()
    medians = [np.array([np.median(b) for b in blocks]) for blocks in processes]
    median, (low, high) = _median_and_interval(medians, weights)
    if systematic:  # independent of the other part
        low = median * math.exp(-math.hypot(math.log(median / low), systematic))
        high = median * math.exp(math.hypot(math.log(high / median), systematic))
    return LatencyStatistics(median, low, high, p90, p99, float(every.mean()), float(every.min()), systematic)


def _median_and_interval(
    medians: list[np.ndarray], weights: list[np.ndarray] | None, resamples: int = 2000
) -> tuple[float, tuple[float, float]]:
    """medians: for each process those of its blocks, [n_blocks] ms; weights: as in `_statistics`."""
    # Intervals on logarithms: a latency is positive, so the bounds of its interval must be, too.
    if weights is None:
        median = metrics.median_of_medians(medians)
        interval = metrics.bootstrap_interval([np.log(m / median) for m in medians], resamples=resamples)
    else:
        median = float(metrics.weighted_median(np.concatenate(medians), np.concatenate(weights)))
        logs = [np.log(m / median) for m in medians]
        interval = metrics.weighted_bootstrap_interval(logs, weights, resamples=resamples)
    low, high = (median * np.exp(interval)).tolist()
    # With an even number of values the median of logarithms is slightly below that of latencies.
    return median, ((low, high) if math.isnan(low) else (min(low, median), max(high, median)))
