"""The correction from the sum of a table's rows to a whole network: end-to-end = a + b * sum + pattern residuals, with
the quantiles of the error that is left.

The sum of operators is a model of the whole network, not a fact: runtimes fuse, overlap and cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.errors import InputError

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
_MIN_NETWORKS = 4  # two coefficients, and something left over to judge them by
_RIDGE = 1e-3  # keeps patterns that always occur together finite


@dataclass(frozen=True, slots=True)
class Pattern:
    """Two operators of which the second reads the first; each such pair adds `ms` (a fusion: negative)."""

    first: str
    second: str
    ms: float


@dataclass(frozen=True, slots=True)
class Correction:
    """The coefficients of a correction. `quantiles`: (level, relative residual) pairs, ascending, from leaving each
    network out in turn: with probability `level` the true latency is below corrected * (1 + residual). The errors are
    shares. `live`: the sum is over the operators that reach an output; runtimes that drop the others execute only
    these.
    """

    a_ms: float
    b: float
    patterns: tuple[Pattern, ...] = ()
    quantiles: tuple[tuple[float, float], ...] = ()
    networks: int = 0
    mape: float = math.nan
    raw_mape: float = math.nan
    within_10: float = math.nan
    live: bool = False

    def end_to_end_ms(self, sum_ms: float, pairs: Mapping[tuple[str, str], int] | None = None) -> float:
        """The latency, ms, of a whole network. sum_ms: the sum of its rows; pairs: how often each pair of operators
        occurs.

        Raises InputError when the result is not positive: the network is too unlike those of the fit.
        """
        extra = sum(p.ms * (pairs or {}).get((p.first, p.second), 0) for p in self.patterns)
        ms = self.a_ms + self.b * sum_ms + extra
        if not ms > 0:
            raise InputError(
                f"the table's correction turns a sum of {sum_ms:g} ms into {ms:g} ms; fit it to networks like this one "
                "(hwprof lut check)"
            )
        return ms

    def residual(self, confidence: float) -> float:
        """The relative residual that is not exceeded with this probability.

        Raises InputError where the correction was fitted to too few networks to know it.
        """
        levels = [level for level, _ in self.quantiles]
        if not levels or not levels[0] <= confidence <= levels[-1]:
            known = f"known from {levels[0]:g} to {levels[-1]:g}" if levels else "none is known"
            raise InputError(
                f"the residual at confidence {confidence:g} is unknown ({self.networks} networks; {known}); "
                "fit the correction to more networks (hwprof lut check)"
            )
        return float(np.interp(confidence, levels, [r for _, r in self.quantiles]))


def fit(
    sums_ms: Sequence[float],
    measured_ms: Sequence[float],
    pairs: Sequence[Mapping[tuple[str, str], int]] | None = None,
) -> Correction:
    """The correction with the least squared relative error. sums_ms, measured_ms: [n_networks]; pairs: for each network
    how often each pair of operators occurs, to also fit a residual for each pair that occurs in at least five networks
    in different numbers. Raises InputError for fewer than four networks."""
    sums, measured = np.asarray(sums_ms, float), np.asarray(measured_ms, float)
    if len(sums) != len(measured) or len(sums) < _MIN_NETWORKS:
        raise InputError(f"a correction needs at least {_MIN_NETWORKS} networks, {len(measured)} were given")
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise InputError("a measured latency is not a positive number of milliseconds")
    chosen = _frequent(pairs) if pairs else []
    counts = np.array([[p.get(pair, 0) for pair in chosen] for p in pairs or []]).reshape(len(sums), -1)
    design = np.column_stack([np.ones(len(sums)), sums, counts])
    weights, left_out = _relative_fit(design, measured)
    return Correction(
        a_ms=float(weights[0]),
        b=float(weights[1]),
        patterns=tuple(Pattern(*pair, float(w)) for pair, w in zip(chosen, weights[2:], strict=True)),
        quantiles=_quantiles(measured / left_out - 1),
        networks=len(sums),
        mape=float(np.mean(np.abs(left_out / measured - 1))),
        raw_mape=float(np.mean(np.abs(sums / measured - 1))),
        within_10=float(np.mean(np.abs(left_out / measured - 1) <= 0.1)),
    )


def of_end_to_end(residuals: np.ndarray, a_ms: float = 0.0) -> Correction:
    """The correction of a table whose sums, with `a_ms`, already are the latencies of whole networks. residuals: [n],
    measured / estimated - 1 of networks that the estimate did not see."""
    errors = np.abs(1 / (1 + residuals) - 1)
    return Correction(
        a_ms=a_ms,
        b=1.0,
        quantiles=_quantiles(residuals),
        networks=len(residuals),
        mape=float(errors.mean()),
        raw_mape=float(errors.mean()),
        within_10=float(np.mean(errors <= 0.1)),
    )


def _frequent(pairs: Sequence[Mapping[tuple[str, str], int]]) -> list[tuple[str, str]]:
    names = sorted({pair for p in pairs for pair in p})
    columns = {pair: [p.get(pair, 0) for p in pairs] for pair in names}
    return [pair for pair, c in columns.items() if np.count_nonzero(c) >= 5 and len(set(c)) > 1]


def _relative_fit(design: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """design: [n, k]; measured: [n]. Returns weights [k] and the estimates [n] of each network, left out of the fit."""
    scaled = design / measured[:, None]
    norm = np.linalg.norm(scaled, axis=0)
    penalty = np.diag([0.0, 0.0, *[_RIDGE] * (design.shape[1] - 2)])  # columns have length 1
    unit = scaled / norm
    inverse = np.linalg.pinv(unit.T @ unit + penalty)
    weights = inverse @ unit.T @ np.ones(len(measured)) / norm
    hat = np.einsum("ij,jk,ik->i", unit, inverse, unit)  # leverage: the share of a point in its own estimate
    fitted = scaled @ weights
    left_out = (fitted - hat) / np.clip(1 - hat, 1e-9, None)
    return weights, np.asarray(np.clip(left_out, 1e-6, None) * measured)


def _quantiles(residuals: np.ndarray) -> tuple[tuple[float, float], ...]:
    """residuals: [n]. Conformal quantiles as (level, residual); a level for which n residuals are too few is left
    out."""
    n, ordered = len(residuals), np.sort(residuals)
    known = []
    for level in LEVELS:
        rank = math.ceil((n + 1) * level) if level >= 0.5 else math.floor((n + 1) * level)
        if 1 <= rank <= n:
            known.append((level, float(ordered[rank - 1])))
    return tuple(known)
