"""The result of one search or compression: the choices, their cost, and whether the network meets its latency target.

Every method writes the same JSON-ready record, so that one store and one page hold the results of all methods. Only the
measurement, paired with the baseline's, decides whether the target is met. The method optimized the sum of a latency
table, so that sum cannot judge it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from hwprof.errors import InputError
from hwprof.measurement import Comparison, LatencyStatistics, Measurement, Status

SCHEMA = "hwprof.result/1"
OUTPUTS = "outputs"  # the task of a network that was compressed without one
_MAYBE_UNKNOWN = ("metric", "baseline_metric", "table_ms", "seconds")  # nan in Python, null in JSON


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

    choices: those of the method, by layer (compression) or as `{"arch": [...]}` (search), JSON-ready.
    metric, baseline_metric: those of the network and the baseline on the task's test part; larger is better.
    table_ms: the latency by the table or predictor that the method used.
    measured: for each device, the network (b) paired with the baseline (a).
    digest: that of the network's graph. seconds: the time that the method took.

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

    def __post_init__(self) -> None:
        for name in _MAYBE_UNKNOWN:
            value = float(getattr(self, name))
            object.__setattr__(self, name, value if math.isfinite(value) else math.nan)
        for name in ("settings", "choices", "versions"):
            object.__setattr__(self, name, _json_ready(name, getattr(self, name)))

    @property
    def key(self) -> ResultKey:
        return ResultKey(self.method, self.settings, self.model, self.task, self.seed, self.target)

    @property
    def met(self) -> Met | None:
        """Whether the network meets its target on the target's device; None where the target has no ms.

        The 95 % interval of the measured latency at the machine's undisturbed speed decides: yes where all of it is at
        or below the target, no where all of it is above, otherwise cannot tell.
        """
        if self.target.ms is None:
            return None
        latency = self.latency(self.target.device)
        if latency is None or not (math.isfinite(latency.low) and math.isfinite(latency.high)):
            return Met.CANNOT_TELL
        if latency.high <= self.target.ms:
            return Met.YES
        return Met.NO if latency.low > self.target.ms else Met.CANNOT_TELL

    @property
    def metric_loss(self) -> float:
        """How much smaller than the baseline's the metric is; nan where one of them is unknown."""
        return self.baseline_metric - self.metric

    @property
    def output_error(self) -> float | None:
        """The relative error of the outputs, minus which is the metric where there is no task; else None."""
        return -self.metric if self.task == OUTPUTS and math.isfinite(self.metric) else None

    @property
    def evidence(self) -> str:
        """How the target's device got its latencies: "measured", "analytic", ...; empty without a comparison."""
        found = self.measured.get(self.target.device)
        return str(found.b.evidence) if found else ""

    def latency(self, device: str) -> LatencyStatistics | None:
        """The network's latency, ms, at the machine's undisturbed speed; None where none was measured."""
        found = self.measured.get(device)
        return measured_latency(found.b) if found else None

    def to_record(self) -> dict[str, Any]:
        """JSON-ready, with all raw samples. `met` is there for other readers; `from_record` computes it again."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        record |= {name: _or_null(record[name]) for name in _MAYBE_UNKNOWN}
        measured = {device: _comparison_record(c) for device, c in self.measured.items()}
        return {"schema": SCHEMA, **record, "measured": measured, "target": asdict(self.target), "met": self.met}

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
        if missing := sorted(known - record.keys()):
            raise InputError(f"the result record has no {missing[0]!r}; it was not written by hwprof")
        values = {name: record[name] for name in known}
        values |= {name: math.nan for name in _MAYBE_UNKNOWN if values[name] is None}
        try:
            values["target"] = Target(**record["target"])
            values["measured"] = {device: _comparison(c) for device, c in record["measured"].items()}
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the result record is damaged: {error}") from None


def measured_latency(measurement: Measurement) -> LatencyStatistics | None:
    """The latency, ms, at the machine's undisturbed speed; None where the measurement is not valid or, on an emulated
    core, holds no times."""
    if measurement.status is Status.INVALID or measurement.is_counted or not any(p.kept for p in measurement.processes):
        return None
    return measurement.normalized


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
