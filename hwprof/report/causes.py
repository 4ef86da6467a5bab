"""The causes for which a quantized network loses time: findings in groups, each with its total and what to do.

The totals come from several profiled passes, each in a process of its own; `low_ns` and `high_ns` are the least and the
greatest of them. Of six, they bound the median with 97 % confidence, whatever the distribution (the probability that
all six are on one side of it is 2 / 2**6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwprof.measurement import OperatorTime
from hwprof.report.explanation import Explanation, Finding, Kind
from hwprof.report.operators import corresponding

_ACTIONS = {
    Kind.FLOAT: "use an operator with an integer kernel in its place, or leave its neighbours in float as well",
    Kind.UNFUSED: "quantize what is before and after it; at the edge of the network, feed and read integers",
    Kind.SLOW_TYPES: "quantize activations to uint8 and weights to int8, as --variant int8 does",
    Kind.SLOWER: "leave these layers in float, or give them more channels: the integer kernel is the slower one",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """All findings of one kind about one kind of operator. `ns` as `Finding.ns`; None where nothing was measured."""

    kind: Kind
    op: str
    count: int
    ns: float | None
    low_ns: float | None
    high_ns: float | None
    share: float | None

    @property
    def action(self) -> str:
        return _ACTIONS[self.kind]


def middle(passes: Sequence[Sequence[OperatorTime]]) -> tuple[OperatorTime, ...]:
    """The kernels of the first pass, each with the median of its times over the passes that have it."""
    times: dict[tuple[str, str], list[float]] = {}
    for kernels in passes:
        for kernel in kernels:
            times.setdefault((kernel.name, kernel.op), []).append(kernel.ns)
    return tuple(replace(k, ns=float(np.median(times[k.name, k.op]))) for k in (passes[0] if passes else ()))


def group(found: Explanation, passes: Sequence[Explanation] = ()) -> tuple[Cause, ...]:
    """The causes of an explanation, the costliest first; `passes` are the explanations of the single passes."""
    groups: dict[tuple[Kind, str], list[Finding]] = {}
    for finding in found.findings:
        groups.setdefault(_key(finding), []).append(finding)
    causes = [_cause(key, findings, [_total(p, key) for p in passes]) for key, findings in groups.items()]
    return tuple(sorted(causes, key=lambda c: -(c.ns or 0.0)))


def _cause(key: tuple[Kind, str], findings: Sequence[Finding], totals: Sequence[float]) -> Cause:
    measured = [f.ns for f in findings if f.ns is not None]
    shares = [f.share for f in findings if f.share is not None]
    ns = sum(measured) if measured else None
    low, high = (min(*totals, ns), max(*totals, ns)) if ns is not None and len(totals) > 1 else (None, None)
    return Cause(*key, len(findings), ns, low, high, sum(shares) if shares else None)


def _key(finding: Finding) -> tuple[Kind, str]:
    return finding.kind, corresponding(finding.op)


def _total(found: Explanation, key: tuple[Kind, str]) -> float:
    return sum(f.ns or 0.0 for f in found.findings if _key(f) == key)


def rows(causes: Sequence[Cause]) -> list[dict[str, str]]:
    """A row for each, for a terminal."""
    return [
        {
            "cause": c.kind.value,
            "op": c.op,
            "times": str(c.count),
            "ms": "" if c.ns is None else f"{c.ns / 1e6:.4g}",
            "97 % interval": interval_words(c),
            "share": "" if c.share is None else f"{c.share:.1%}",
            "what to do": c.action,
        }
        for c in causes
    ]


def interval_words(cause: Cause) -> str:
    """Empty where a single pass has none."""
    if cause.low_ns is None or cause.high_ns is None:
        return ""
    return f"{cause.low_ns / 1e6:.4g} .. {cause.high_ns / 1e6:.4g}"


def kinds(before: Sequence[OperatorTime], after: Sequence[OperatorTime]) -> list[dict[str, str]]:
    """A row for each kind of operator of either network, a float kernel and its integer counterpart in one; by the size
    of the difference."""
    sums: dict[str, list[float]] = {}
    for side, kernels in enumerate((before, after)):
        for kernel in kernels:
            sums.setdefault(corresponding(kernel.op), [0.0, 0.0])[side] += kernel.ns / 1e6
    ordered = sorted(sums.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))
    return [
        {"op": op, "before, ms": f"{a:.4g}", "after, ms": f"{b:.4g}", "difference, ms": f"{b - a:+.4g}"}
        for op, (a, b) in ordered
    ]
