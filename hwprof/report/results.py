"""Results of searches and compressions as a report shows them: their table, their verdict and their Pareto fronts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hwprof.data.result import Estimate, Met, Result, measured_latency
from hwprof.errors import InputError
from hwprof.measurement import Comparison, Evidence, LatencyStatistics
from hwprof.report import quantity
from hwprof.report.tables import Cell, Table
from hwprof.report.verdict import ERROR_NOT_KNOWN, Tone, Verdict, not_measured

_COLUMNS = (
    "no.", "method", "model", "task", "seed", "device", "measured", "95 % interval", "by table", "target", "met",
    "× baseline", "size", "MACs", "metric", "loss",
)  # fmt: skip
_MET_WORDS = {None: "–", Met.YES: "yes", Met.NO: "no", Met.CANNOT_TELL: "cannot tell"}


@dataclass(frozen=True, slots=True)
class Found:
    """A result on one of its devices, or on its target's where it was measured on none; `number` is its row in the
    table. The latency is that by which the target is judged, in ms, nan where it is unknown."""

    number: int
    result: Result
    device: str
    comparison: Comparison | None
    ms: float = math.nan
    low_ms: float = math.nan
    high_ms: float = math.nan

    @property
    def has_interval(self) -> bool:
        return self.low_ms < self.high_ms

    @property
    def is_drawn(self) -> bool:
        return math.isfinite(self.ms) and math.isfinite(self.result.metric)

    @property
    def met(self) -> Met | None:
        """None on a device that the target is not for."""
        return self.result.met if self.device == self.result.target.device else None


@dataclass(frozen=True, slots=True)
class Baseline:
    """The network that the others are compared with; latencies in ms."""

    ms: float
    low_ms: float
    high_ms: float
    metric: float


@dataclass(frozen=True, slots=True)
class Front:
    """The results of one model on one task and device. pareto: (ms, metric) of the networks, the baseline among them,
    than which none is both faster and better, the fastest first. higher_is_better: of the metric."""

    model: str
    task: str
    device: str
    found: tuple[Found, ...]
    baseline: Baseline | None
    targets_ms: tuple[float, ...]
    pareto: tuple[tuple[float, float], ...]
    higher_is_better: bool = True


def found_in(results: Sequence[Result], device: str | None = None) -> list[Found]:
    """A row for each result and device (or for the one device), by model, task, device and latency; those without a
    latency come last. Raises InputError where there are none."""
    rows = [row for result in results for row in _rows(result) if device in (None, row[1])]
    if not rows:
        raise InputError("a report of results needs at least one; none was given")
    timed = [(result, name, c, result.estimate(name)) for result, name, c in rows]
    timed.sort(key=lambda row: (row[0].model, row[0].task, row[1], row[3] is None, row[3].median if row[3] else 0.0))
    return [_found(i, *row) for i, row in enumerate(timed, 1)]


def fronts(found: Sequence[Found]) -> list[Front]:
    """One for each model, task, direction of its metric and device, in the order of the table."""
    places: dict[tuple[str, str, str, bool], list[Found]] = {}
    for f in found:
        places.setdefault((f.result.model, f.result.task, f.device, f.result.higher_is_better), []).append(f)
    return [_front(*place, some) for place, some in places.items()]


def table(found: Sequence[Found]) -> Table:
    """A row for each, in their order."""
    return Table("All results", _COLUMNS, tuple(_row(f) for f in found))


def verdict(found: Sequence[Found]) -> Verdict:
    """How many networks meet their target, and every reason to doubt the figures."""
    counted = Counter(f.met for f in found if f.met is not None)
    aimed = counted.total()
    doubts = tuple(dict.fromkeys(d for f in found if f.comparison for d in not_measured(f.comparison.b)))
    support = f"{quantity.plural(len(found), 'result')} on {', '.join(dict.fromkeys(f.device for f in found))}"
    if unmeasured := sum(f.comparison is None for f in found):
        doubts += (
            f"{quantity.plural(unmeasured, 'result')} without a measurement: only the table's latency is known.",
        )
    if not aimed:
        headline = f"{quantity.plural(len(found), 'result')}, none with a latency target"
        return Verdict(Tone.CAUTION, headline, support, doubts)
    verb = "meets its" if counted[Met.YES] == 1 else "meet their"
    headline = f"{counted[Met.YES]} of {quantity.plural(aimed, 'network')} {verb} latency target"
    return Verdict(_tone(found, counted), headline, f"{support}; {_others(counted)}", doubts)


def interval_words(result: Result) -> str:
    """The interval of the latency on the target's device, ms, in a table for a terminal."""
    latency, compared = result.estimate(result.target.device), result.measured.get(result.target.device)
    if latency is None or compared is None:
        return "none"
    return ERROR_NOT_KNOWN if compared.b.is_formula else quantity.bounds(latency.low, latency.high)


def record(found: Found) -> dict[str, Any]:
    """JSON-ready, without raw samples; unknown figures are null."""
    full = found.result.to_record()
    del full["schema"], full["measured"]
    c = found.comparison
    compared = dict(zip(("ratio", "low", "high"), map(_known, (c.ratio, *c.interval)), strict=True)) if c else None
    return {
        **full,
        "device": found.device,
        "met": found.met,
        "metric_loss": _known(found.result.metric_loss),
        "estimate_ms": _statistics(found.result.estimate(found.device)),
        "latency_ms": _statistics(measured_latency(c.b) if c else None),
        "baseline_ms": _statistics(measured_latency(c.a) if c else None),
        "ratio": compared and {**compared, "verdict": c.verdict if c else None},
        "evidence": str(c.b.evidence) if c else None,
    }


def _rows(result: Result) -> list[tuple[Result, str, Comparison | None]]:
    measured = [(result, device, comparison) for device, comparison in result.measured.items()]
    return [*measured] or [(result, result.target.device, None)]


def _found(number: int, result: Result, device: str, comparison: Comparison | None, latency: Estimate | None) -> Found:
    if latency is None:
        return Found(number, result, device, comparison)
    bounds = (latency.low, latency.high) if math.isfinite(latency.low) else (latency.median, latency.median)
    return Found(number, result, device, comparison, latency.median, *bounds)


def _front(model: str, task: str, device: str, higher_is_better: bool, found: Sequence[Found]) -> Front:
    baseline = _baseline(found)
    points = [(f.ms, f.result.metric) for f in found if f.is_drawn]
    points += [(baseline.ms, baseline.metric)] if baseline else []
    targets = {f.result.target.ms for f in found if f.result.target.device == device and f.result.target.ms}
    pareto = _pareto(points, higher_is_better)
    return Front(model, task, device, tuple(found), baseline, tuple(sorted(targets)), pareto, higher_is_better)


def _baseline(found: Sequence[Found]) -> Baseline | None:
    """The middle one of the measurements of the baseline, which was measured next to each network."""
    known = [
        Baseline(s.median, *((s.low, s.high) if math.isfinite(s.low) else (s.median,) * 2), f.result.baseline_metric)
        for f in found
        if f.comparison and math.isfinite(f.result.baseline_metric) and (s := measured_latency(f.comparison.a))
    ]
    known.sort(key=lambda b: b.ms)
    return known[len(known) // 2] if known else None


def _pareto(points: Sequence[tuple[float, float]], higher_is_better: bool) -> tuple[tuple[float, float], ...]:
    sign = 1.0 if higher_is_better else -1.0
    kept: list[tuple[float, float]] = []
    for ms, score in sorted(((ms, sign * metric) for ms, metric in points), key=lambda p: (p[0], -p[1])):
        if not kept or score > kept[-1][1]:
            kept.append((ms, score))
    return tuple((ms, sign * score) for ms, score in kept)


def _row(f: Found) -> tuple[Cell, ...]:
    r = f.result
    latency, interval = quantity.estimate(f.ms, f.low_ms, f.high_ms) if math.isfinite(f.ms) else (quantity.UNKNOWN, "")
    loss = quantity.significant(r.metric_loss, 2).replace("-", "−")
    return (
        Cell(str(f.number), f.number), Cell(_method(r)), Cell(r.model), Cell(r.task), Cell(str(r.seed)), Cell(f.device),
        Cell(latency, _known(f.ms)), Cell(interval if f.has_interval else _no_interval(f), _known(f.low_ms)),
        Cell(quantity.time(r.table_ms), _known(r.table_ms)), _target(f), _met(f), _ratio(f.comparison),
        Cell(quantity.count(r.size_bytes, "B"), r.size_bytes), Cell(quantity.count(r.macs), r.macs),
        Cell(quantity.significant(r.metric, 4), _known(r.metric)), Cell(loss, _known(r.metric_loss)),
    )  # fmt: skip


def _no_interval(f: Found) -> str:
    return ERROR_NOT_KNOWN if f.comparison and f.comparison.b.is_formula else "none"


def _met(f: Found) -> Cell:
    """Also says where the method makes nothing faster."""
    is_short = f.met is not None and bool(f.result.shortfall)
    return Cell(f"{_MET_WORDS[f.met]}, its least" if is_short else _MET_WORDS[f.met])


def _target(f: Found) -> Cell:
    """A target holds on its own device only."""
    target = f.result.target
    if target.ms is None or target.device != f.device:
        return Cell("none")
    return Cell(quantity.time(target.ms), target.ms)


def _method(r: Result) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in r.settings.items())
    return f"{r.method} ({settings})" if settings else r.method


def _ratio(c: Comparison | None) -> Cell:
    if c is None or not math.isfinite(c.ratio):
        return Cell(quantity.UNKNOWN)
    low, high = c.interval
    interval = f" ({quantity.ratio(low)} to {quantity.ratio(high)})" if math.isfinite(low) else ""
    return Cell(quantity.ratio(c.ratio) + interval, c.ratio)


def _tone(found: Sequence[Found], counted: Mapping[Met, int]) -> Tone:
    measured = all(f.comparison and f.comparison.b.evidence is Evidence.MEASURED for f in found)
    if not counted.get(Met.YES):
        return Tone.BAD if counted.get(Met.NO) else Tone.CAUTION
    return Tone.GOOD if measured and counted[Met.YES] == sum(counted.values()) else Tone.CAUTION


def _others(counted: Mapping[Met, int]) -> str:
    """How many do not meet the target, and of how many that cannot be told."""
    missed, untold = counted.get(Met.NO, 0), counted.get(Met.CANNOT_TELL, 0)
    parts = [f"{missed} {'does' if missed == 1 else 'do'} not"] if missed else []
    parts += [f"of {untold} the interval does not tell"] if untold else []
    return ", ".join(parts) or "each with its whole 95 % interval"


def _statistics(latency: LatencyStatistics | Estimate | None) -> dict[str, float | None] | None:
    if latency is None:
        return None
    values = latency.in_ms if isinstance(latency, LatencyStatistics) else asdict(latency)
    return {name: _known(value) for name, value in values.items()}


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
