"""When to stop measuring, and how many blocks a process is worth (Kalibera & Jones, ISMM 2013)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof import instructions, metrics
from hwprof.measure.steady import Warmup
from hwprof.measurement import Process, ProtocolSettings, Status

# Emulation repeats: on one core the totals of processes differed by less than 0.01 %.
COUNT_PROCESSES = 2
COUNT_TOLERANCE = 0.001
_CALL_INSTRUCTIONS = 2000  # by which the calls around an inference differ, however small it is
_RESAMPLES = 500  # enough to steer by; the final interval takes more


def half_width(processes: Sequence[Process]) -> float:
    """Half-width of the 95 % interval relative to the median; infinite with fewer than two processes."""
    values = [np.log(v) for v in map(block_medians_ms, processes) if len(v)]
    if len(values) < 2:
        return float("inf")
    low, high = metrics.bootstrap_interval(values, resamples=_RESAMPLES)
    return float(np.exp(high) - np.exp(low)) / 2 / float(np.exp(metrics.median_of_medians(values)))


def block_medians_ms(process: Process) -> np.ndarray:
    """[n_kept_blocks], ms."""
    return np.array([np.median(b.latencies_ns) for b in process.kept]) / 1e6


def is_precise(processes: Sequence[Process], settings: ProtocolSettings) -> bool:
    """Whether this round and the one before it both reached the target: one narrow interval may be luck. Counted
    instructions need two processes that agree."""
    if any(p.instructions for p in processes):
        return counts_agree(processes)
    if len(processes) < settings.min_processes:
        return False
    return half_width(processes) <= settings.target and half_width(processes[:-1]) <= settings.target


def counts_agree(processes: Sequence[Process]) -> bool:
    """Whether enough processes counted, and their totals differ by no more than `COUNT_TOLERANCE` or one call."""
    counted = [instructions.median(p.instructions) for p in processes if p.instructions]
    if len(counted) < COUNT_PROCESSES:
        return False
    fewest = min(sum(counts.values()) for counts in counted)
    return instructions.spread(counted) <= max(COUNT_TOLERANCE, _CALL_INSTRUCTIONS / fewest)


def blocks_per_process(processes: Sequence[Process], start_s: float, block_s: float, settings: ProtocolSettings) -> int:
    """The number of blocks that buys the narrowest interval for the time, from the pilot's variances.

    Their optimum: sqrt(cost of a process / cost of a block * variance within / variance between),
    section 5.2. `start_s`: a process' fixed cost; `block_s`: one block with its anchors.
    """
    if len(processes) < settings.pilot_processes:
        return settings.pilot_blocks
    logs = [np.log(v) for v in map(block_medians_ms, processes) if len(v) > 1]
    if len(logs) < 2:
        return settings.pilot_blocks
    within = float(np.mean([np.var(v, ddof=1) for v in logs]))
    n_blocks = float(np.mean([len(v) for v in logs]))
    between = float(np.var([np.mean(v) for v in logs], ddof=1)) - within / n_blocks
    if between <= 0:
        return settings.max_blocks
    best = np.sqrt(start_s / max(block_s, 1e-6) * within / between)
    return int(np.clip(np.ceil(best), settings.min_blocks, settings.max_blocks))


def status(processes: Sequence[Process], settings: ProtocolSettings) -> Status:
    """The verdict on a measurement that has ended."""
    if not processes:
        return Status.INVALID
    blocks = [b for p in processes for b in p.blocks]
    if sum(bool(b.rejected) for b in blocks) > settings.max_rejected_share * len(blocks):
        return Status.UNSTABLE
    if 2 * sum(p.warmup == Warmup.NOT_STEADY for p in processes) > len(processes):
        return Status.NOT_STEADY
    return Status.CONVERGED if is_precise(processes, settings) else Status.BUDGET
