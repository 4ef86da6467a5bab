"""The answer in one sentence, and every reason for doubt: the same words in HTML and in Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hwprof.errors import InputError
from hwprof.measurement import Comparison, Evidence, LatencyStatistics, Measurement, Status
from hwprof.report import counted, quantity


class Tone(StrEnum):
    """How far the answer can be trusted; GOOD needs no second look."""

    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`headline` answers the question, `support` says how certain it is, `doubts` are complete sentences."""

    tone: Tone
    headline: str
    support: str
    doubts: tuple[str, ...] = ()


_VERBS = {
    Evidence.MEASURED: "takes",
    Evidence.REPLAYED: "took, in the replayed samples,",
    Evidence.ANALYTIC: "is calculated to take",
    Evidence.SIMULATED: "takes, simulated by another program,",
}
_NOT_MEASURED = {
    Evidence.REPLAYED: "Replayed: these are stored samples; nothing was run for this report.",
    Evidence.ANALYTIC: "Analytic: calculated from the device's nominal peaks; nothing was measured.",
    Evidence.SIMULATED: "Simulated: another program computed the same results; its times do not represent the device.",
    Evidence.EMULATED: "Emulated: the core would execute these instructions; there are no times, and no device ran.",
}
ERROR_NOT_KNOWN = "error not known"  # of a formula
_EARLY = 0.7  # of the budget
_QUIETNESS = {True: "quiet", False: "never quiet", None: "not known to be quiet"}
_COMPARED = {"faster": "is faster than", "slower": "is slower than", "same": "is as fast as"}


def statistics(m: Measurement) -> LatencyStatistics | None:
    """The raw statistics, or None where no block is valid."""
    try:
        return m.statistics
    except InputError:
        return None


def normalized(m: Measurement) -> LatencyStatistics | None:
    """Statistics at the undisturbed speed; None where no block is valid, and where neither anchors nor the CPU time
    tell it."""
    return m.normalized if m.is_normalized else None


def interval_words(m: Measurement, s: LatencyStatistics) -> str:
    """The interval of the measurement's statistics in a table."""
    return ERROR_NOT_KNOWN if m.is_formula else quantity.bounds(s.low, s.high)


def why_no_interval(m: Measurement, s: LatencyStatistics) -> str:
    """Why the measurement's statistics have no interval that a reader could use."""
    if m.is_formula:
        return "the error of a formula is not known"
    return "that needs two processes" if math.isnan(s.high) else "the processes differ by far too much"


def ratio_words(c: Comparison) -> str:
    """The interval of the ratio in a table."""
    return ERROR_NOT_KNOWN if c.a.is_formula or c.b.is_formula else quantity.bounds(*c.interval, ".4f")


def basis(m: Measurement) -> str:
    """The clock and the anchors of the undisturbed latency, in words."""
    if not m.is_corrected:
        return f"by {m.clock_name}, since the runtime's idle threads spin"
    baseline = baseline_words(m)
    return f"by {m.clock_name}, {f'baseline {baseline}' if baseline else 'without anchors'}"


def baseline_words(m: Measurement) -> str:
    """Whether the machine was quiet when the undisturbed anchors were seen; empty where none correct the latency."""
    if not (m.anchor_baseline_ns and m.is_corrected):
        return ""
    return _QUIETNESS[m.is_baseline_quiet]


def of_profile(m: Measurement) -> Verdict:
    """The latency of one network on one device."""
    s = statistics(m)
    doubts = (*not_measured(m), *_status_doubt(m, s), *_further_warnings(m))
    if m.is_counted and m.processes:
        return Verdict(Tone.CAUTION, counted.headline(m), counted.support(m), (counted.kernels(m), *doubts))
    if s is None or m.status is Status.INVALID:
        return Verdict(Tone.BAD, f"{m.model} has no valid latency on {m.device.name}", str(m.status), doubts)
    n = normalized(m)
    known = n or s
    median, interval = quantity.estimate(known.median, known.low, known.high)
    converged = m.status is Status.CONVERGED
    about = "" if converged else "about "
    sure = f"95 % interval {interval}" if interval else f"no interval, since {why_no_interval(m, known)}"
    undisturbed = f"undisturbed, {basis(m)}; the clock showed {quantity.time(s.median)}; " if n else ""
    support = f"{undisturbed}{sure}; {m.status}, {_extent(m)}"
    tone = Tone.GOOD if converged and m.evidence is Evidence.MEASURED else Tone.CAUTION
    return Verdict(tone, f"{m.model} {_VERBS[m.evidence]} {about}{median} on {m.device.name}", support, doubts)


def of_profiles(measurements: Sequence[Measurement]) -> Verdict:
    """The verdict of a single network, or the range of several. Raises InputError without any."""
    if not measurements:
        raise InputError("a report needs at least one measurement; none was given")
    if len(measurements) == 1:
        return of_profile(measurements[0])
    timed = sorted((s.median, m.model) for m in measurements if (s := normalized(m) or statistics(m)))
    what = f"{len(measurements)} profiles on {_devices(measurements)}{_evidence(measurements)}"
    doubts = mixed_hardware(measurements) + tuple(
        dict.fromkeys(d for m in measurements for d in (*not_measured(m), *m.build_warnings))
    )
    support = _statuses(measurements)
    if not timed and any(m.is_counted for m in measurements):
        return _of_counted(what, measurements, support, doubts)
    if not timed:
        return Verdict(Tone.BAD, f"{what}: no valid latency", support, doubts)
    (fastest, first), (slowest, last) = timed[0], timed[-1]
    worst = max((of_profile(m).tone for m in measurements), key=list(Tone).index)
    range_ = f"from {quantity.time(fastest)} ({first}) to {quantity.time(slowest)} ({last})"
    return Verdict(worst, f"{what}: {range_}", support, doubts)


def _of_counted(what: str, measurements: Sequence[Measurement], support: str, doubts: tuple[str, ...]) -> Verdict:
    totals = sorted((counted.total(m), m.model) for m in measurements if m.is_counted and m.processes)
    (fewest, first), (most, last) = totals[0], totals[-1]
    range_ = f"from {counted.words(fewest)} ({first}) to {counted.words(most)} ({last})"
    return Verdict(Tone.CAUTION, f"{what}: {range_}", support, doubts)


def of_comparison(c: Comparison) -> Verdict:
    """Whether B is faster or slower than A, and by how much."""
    a, b = labels(c)
    sides = (c.a, c.b)
    doubts = mixed_hardware(sides) + tuple(
        dict.fromkeys(d for m in sides for d in (*not_measured(m), *m.build_warnings))
    )
    doubts += tuple(f"{label}: {d}" for label, m in ((a, c.a), (b, c.b)) for d in not_converged(m))
    ratio = f"{quantity.ratio(c.ratio)} × its latency{_evidence(sides)}"
    if not math.isfinite(c.ratio):
        return Verdict(
            Tone.BAD, f"{b} and {a} cannot be compared", "they have no common round with a valid block", doubts
        )
    support = _pairing(c)
    if c.verdict not in _COMPARED:
        return Verdict(Tone.CAUTION, f"It is open whether {b} is faster than {a}: {ratio}", support, doubts)
    tone = Tone.CAUTION if doubts else Tone.GOOD
    return Verdict(tone, f"{b} {_COMPARED[c.verdict]} {a}: {ratio}", support, doubts)


def _pairing(c: Comparison) -> str:
    low, high = c.interval
    is_calculated = c.a.is_formula or c.b.is_formula
    interval = "calculated, with errors that are not known," if is_calculated else "no interval of the ratio"
    if math.isfinite(low):
        interval = f"95 % interval of the ratio {quantity.ratio(low)} to {quantity.ratio(high)}"
    pairs = quantity.plural(c.pairs, "pair of blocks", "pairs of blocks")
    error = f"; relative error of the outputs {c.output_error:.2g}" if c.output_error is not None else ""
    return f"{interval} from {pairs} by {c.clock_name}; within ±{quantity.percent(c.margin)} counts as the same{error}"


def labels(c: Comparison) -> tuple[str, str]:
    """Names of A and B that distinguish them: the models', else with the device's."""
    if c.a.model != c.b.model:
        return c.a.model, c.b.model
    if c.a.device.name != c.b.device.name:
        return f"{c.a.model} on {c.a.device.name}", f"{c.b.model} on {c.b.device.name}"
    return f"{c.a.model} (A)", f"{c.b.model} (B)"


def not_converged(m: Measurement) -> tuple[str, ...]:
    """One sentence on why the measurement did not converge, else nothing."""
    return _status_doubt(m, statistics(m))


def not_measured(m: Measurement) -> tuple[str, ...]:
    """One sentence where the times are not measured, else nothing."""
    return (_NOT_MEASURED[m.evidence],) if m.evidence in _NOT_MEASURED else ()


def context(m: Measurement) -> str:
    """Runtime, settings and machine in one line. The shapes of the inputs show the batch (`tables`)."""
    d = m.device
    runtime = " ".join([d.backend, *([m.versions[d.backend]] if d.backend in m.versions else [])])
    threads = quantity.plural(d.threads, "thread") if d.threads else "all cores"
    hardware = m.environment.get("hardware")
    # An emulated core executes the same instructions on any machine.
    machine = str(hardware.get("cpu", "")) if isinstance(hardware, Mapping) and not m.is_counted else ""
    return ", ".join(x for x in (runtime, threads, d.precision, machine or d.description) if x)


def mixed_hardware(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """One sentence where figures are from different machines, else nothing."""
    n = len({m.hardware for m in measurements})
    return (
        (f"These figures come from {n} different machines; a difference may be due to the machines.",) if n > 1 else ()
    )


def rejected_causes(m: Measurement) -> Counter[str]:
    """How many blocks each cause rejected."""
    return Counter(b.rejected for p in m.processes for b in p.blocks if b.rejected)


def warnings(m: Measurement) -> tuple[str, ...]:
    """The warnings of the measurement and of its processes, each once."""
    of_processes = (w for p in m.processes for w in p.warnings)
    return tuple(dict.fromkeys((*m.warnings, *of_processes, *m.age_warnings)))


def _further_warnings(m: Measurement) -> tuple[str, ...]:
    """The warnings without the one of the machine that the times are not measured, which `not_measured` says."""
    return tuple(w for w in warnings(m) if not (not_measured(m) and w.startswith(f"{m.evidence}: ")))


def _status_doubt(m: Measurement, s: LatencyStatistics | None) -> tuple[str, ...]:
    """One sentence on why the measurement did not converge, else nothing."""
    if m.is_counted and m.status is Status.BUDGET:
        return (f"Not converged: two processes must agree; {counted.agreement(m)}.",)
    if m.status is Status.BUDGET:
        return (f"Not converged: {_limit(m)} first; {_reached(m, normalized(m) or s)}.",)
    if m.status is Status.LIMITED:
        return (f"Not converged: the load by other programs limits it; {_reached(m, normalized(m) or s)}.",)
    if m.status is Status.UNSTABLE:
        causes = ", ".join(f"{cause} {n}" for cause, n in rejected_causes(m).most_common())
        share = quantity.percent(m.rejected_share)
        kept = "" if m.rejected_share < 1 else "; as no block was undisturbed, all of them are used"
        return (f"Not converged: the machine was disturbed in {share} of the blocks ({causes or 'no cause'}){kept}.",)
    if m.status is Status.NOT_STEADY:
        n = sum(p.warmup == str(Status.NOT_STEADY) for p in m.processes)
        return (
            f"Not converged: {n} of {quantity.plural(len(m.processes), 'process')} did not become steady in warm-up.",
        )
    return ("Invalid: the measurement has no valid block.",) if m.status is Status.INVALID and s is None else ()


def _limit(m: Measurement) -> str:
    """The limit that ended a measurement that did not converge."""
    n = len(m.processes)
    if n < m.protocol.max_processes:
        return "the comparison that it is part of was certain" if _ended_early(m) else "the budget ran out"
    return f"the limit of {quantity.plural(n, 'process')} for this budget was reached"


def _ended_early(m: Measurement) -> bool:
    """Whether its processes took much less than the budget: the comparison was certain before each network's own
    interval was narrow."""
    n = len(m.processes)
    started = [datetime.fromisoformat(p.started) for p in (m.processes[0], m.processes[-1])]
    seconds = (started[1] - started[0]).total_seconds()
    return n > 1 and 0 < seconds * n / (n - 1) < _EARLY * m.protocol.budget_s


def _reached(m: Measurement, s: LatencyStatistics | None) -> str:
    if s is None or not math.isfinite(s.relative_half_width):
        return "there is no interval yet"
    reached, target = quantity.percent(s.relative_half_width), quantity.percent(m.protocol.target)
    if s.relative_half_width <= m.protocol.target:
        return f"the interval is ±{reached}, but it was not within the target, ±{target}, twice in a row"
    return f"the interval is ±{reached}, the target ±{target}"


def _extent(m: Measurement) -> str:
    return f"{quantity.plural(len(m.processes), 'process')}, {quantity.plural(m.samples, 'sample')}"


def _evidence(measurements: Sequence[Measurement]) -> str:
    """The kinds of times that are not measured, in parentheses, or nothing."""
    kinds = sorted({str(m.evidence) for m in measurements if m.evidence is not Evidence.MEASURED})
    return f" ({', '.join(kinds)}, not measured)" if kinds else ""


def _devices(measurements: Sequence[Measurement]) -> str:
    names = sorted({m.device.name for m in measurements})
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} devices"


def _statuses(measurements: Sequence[Measurement]) -> str:
    counts = Counter(str(m.status) for m in measurements)
    return ", ".join(f"{n} {status}" for status, n in counts.most_common())
