"""When to stop measuring, and how many blocks a process is worth (Kalibera & Jones, ISMM 2013)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof import instructions
from hwprof.measure.steady import Warmup
from hwprof.measurement import Process, ProtocolSettings, Status, estimate
from hwprof.measurement.estimate import Baseline, Clock, Precision

# Emulation repeats: on one core the totals of processes differed by less than 0.01 %.
COUNT_PROCESSES = 2
COUNT_TOLERANCE = 0.001
_WIDTH_OF_DEVIATION = 1.96 * 1.2533  # half-width of a median's 95 % interval, per standard deviation of a mean
_CALL_INSTRUCTIONS = 2000  # by which the calls around an inference differ, however small it is


def half_width(processes: Sequence[Process], settings: ProtocolSettings, baseline: Baseline | None = None) -> float:
    """Half-width of the 95 % interval of the undisturbed latency, relative to it; infinite with fewer than two
    processes. Without a baseline it is that of the processes themselves."""
    known = baseline or estimate.baseline_of(processes)
    return estimate.precision(processes, known, settings.max_rejected_share).total


def is_precise(processes: Sequence[Process], settings: ProtocolSettings, baseline: Baseline | None = None) -> bool:
    """Whether this round and the one before it both reached the target: one narrow interval may be luck. Counted
    instructions need two processes that agree."""
    if any(p.instructions for p in processes):
        return counts_agree(processes)
    return all(found.total <= settings.target for found in _latest(processes, settings, baseline))


def is_enough(processes: Sequence[Process], settings: ProtocolSettings, baseline: Baseline | None = None) -> bool:
    """Whether no more processes are worth their time: the target is reached (`is_precise`), or in this round and the
    one before it the load of the machine limited how precisely the latency can be known."""
    if is_precise(processes, settings, baseline):
        return True
    return all(found.is_limited for found in _latest(processes, settings, baseline))


def progress(processes: Sequence[Process], settings: ProtocolSettings, baseline: Baseline) -> float:
    """The share, 0 to 1, of the processes at hand among those that `is_enough` takes, as far as the width of the
    interval tells it."""
    found = estimate.precision(processes, baseline, settings.max_rejected_share)
    goal = max(settings.target, found.narrowest)
    return min(1.0, (goal / found.total) ** 2) if found.total > 0 else 1.0


def _latest(processes: Sequence[Process], settings: ProtocolSettings, baseline: Baseline | None) -> list[Precision]:
    """The precision of this round and of the one before it; unknown before the fewest processes."""
    if len(processes) < settings.min_processes:
        return [Precision(np.inf, 0.0)]
    known = baseline or estimate.baseline_of(processes)
    return [estimate.precision(ps, known, settings.max_rejected_share) for ps in (processes, processes[:-1])]


def counts_agree(processes: Sequence[Process]) -> bool:
    """Whether enough processes counted, and their totals differ by no more than `COUNT_TOLERANCE` or one call."""
    counted = [instructions.median(p.instructions) for p in processes if p.instructions]
    if len(counted) < COUNT_PROCESSES:
        return False
    fewest = min(sum(counts.values()) for counts in counted)
    return instructions.spread(counted) <= max(COUNT_TOLERANCE, _CALL_INSTRUCTIONS / fewest)


def blocks_per_process(processes: Sequence[Process], start_s: float, block_s: float, settings: ProtocolSettings) -> int:
    """The number of blocks that buys the narrowest interval for the time, from the pilot's variances, but no more than
    the target needs.

    Their optimum: sqrt(cost of a process / cost of a block * variance within / variance between),
    section 5.2. `start_s`: a process' fixed cost; `block_s`: one block with its anchors. The target needs as many as
    leave half of it to the scatter of the blocks, in the fewest processes or one more than there are.
    """
    by = estimate.clock(processes, settings.max_rejected_share)
    medians, _ = estimate.corrected_medians_ms(processes, estimate.baseline_of(processes), by)
    logs = [np.log(v) for v in medians if len(v) > 1]
    if not logs:
        return settings.pilot_blocks
    within = float(np.mean([np.var(v, ddof=1) for v in logs]))
    n_processes = max(settings.min_processes, len(processes) + 1)
    enough = within / n_processes * (2 * _WIDTH_OF_DEVIATION / settings.target) ** 2
    is_pilot = len(processes) < settings.pilot_processes or len(logs) < 2
    best = settings.pilot_blocks if is_pilot else _optimum(logs, within, start_s / max(block_s, 1e-6))
    return int(np.clip(np.ceil(min(best, enough)), settings.min_blocks, settings.max_blocks))


def _optimum(logs: Sequence[np.ndarray], within: float, costs: float) -> float:
    """logs: of each process' block medians, [n_blocks]; within: their variance; costs: of a process over a block's."""
    between = float(np.var([np.mean(v) for v in logs], ddof=1)) - within / float(np.mean([len(v) for v in logs]))
    return float(np.sqrt(costs * within / between)) if between > 0 else np.inf


def status(processes: Sequence[Process], settings: ProtocolSettings, baseline: Baseline | None = None) -> Status:
    """The verdict on a measurement that has ended. Disturbed blocks make it unstable where only wall time can tell the
    latency."""
    if not processes:
        return Status.INVALID
    is_disturbed = estimate.rejected_share(processes) > settings.max_rejected_share
    if is_disturbed and estimate.clock(processes, settings.max_rejected_share) is Clock.WALL:
        return Status.UNSTABLE
    if 2 * sum(p.warmup == Warmup.NOT_STEADY for p in processes) > len(processes):
        return Status.NOT_STEADY
    if is_precise(processes, settings, baseline):
        return Status.CONVERGED
    return Status.LIMITED if is_enough(processes, settings, baseline) else Status.BUDGET
