"""Results made by hand for tests."""

from __future__ import annotations

from hwprof.data.result import Result, Target
from hwprof.measurement import Comparison, Measurement
from tests.samples import make_measurement, make_process


def measured(ms: float, model: str = "m", spread: float = 0.01, processes: int = 5, **changes: object) -> Measurement:
    """The medians of the processes are `spread` apart, so that the interval is about that wide on both sides."""
    levels = [ms * (1 + spread * (i - (processes - 1) / 2)) for i in range(processes)]
    made = [make_process(i, [level * 1e6] * 3) for i, level in enumerate(levels)]
    return make_measurement(made, model, **changes)


def compared(ms: float, baseline_ms: float = 10.0, **changes: object) -> Comparison:
    a, b = measured(baseline_ms, "baseline", **changes), measured(ms, "small", **changes)
    return Comparison(a, b, "faster", ms / baseline_ms, 0.99 * ms / baseline_ms, 1.01 * ms / baseline_ms, 15, 0.02)


def make_result(ms: float = 5.0, target_ms: float | None = 6.0, **changes: object) -> Result:
    """A network pruned for the device "d", measured there at about `ms`."""
    values = {
        "method": "prune", "settings": {"keep": 0.5}, "model": "net", "task": "digits", "seed": 0,
        "choices": {"conv1": 8}, "metric": 97.0, "baseline_metric": 98.5, "size_bytes": 40_000, "macs": 1_000_000,
        "table_ms": 4.5, "measured": {"d": compared(ms)}, "target": Target("d", target_ms), "digest": "0" * 32,
        "versions": {"torch": "2.9"}, "seconds": 12.5, **changes,
    }  # fmt: skip
    return Result(**values)
