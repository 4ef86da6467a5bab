"""The causes for which a quantized network is slower or faster than its float original. Every kernel that ran is in
exactly one of them, so that they add up to the difference of both networks.

The times come from several profiled passes, each in a process of its own. `ns` is a sum of differences between the
medians of kernels, which one disturbed pass does not move. `low_ns` and `high_ns` are the least and the greatest
difference of a pass. Of six, they bound the median with 97 % confidence, whatever the distribution (the probability
that all six are on one side of it is 2 / 2**6).

2026-11-29, why a comparison scales its passes. They are profiled and come after the pairs: on a busy machine their sum
was another difference than the paired one above it, by a fifth. The ratio of the pairs is right, and a cause is a share
of it. Where the profiler, or the load, made the passes much longer than the plain runs, their shares are not those of
the plain runs, and the causes are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwprof.graph import Graph, quantizes
from hwprof.measurement import Comparison, OperatorTime
from hwprof.report.explanation import SLOWER_FROM, Explanation, Finding, Kind, explain
from hwprof.report.layers import Layer, Pair, layers
from hwprof.report.operators import INFLATION_LIMIT, corresponding, without_profiling

_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Attention", "LSTM", "GRU"}
_MOVEMENTS = {
    "Reshape", "Transpose", "Resize", "Concat", "Split", "Slice", "Gather", "Pad", "Squeeze", "Unsqueeze", "Flatten",
    "Expand", "Tile", "DepthToSpace", "ReorderInput", "ReorderOutput",
}  # fmt: skip
_ACTIONS = {
    Kind.FLOAT: "use an operator with an integer kernel in its place, or leave its neighbours in float as well",
    Kind.UNFUSED: "quantize what is before and after it; at the edge of the network, feed and read integers",
    Kind.SLOW_TYPES: "quantize activations to uint8 and weights to int8, as --variant int8 does",
    Kind.ADDED: "the runtime needs it around integer kernels: let fewer float and integer layers alternate",
}
_SLOW_PRODUCT = "leave these layers in float, or give them more channels: the integer kernel is the slower one"
_SLOW_MOVEMENT = "move it out of the quantized part: the runtime moves integers no faster here"
_SLOW_OTHER = "leave it in float together with its neighbours: rescaling integers costs more than it saves"
_LOAD = ("cpu pressure", "temperature")
_ROUNDING = 1e-6  # of the float network's time
_SMALL = 0.01  # of the sum of all changes; causes below it are in the rest


@dataclass(frozen=True, slots=True)
class Cause:
    """Layers of one kind of operator that change for the same reason. `ns`: how much longer they take than in float,
    negative for a gain; `share`: of the float network's time. Both are None where nothing was measured, the bounds also
    after a single pass."""

    kind: Kind
    op: str
    count: int
    ns: float | None
    low_ns: float | None
    high_ns: float | None
    share: float | None

    @property
    def is_certain(self) -> bool:
        """Whether the interval, if there is one, does not contain 0."""
        return self.low_ns is None or self.high_ns is None or self.low_ns > 0 or self.high_ns < 0

    @property
    def action(self) -> str:
        """Empty where there is no loss to act on."""
        if self.ns is not None and (self.ns <= 0 or not self.is_certain):
            return ""
        if self.kind is not Kind.SLOWER:
            return _ACTIONS.get(self.kind, "")
        return _SLOW_PRODUCT if self.op in _PRODUCTS else _SLOW_MOVEMENT if self.op in _MOVEMENTS else _SLOW_OTHER


@dataclass(frozen=True, slots=True)
class Split:
    """The causes of a comparison's difference, the last of which is their sum. reason: why there are none; empty where
    B is not a quantized A."""

    causes: tuple[Cause, ...] = ()
    reason: str = ""

    @property
    def left_out(self) -> str:
        """A sentence for the reader where there are no causes, though they were to be expected; else empty."""
        return f"The causes of the difference are left out: {self.reason}." if self.reason else ""


def middle(passes: Sequence[Sequence[OperatorTime]]) -> tuple[OperatorTime, ...]:
    """The kernels of the first pass, each with the median of its times over the passes that have it."""
    times: dict[tuple[str, str], list[float]] = {}
    for kernels in passes:
        for kernel in kernels:
            times.setdefault((kernel.name, kernel.op), []).append(kernel.ns)
    return tuple(replace(k, ns=float(np.median(times[k.name, k.op]))) for k in (passes[0] if passes else ()))


def group(found: Explanation, passes: Sequence[Pair] = ()) -> tuple[Cause, ...]:
    """The causes of an explanation: losses, the largest first, then gains, then those that are not certain, and the
    rest. They add up to `total`. passes: the kernels of the single passes."""
    if not all(found.kernels):
        return _without_times(found.findings)
    sides = layers(*found.kernels)
    groups: dict[tuple[Kind, str], list[Layer]] = {}
    for layer in sides:
        groups.setdefault((_kind(layer, found.findings, passes), layer.op), []).append(layer)
    for op in {op for kind, op in groups if kind is Kind.SAME}:
        unsure = groups.pop((Kind.SAME, op))
        groups.setdefault((_direction(unsure, passes), op), []).extend(unsure)
    causes = [_cause(key, own, found, passes) for key, own in groups.items()]
    least = _SMALL * sum(abs(cause.ns or 0.0) for cause in causes)
    small = {(c.kind, c.op) for c in causes if abs(c.ns or 0.0) < least}
    rest = [layer for key in small for layer in groups[key]]
    shown = [cause for cause in causes if (cause.kind, cause.op) not in small]
    return (*sorted(shown, key=_order), *([_cause((Kind.REST, ""), rest, found, passes)] if rest else ()))


def of_comparison(c: Comparison, graphs: Mapping[str, Graph]) -> Split:
    """The causes of the paired difference, where B is a quantized A. graphs: by digest.

    The passes were profiled, and the machine was perhaps slower then: the kernels of each are scaled to the latency of
    their network, that of A by its own blocks, that of B by the paired ratio.
    """
    a, b = graphs.get(c.a.digest), graphs.get(c.b.digest)
    if not (a and b and quantizes(a, b) and c.a.operators and c.b.operators and math.isfinite(c.ratio)):
        return Split()
    if not (passes := _passes(c)):
        return Split(reason="a single profiled pass of each network does not tell; compare them again")
    before_ns = 1e6 * (c.a.normalized if c.a.is_normalized else c.a.statistics).median
    plain_ns = before_ns, before_ns * c.ratio
    sides = [[one[side] for one in passes] for side in (0, 1)]
    for m, own, ns in zip((c.a, c.b), sides, plain_ns, strict=True):
        inflation = float(np.median([sum(kernel.ns for kernel in kernels) for kernels in own])) / ns
        if inflation > INFLATION_LIMIT:
            return Split(
                reason=f"the profiled passes of {m.model} took {inflation:.2g} times as long as its plain runs"
            )
    machine = str(c.b.environment.get("hardware", {}).get("machine", ""))
    slow, fast = (_scaled(middle(own), ns) for own, ns in zip(sides, plain_ns, strict=True))
    found = explain(a, b, slow, fast, machine)
    scaled = [(_scaled(one[0], plain_ns[0]), _scaled(one[1], plain_ns[1])) for one in passes]
    return Split((*group(found, scaled), *_remainder(c, found, scaled, before_ns)))


def _passes(c: Comparison) -> list[Pair]:
    """The passes of both networks in turns; those of formulas are all alike, so that one is enough."""
    if c.a.is_formula and c.b.is_formula:
        return [(c.a.operators, c.b.operators)]
    return list(zip(c.a.operator_passes, c.b.operator_passes, strict=False))


def _scaled(kernels: Sequence[OperatorTime], plain_ns: float) -> tuple[OperatorTime, ...]:
    times = without_profiling([kernel.ns for kernel in kernels], plain_ns)
    return tuple(replace(kernel, ns=ns) for kernel, ns in zip(kernels, times, strict=True))


def _remainder(c: Comparison, found: Explanation, passes: Sequence[Pair], before_ns: float) -> Iterator[Cause]:
    """The part of the paired difference that no kernel has, and the difference itself with the pairs' own interval."""
    ns, low_ns, high_ns = ((ratio - 1) * before_ns for ratio in (c.ratio, *c.interval))
    in_kernels = [sum(k.ns for k in after) - sum(k.ns for k in before) for before, after in (found.kernels, *passes)]
    outside_ns = [ns - own for own in in_kernels]
    if abs(outside_ns[0]) > _ROUNDING * before_ns:
        least, most = (min(outside_ns), max(outside_ns)) if len(passes) > 1 else (None, None)
        yield Cause(Kind.OUTSIDE, "", 0, outside_ns[0], least, most, outside_ns[0] / before_ns)
    least, most = (low_ns, high_ns) if math.isfinite(low_ns) else (None, None)
    yield Cause(Kind.TOTAL, "", len(layers(*found.kernels)), ns, least, most, ns / before_ns)


def total(found: Explanation, passes: Sequence[Pair] = ()) -> Cause | None:
    """The difference of both networks in one row; None where nothing was measured."""
    if not all(found.kernels):
        return None
    return _cause((Kind.TOTAL, ""), layers(*found.kernels), found, passes)


def verdict(found: Explanation, whole: Cause | None) -> str:
    """One sentence: which network is faster, by how much. whole: `total`; without it the answer is unknown."""
    if whole is None or whole.ns is None or not found.before_ns or found.after_ns is None:
        return f"{found.after} against {found.before}: the runtime does not time kernels"
    word = ("faster than" if whole.ns < 0 else "slower than") if whole.is_certain else "neither faster nor slower than"
    bounds = f", 97 % interval {interval_words(whole)}" if interval_words(whole) else ""
    return (
        f"{found.after} is {word} {found.before}: {found.after_ns / found.before_ns:.3g} times its time, "
        f"{found.after_ns / 1e6:.4g} ms after {found.before_ns / 1e6:.4g} ms ({whole.ns / 1e6:+.4g} ms{bounds}; "
        "profiled kernels)"
    )


def doubts_of_load(checks: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """checks: of the machine, as records. A sentence for each by which the times of single kernels, which no anchors
    correct, are not to be trusted."""
    return tuple(
        f"these times are not to be trusted: {check['name']}: {check['found']}"
        for check in checks
        if check["name"] in _LOAD and check["fitness"] in ("warning", "unfit")
    )


def rows(causes: Iterable[Cause]) -> list[dict[str, str]]:
    """A row for each, for a terminal."""
    return [
        {
            "cause": c.kind.value,
            "op": c.op,
            "times": str(c.count),
            "ms": "" if c.ns is None else f"{c.ns / 1e6:+.4g}",
            "97 % interval": interval_words(c),
            "of float": "" if c.share is None else f"{c.share:+.1%}",
            "certain": "" if c.low_ns is None else "yes" if c.is_certain else "no",
            "what to do": c.action,
        }
        for c in causes
    ]


def records(causes: Iterable[Cause]) -> list[dict[str, Any]]:
    """A record for each, for JSON."""
    return [
        {
            "cause": c.kind.value, "op": c.op, "times": c.count, "ms": _ms(c.ns), "low_ms": _ms(c.low_ns),
            "high_ms": _ms(c.high_ns), "share_of_float": c.share, "is_certain": c.is_certain, "action": c.action,
        }
        for c in causes
    ]  # fmt: skip


def interval_words(cause: Cause) -> str:
    """Empty where a single pass has none."""
    if cause.low_ns is None or cause.high_ns is None:
        return ""
    return f"{cause.low_ns / 1e6:+.4g} .. {cause.high_ns / 1e6:+.4g}"


def kinds(before: Sequence[OperatorTime], after: Sequence[OperatorTime]) -> list[dict[str, str]]:
    """A row for each kind of operator of either network, by the size of the difference. All kernels of a layer are in
    the row of its operator, as in the causes."""
    sums: dict[str, list[float]] = {}
    for layer in layers(before, after):
        own = sums.setdefault(layer.op, [0.0, 0.0])
        own[0] += layer.before_ns / 1e6
        own[1] += layer.after_ns / 1e6
    ordered = sorted(sums.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))
    return [
        {"op": op, "before, ms": f"{a:.4g}", "after, ms": f"{b:.4g}", "difference, ms": f"{b - a:+.4g}"}
        for op, (a, b) in ordered
    ]


def _kind(layer: Layer, findings: Sequence[Finding], passes: Sequence[Pair]) -> Kind:
    if layer.is_conversion:
        return Kind.UNFUSED if layer.after else Kind.REMOVED
    for kind in (Kind.FLOAT, Kind.SLOW_TYPES):
        if any(f.kind is kind and layer.has(f.node) for f in findings):
            return kind
    if not (layer.before and layer.after):
        return Kind.ADDED if layer.after else Kind.REMOVED
    return _direction([layer], passes)


def _direction(some: Sequence[Layer], passes: Sequence[Pair]) -> Kind:
    """Slower or faster where all passes agree, or after a single one where the difference is large enough."""
    low_ns, high_ns = _range(some, passes)
    if low_ns is None or high_ns is None:
        before_ns, after_ns = sum(layer.before_ns for layer in some), sum(layer.after_ns for layer in some)
        slower, faster = after_ns > SLOWER_FROM * before_ns, before_ns > SLOWER_FROM * after_ns
    else:
        slower, faster = low_ns > 0, high_ns < 0
    return Kind.SLOWER if slower else Kind.FASTER if faster else Kind.SAME


def _range(some: Sequence[Layer], passes: Sequence[Pair]) -> tuple[float | None, float | None]:
    """The least and the greatest difference of a pass, around the estimate; None after fewer than two passes."""
    if len(passes) < 2:
        return None, None
    totals = [sum(layer.ns_in(one) for layer in some) for one in passes] + [sum(layer.ns for layer in some)]
    return min(totals), max(totals)


def _cause(key: tuple[Kind, str], some: Sequence[Layer], found: Explanation, passes: Sequence[Pair]) -> Cause:
    ns = sum(layer.ns for layer in some)
    return Cause(*key, len(some), ns, *_range(some, passes), ns / found.before_ns if found.before_ns else None)


def _without_times(findings: Sequence[Finding]) -> tuple[Cause, ...]:
    """Only counted."""
    counts: dict[tuple[Kind, str], int] = {}
    for finding in findings:
        key = finding.kind, corresponding(finding.op)
        counts[key] = counts.get(key, 0) + 1
    return tuple(Cause(*key, count, None, None, None, None) for key, count in counts.items())


def _order(cause: Cause) -> tuple[bool, bool, float]:
    ns = cause.ns or 0.0
    return (not cause.is_certain or cause.kind is Kind.SAME, ns < 0, -abs(ns))


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6
