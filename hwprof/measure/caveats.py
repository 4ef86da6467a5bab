"""The caveats of a measurement: sentences that its reader must know to judge its figures."""

from __future__ import annotations

from collections.abc import Iterator

from hwprof.measure import stop
from hwprof.measurement import Measurement, Process, Status, estimate
from hwprof.measurement.estimate import Clock


def caveats(m: Measurement) -> Iterator[str]:
    """First those of the network and of the processes, each once, then those that follow from all samples."""
    yield from m.network_warnings
    yield from dict.fromkeys(w for p in m.processes for w in p.warnings)
    if m.is_counted:
        yield from _of_counts(m)
    else:
        yield from _of_blocks(m)
        yield from _of_status(m)


def _of_counts(m: Measurement) -> Iterator[str]:
    if m.status is Status.BUDGET:
        yield f"counted in {len(m.processes)} processes; two must agree within {stop.COUNT_TOLERANCE:.1%}"


def _of_blocks(m: Measurement) -> Iterator[str]:
    if m.rejected_share > m.protocol.max_rejected_share:
        causes = sorted({b.rejected for p in m.processes for b in p.blocks if b.rejected})
        by = "; the undisturbed latency is by CPU time" if m.normalized_clock is Clock.CPU else ""
        yield f"{m.rejected_share:.0%} of the blocks were disturbed ({', '.join(causes)}){by}"
    if m.is_corrected:
        yield from _of_anchors(m)
    averaged = max((b.runs_per_sample for p in m.processes for b in p.blocks), default=1)
    if averaged > 1:
        yield f"too short to time each inference: p90, p99 and min are those of averages of {averaged} inferences"


def _of_anchors(m: Measurement) -> Iterator[str]:
    slow = [p.round for p in m.processes if _slowdown(m, p) > 1 + m.protocol.anchor_tolerance]
    if slow:
        worst = max(_slowdown(m, p) for p in m.processes)
        yield (
            f"in {len(slow)} of {len(m.processes)} processes the machine ran up to {worst - 1:.0%} slower "
            "than undisturbed (see the normalized latency)"
        )
    if m.anchor_baseline_ns and m.is_baseline_quiet is False:
        yield (
            "the machine was never seen quiet: its undisturbed speed is the highest that the anchors reached while "
            "other programs ran"
        )


def _of_status(m: Measurement) -> Iterator[str]:
    if m.status is Status.NOT_STEADY:
        yield "the latency never became steady during warm-up"
    elif m.status is Status.LIMITED:
        yield (
            f"known to {m.normalized.width_words}, not +-{m.protocol.target:.1%}: more processes do not "
            "help, the load by other programs limits it; measure on a quieter machine, or choose a wider --target"
        )
    elif m.status is Status.BUDGET:
        is_short = len(m.processes) < m.protocol.max_processes
        advice = "raise --budget" if is_short else "the machine varies too much"
        if m.normalized.systematic > m.protocol.target:
            advice = f"the load alone makes it +-{m.normalized.systematic:.1%}; measure on a quieter machine"
        width, target = m.normalized.relative_half_width, f"+-{m.protocol.target:.1%}"
        missed = f"not {target}" if not width <= m.protocol.target else f"but not twice in a row within {target}"
        yield f"the interval is {m.normalized.width_words} after {len(m.processes)} processes, {missed}: {advice}"


def _slowdown(m: Measurement, process: Process) -> float:
    by = m.normalized_clock
    baseline_ns = m.anchor_baseline_cpu_ns if by is Clock.CPU else m.anchor_baseline_ns
    return estimate.median_slowdown(process, baseline_ns, by)
