"""The causes for which a quantized network loses time: findings in groups, each with its total and what to do.

The totals come from several profiled passes, each in a process of its own; `ns` is their median, `low_ns` and `high_ns`
are the least and the greatest of them. Of six, they bound the median with 97 % confidence, whatever the distribution
(the probability that all six are on one side of it is 2 / 2**6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwprof.measurement import OperatorTime
from hwprof.report import quantity
from hwprof.report.explanation import CONVERSIONS, Explanation, Finding, Kind
from hwprof.report.operators import corresponding

_ACTIONS = {
    Kind.FLOAT: "use an operator with an integer kernel in its place, or leave its neighbours in float as well",
    Kind.UNFUSED: "quantize what is before and after it; at the edge of the network, feed and read integers",
    Kind.SLOW_TYPES: "quantize activations to uint8 and weights to int8, as --variant int8 does",
    Kind.SLOWER: "leave these layers in float, or give them more channels: the integer kernel is the slower one",
}
_LOAD = ("cpu pressure", "temperature")
_NEGLIGIBLE = 0.001  # of the whole difference


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
    """The causes of an explanation, the costliest first. `passes`: the explanations of the single passes with limits of
    0, so that each has a time for every operator that was found."""
    groups: dict[tuple[Kind, str], list[Finding]] = {}
    for finding in found.findings:
        groups.setdefault(_key(finding), []).append(finding)
    causes = [_cause(key, findings, [_total(p, findings) for p in passes]) for key, findings in groups.items()]
    return tuple(sorted(causes, key=lambda c: -(c.ns or 0.0)))


def _cause(key: tuple[Kind, str], findings: Sequence[Finding], totals: Sequence[float]) -> Cause:
    measured = [f.ns for f in findings if f.ns is not None]
    shares = [f.share for f in findings if f.share is not None]
    ns, share = sum(measured) if measured else None, sum(shares) if shares else None
    if ns is None or len(totals) < 2:
        return Cause(*key, len(findings), ns, None, None, share)
    median = float(np.median(totals))
    return Cause(
        *key, len(findings), median, min(totals), max(totals), share * median / ns if share and ns else share
    )  # fmt: skip


def _key(finding: Finding) -> tuple[Kind, str]:
    return finding.kind, corresponding(finding.op)


def _total(found: Explanation, findings: Sequence[Finding]) -> float:
    """The time in this pass of the operators that were found, ns."""
    wanted = {(f.kind, f.node) for f in findings}
    return sum(f.ns or 0.0 for f in found.findings if (f.kind, f.node) in wanted)


def doubts_of_load(checks: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """checks: of the machine, as records. A sentence for each by which the times of single kernels, which no anchors
    correct, are not to be trusted."""
    return tuple(
        f"these times are not to be trusted: {check['name']}: {check['found']}"
        for check in checks
        if check["name"] in _LOAD and check["fitness"] in ("warning", "unfit")
    )


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


def balance(before: Sequence[OperatorTime], after: Sequence[OperatorTime]) -> str:
    """One sentence whose terms add up to the difference of both networks. A layer is a set of kernels that compute the
    same operators in both."""
    conversions = _conversions_ms(after) - _conversions_ms(before)
    layers = [(a, b) for a, b in _layers(before, after) if a and b]
    changes = [sum(b) - sum(a) for a, b in layers]
    gains, losses = [ms for ms in changes if ms < 0], [ms for ms in changes if ms >= 0]
    whole = sum(kernel.ns for kernel in after) / 1e6 - sum(kernel.ns for kernel in before) / 1e6
    others = whole - sum(changes) - conversions
    rest = f", kernels that only one of them has {others:+.4g} ms" if abs(others) >= _NEGLIGIBLE * abs(whole) else ""
    return (
        f"{whole:+.4g} ms in all: {quantity.plural(len(gains), 'layer')} faster ({sum(gains):+.4g} ms), {len(losses)} "
        f"slower ({sum(losses):+.4g} ms), conversions {conversions:+.4g} ms{rest}"
    )


def _conversions_ms(kernels: Sequence[OperatorTime]) -> float:
    return sum(kernel.ns for kernel in kernels if kernel.op in CONVERSIONS) / 1e6


def _layers(before: Sequence[OperatorTime], after: Sequence[OperatorTime]) -> list[tuple[list[float], list[float]]]:
    """The times of the kernels of each layer, ms, in both networks; those that only convert are in none. Kernels belong
    together where one has the operator that gives the other its name: one without names of its own is often in two."""
    sides = [[kernel for kernel in kernels if kernel.op not in CONVERSIONS] for kernels in (before, after)]
    root = {kernel.name: kernel.name for kernels in sides for kernel in kernels}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for kernel in (kernel for kernels in sides for kernel in kernels):
        for member in kernel.members:
            if member in root:
                root[find(member)] = find(kernel.name)
    layers: dict[str, tuple[list[float], list[float]]] = {}
    for side, kernels in enumerate(sides):
        for kernel in kernels:
            layers.setdefault(find(kernel.name), ([], []))[side].append(kernel.ns / 1e6)
    return list(layers.values())
