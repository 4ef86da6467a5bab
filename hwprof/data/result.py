"""The result of one search or compression: the choices, their cost, and whether the network meets its latency target.

Every method writes the same JSON-ready record, so that one store and one page hold the results of all methods. Only the
measurement, paired with the baseline's, decides whether the target is met. The method optimized the sum of a latency
table, so that sum cannot judge it.

2026-11-29, why the ratio of the pairs may judge in place of the network's own milliseconds (`known_latency`). On a
shared machine a latency of 0.03 ms was known to a factor of two, and the ratio to the baseline, whose blocks alternate
with the network's, to a few percent. The narrower interval decides, and the target does not, so that nothing is chosen
by the answer. Intersecting the two intervals would be narrower still, but not an interval of 95 %: one that misses the
latency would be enough to spoil it. A weighted mean needs their correlation, which a few processes do not show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from hwprof.errors import InputError, NotConvergedError
from hwprof.measurement import Comparison, LatencyStatistics, Measurement, Status

SCHEMA = "hwprof.result/1"
OUTPUTS = "outputs"  # the task of a network that was compressed without one
_CAUTION = 1.25
_MAYBE_UNKNOWN = ("metric", "baseline_metric", "table_ms", "seconds")  # nan in Python, null in JSON


@dataclass(frozen=True, slots=True)
class Estimate:
    """A latency and the bounds of its 95 % interval, ms; the bounds are nan where they are not known. A formula's value
    is all three."""

    median: float
    low: float
    high: float

    @property
    def log_width(self) -> float:
        """The logarithm of high by low: infinite where they are not known."""
        return math.log(self.high / self.low) if math.isfinite(self.low) and math.isfinite(self.high) else math.inf

    @property
    def cautious(self) -> float:
        """The upper bound, but at most a quarter above the median: a wider interval shows how noisy the machine is, and
        not how slow the network."""
        return min(self.high if math.isfinite(self.high) else math.inf, _CAUTION * self.median)

    @property
    def words(self) -> str:
        """For a line of text; a formula's value has no interval."""
        return f"{self.median:.4g} ms" + (f" ({self.low:.4g} .. {self.high:.4g})" if self.low < self.high else "")

    def overlaps(self, other: Estimate) -> bool:
        return self.low <= other.high and other.low <= self.high


class Met(StrEnum):
    """Whether a measured latency is within its target."""

    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Target:
    """The latency to reach on a device: at most `ms`, or as low as possible where `ms` is None.

    Raises InputError for a latency that is not positive.
    """

    device: str
    ms: float | None = None

    def __post_init__(self) -> None:
        if self.ms is not None and not (self.ms > 0 and math.isfinite(self.ms)):
            raise InputError(f"a target latency must be a positive number of ms, not {self.ms!r}")


def share_of(text: str) -> float:
    """The share of the baseline's latency that a target such as "70%" means. Raises InputError for another text, and
    for a share that is not between 0 and 1."""
    number = text.removesuffix("%").strip()
    try:
        share = float(number) / 100
    except ValueError:
        share = math.nan
    if not text.endswith("%") or not 0 < share <= 1:
        raise InputError(f"a relative target is a share of the measured latency, such as 70%, not {text!r}")
    return share


def relative_ms(share: float, baseline: Estimate | None) -> float:
    """The target that is a share of the baseline's latency, ms, in four digits. Raises NotConvergedError where the
    baseline has no valid latency."""
    if baseline is None:
        raise NotConvergedError("the network's own latency is not known, of which the target is a share; measure again")
    return float(f"{share * baseline.median:.4g}")


@dataclass(frozen=True, slots=True)
class ResultKey:
    """The input of a search or compression, which decides its result. `settings`: all settings of the method,
    JSON-ready. If a model can change under its name, `model` or `settings` should hold a digest."""

    method: str
    settings: Mapping[str, Any]
    model: str
    task: str
    seed: int
    target: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", _json_ready("settings", self.settings))


@dataclass(frozen=True, slots=True)
class Result:
    """One network that was searched or compressed.

    choices: those of the method, by layer (compression) or as `{"arch": [...]}` (search), JSON-ready. changes: by layer
    in words, such as "64 -> 24 channels" (compression).
    metric, baseline_metric: those of the network and the baseline on the task's test part. higher_is_better: whether
    larger ones are.
    table_ms: the latency by the table or predictor that the method used.
    measured: for each device, the network (b) paired with the baseline (a).
    digest: that of the network's graph. seconds: the time that the method took.
    baseline_alone: the baseline's latency on the target's device in a measurement without the network; None where there
    is none. is_least: whether the method makes no faster network, as far as it knows.

    A float that is not finite is unknown, and becomes nan. Raises InputError for settings or choices that JSON cannot
    hold.
    """

    method: str
    settings: Mapping[str, Any]
    model: str
    task: str
    seed: int
    choices: Mapping[str, Any]
    metric: float
    baseline_metric: float
    size_bytes: int
    macs: int | None
    table_ms: float
    measured: Mapping[str, Comparison]
    target: Target
    digest: str
    versions: Mapping[str, str]
    seconds: float
    baseline_alone: Estimate | None = None
    is_least: bool = False
    changes: Mapping[str, str] = field(default_factory=dict)
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        for name in _MAYBE_UNKNOWN:
            value = float(getattr(self, name))
            object.__setattr__(self, name, value if math.isfinite(value) else math.nan)
        for name in ("settings", "choices", "versions", "changes"):
            object.__setattr__(self, name, _json_ready(name, getattr(self, name)))

    @property
    def key(self) -> ResultKey:
        return ResultKey(self.method, self.settings, self.model, self.task, self.seed, self.target)

    @property
    def met(self) -> Met | None:
        """Whether the network meets its target on the target's device; None where the target has no ms.

        The 95 % interval of `known_latency` decides: yes where all of it is at or below the target, no where all of it
        is above, otherwise cannot tell.
        """
        if self.target.ms is None:
            return None
        latency = self.estimate(self.target.device)
        if latency is None or math.isinf(latency.log_width):
            return Met.CANNOT_TELL
        if latency.high <= self.target.ms:
            return Met.YES
        return Met.NO if latency.low > self.target.ms else Met.CANNOT_TELL

    @property
    def shortfall(self) -> str:
        """In words, the least that the method reaches, where that is known and the target is not met; else empty."""
        latency = self.estimate(self.target.device)
        if not self.is_least or latency is None or self.met is not Met.NO:
            return ""
        return f"target not reached: the least is {latency.median:.4g} ms"

    @property
    def score(self) -> float:
        """The metric, or minus it, so that larger is better; minus infinity where it is unknown."""
        if math.isnan(self.metric):
            return -math.inf
        return self.metric if self.higher_is_better else -self.metric

    @property
    def metric_loss(self) -> float:
        """How much worse than the baseline's the metric is; nan where one of them is unknown."""
        lost = self.baseline_metric - self.metric
        return lost if self.higher_is_better else -lost

    @property
    def output_error(self) -> float | None:
        """The relative error of the outputs, minus which is the metric where there is no task; else None."""
        return -self.metric if self.task == OUTPUTS and math.isfinite(self.metric) else None

    @property
    def evidence(self) -> str:
        """How the target's device got its latencies: "measured", "analytic", ...; empty without a comparison."""
        found = self.measured.get(self.target.device)
        return str(found.b.evidence) if found else ""

    def estimate(self, device: str) -> Estimate | None:
        """The network's latency by `known_latency`; None where none was measured."""
        found = self.measured.get(device)
        return known_latency(found, self.baseline_alone if device == self.target.device else None) if found else None

    def latency(self, device: str) -> LatencyStatistics | None:
        """Statistics of the network's own samples, ms, at the machine's undisturbed speed; None where none were
        measured."""
        found = self.measured.get(device)
        return measured_latency(found.b) if found else None

    def to_record(self) -> dict[str, Any]:
        """JSON-ready, with all raw samples. `met` is there for other readers; `from_record` computes it again."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        record |= {name: _or_null(record[name]) for name in _MAYBE_UNKNOWN}
        measured = {device: _comparison_record(c) for device, c in self.measured.items()}
        alone = self.baseline_alone and {name: _or_null(ms) for name, ms in asdict(self.baseline_alone).items()}
        return {
            "schema": SCHEMA, **record, "measured": measured, "target": asdict(self.target), "baseline_alone": alone,
            "met": self.met,
        }  # fmt: skip

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Result:
        """Raises InputError for a record of another format, or one that lacks a field or has one too many."""
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"the result record has the schema {record.get('schema')!r}; this version of hwprof reads {SCHEMA!r}"
            )
        known = {f.name for f in fields(cls)}
        if unknown := sorted(record.keys() - known - {"schema", "met"}):
            raise InputError(f"the result record has an unknown field {unknown[0]!r}; a newer hwprof wrote it: upgrade")
        required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
        if missing := sorted(required - record.keys()):
            raise InputError(f"the result record has no {missing[0]!r}; it was not written by hwprof")
        values = {name: record[name] for name in known & record.keys()}
        values |= {name: math.nan for name in _MAYBE_UNKNOWN if values[name] is None}
        try:
            values["target"] = Target(**record["target"])
            values["measured"] = {device: _comparison(c) for device, c in record["measured"].items()}
            values["baseline_alone"] = _estimate(record.get("baseline_alone"))
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the result record is damaged: {error}") from None


def measured_latency(measurement: Measurement) -> LatencyStatistics | None:
    """The latency, ms, at the machine's undisturbed speed; None where the measurement is not valid or, on an emulated
    core, holds no times."""
    if measurement.status is Status.INVALID or measurement.is_counted or not any(p.kept for p in measurement.processes):
        return None
    return measurement.normalized


def estimate(measurement: Measurement) -> Estimate | None:
    """The latency by its own samples; None where `measured_latency` is."""
    own = measured_latency(measurement)
    return None if own is None else Estimate(own.median, *measurement.decisive_ms(own))


def known_latency(compared: Comparison, baseline_alone: Estimate | None) -> Estimate | None:
    """The latency of the compared network (b) at the machine's undisturbed speed; None where it has none.

    It is estimated from the network's own samples, and by `baseline_alone` times the ratio of the pairs, in which noise
    of both sides cancels. The estimate with the narrower interval is returned. Where the two intervals do not overlap,
    the machine was not the same when the baseline was measured alone, and the network's own samples count.
    """
    own = estimate(compared.b)
    by_pairs = _by_pairs(compared, baseline_alone)
    if own is None or by_pairs is None or not own.overlaps(by_pairs):
        return own
    return min(own, by_pairs, key=lambda one: one.log_width)


def _by_pairs(compared: Comparison, baseline: Estimate | None) -> Estimate | None:
    """Their product, for which the squares of the relative half-widths add up: the processes of the ratio are others
    than those of the baseline. None where the bounds of one of them are not known."""
    if baseline is None:
        return None
    factors = (Estimate(compared.ratio, compared.low, compared.high), baseline)
    if any(math.isinf(factor.log_width) for factor in factors):
        return None
    median = math.prod(factor.median for factor in factors)
    below = math.hypot(*(math.log(factor.median / factor.low) for factor in factors))
    above = math.hypot(*(math.log(factor.high / factor.median) for factor in factors))
    return Estimate(median, median * math.exp(-below), median * math.exp(above))


def _estimate(record: Mapping[str, Any] | None) -> Estimate | None:
    return None if record is None else Estimate(**{k: math.nan if v is None else v for k, v in record.items()})


def _comparison_record(c: Comparison) -> dict[str, Any]:
    numbers = {name: _or_null(getattr(c, name)) for name in ("ratio", "low", "high")}
    return {
        "verdict": c.verdict, **numbers, "pairs": c.pairs, "margin": c.margin,
        "a": c.a.to_record(), "b": c.b.to_record(),
    }  # fmt: skip


def _comparison(record: Mapping[str, Any]) -> Comparison:
    numbers = {name: math.nan if record[name] is None else record[name] for name in ("ratio", "low", "high")}
    sides = {name: Measurement.from_record(record[name]) for name in ("a", "b")}
    return Comparison(**{**record, **numbers, **sides})


def _json_ready(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy as JSON gives it back, so that a result equals the one that is read from its record."""
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be JSON-ready: {error}") from None
    return copy


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
