"""A predictor for any network: a sum over its kernels, learned from totals.

    latency = start + sum over kernels of (MACs * a + bytes * b) * efficiency(kernel) + launch + uncached * c

with a, b and launch by kind of kernel, and an efficiency between e^-2.5 and e^2.5 that a small network learns from the
kernel's sizes. Where a network has more weights than the cache holds, they come from memory at each inference
(uncached, bytes), though any kernel alone would find its own in the cache; how much the cache holds is learned. Only
the latencies of whole graphs are needed: single operators and networks are the same kind of row
(`hwprof.spaces.generic`), so that any runtime can be learned. Intervals come from the errors on families of networks
that were left out, and a network whose time is in kernels unlike all that were learned from is not predicted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from hwprof import plugins
from hwprof.encoders.kernels import FEATURES, KernelEncoder, Kernels
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Execute, Takes
from hwprof.predictors import kernel_calibration
from hwprof.predictors.base import (
    MIN_SAMPLES,
    Doubt,
    LatencyPredictor,
    State,
    checked_latencies,
    conformal_quantile,
)
from hwprof.predictors.kernel_sum import NO_MEMORY, Domain, Member, Prepared
from hwprof.predictors.left_out import left_out_error

MEMBERS = 3
FAMILY_FOLDS = 5
MOST_OUTSIDE = 0.10  # of the predicted time in kernels outside of what was learned from
_LEAST_SPREADS = np.geomspace(0.02, 5.0, 9)
_RUNTIME = "by_runtime_"  # begins the names of its arrays in a file
_MOST_WORSE = 2.0  # the rules' error, as a multiple of that by the runtime's kernels
_RARE = 3  # kernels of a kind, below which it shares the constants of all kinds


class KernelPredictor(LatencyPredictor):
    """X: [n] graphs, or what `encode` returned. steps: of gradient descent.

    errors_, spreads_, outside_, families_: log(measured / predicted) of the networks whose family was left out; the
    standard deviation of what the members said of each, log ms; the share of its time in kernels unlike those of the
    other families; its family. Intervals come from the errors of those that would have been predicted. They are
    proportional to the spread, with `least_spread_` added in squares (locally weighted conformal inference: Lei et al.,
    JASA 2018, section 5.2).

    by_runtime_: the predictor of the kernels that the runtime itself says it executes, if the error on families left
    out chose it; used for the networks of which these are known and alike. mape_by_runtime_: that error, percent; nan
    where the runtime was not asked.

    offset_: of the logarithm of all its latencies, from files of earlier versions; `calibrate` changes its members.
    calibration_errors_: log(measured / predicted) of the networks that it was calibrated with, each by the others;
    `errors_` where these are fewer than `MIN_SAMPLES`.
    """

    takes: Takes = "graph"
    knows_its_domain = True
    sums_kernels = True
    most_learned = 5000

    def __init__(self, seed: int = 0, steps: int = 500) -> None:
        self.seed = seed
        self.steps = steps
        self._encoder = KernelEncoder()  # one for all calls: networks of a space share most of their operators

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y, ms: [n]. Raises InputError for data that cannot be learned from, among them networks with an
        operator whose work is not known."""
        networks = self.encode(X)
        wholes = np.array([_is_network(network) for network in networks], bool)
        self._fit(networks, y, wholes)
        self._try_runtime(networks, y, wholes)
        return self

    def _fit(self, networks: Sequence[Kernels], y: Sequence[float] | np.ndarray, wholes: np.ndarray) -> None:
        """wholes: [n], of bool: families of whole networks are left out."""
        networks, trainer, log_ms = self._learned(networks, y)
        self._leave_out(trainer, networks, log_ms, wholes, np.random.default_rng(self.seed))
        self.least_spread_ = _narrowest(*self._of_known())

    def fit_members(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y, ms: [n]. Fits without the errors on what is left out, which take most of the time of `fit`: for
        `opinions` and `outside`. Raises InputError as `fit` does."""
        self._learned(X, y)
        return self

    def opinions(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns the log ms of each by each member, [n_members, n]. Where they differ, they have not learned
        what decides."""
        return np.asarray(np.log(self._parts_ms(self.encode(X)).sum(axis=2)))

    def outside(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns the share of each one's predicted time in kernels unlike those that were learned from,
        [n]."""
        members, domain = self.members_, self.domain_
        return np.array([sum(self._outside_shares(n, members, domain).values()) for n in self.encode(X)])

    def _learned(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> tuple[list[Kernels], Any, np.ndarray]:
        """Fits the members. Returns the encoded networks, [n], their trainer, and the logarithms of their
        latencies, [n]."""
        latencies_ms, networks = checked_latencies(X, y), self.encode(X)
        if unknown := next((n for n in networks if n.missing), None):
            raise InputError(f"the work of {unknown.missing[0]} in {unknown.family!r} is not known; leave it out")
        with plugins.optional_library("training a kernels predictor"):
            from hwprof.predictors.kernel_training import Trainer
        self.by_runtime_: KernelPredictor | None = None
        self.mape_by_runtime_ = np.nan
        self.kinds_ = _common(networks)
        self.domain_ = Domain.of(networks, np.random.default_rng(self.seed))
        features = np.concatenate([n.features for n in networks])
        self.mean_, self.scale_ = features.mean(axis=0), features.std(axis=0) + 1e-3
        self.offset_ = 0.0
        trainer = Trainer([self._prepared(n) for n in networks], np.log(latencies_ms), len(self.kinds_) + 1, self.steps)
        everything = np.arange(len(networks))
        self.members_ = tuple(trainer.member(everything, self.seed + i) for i in range(MEMBERS))
        return networks, trainer, np.log(latencies_ms)

    @property
    def asks_runtime(self) -> bool:
        """Whether the error on families left out chose the runtime's own kernels."""
        return self.by_runtime_ is not None

    @property
    def reported_errors(self) -> np.ndarray:
        """Returns the errors by the runtime's own kernels, where it asks for them, [n]."""
        return (self.by_runtime_ or self).errors_

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms; of kernels whose work is known alone (`doubts` says where others are missing)."""
        self.require_fitted()
        return np.array([who._total_ms(kernels) for who, kernels in map(self.chosen, self.encode(X))])

    def predict_interval(self, X: Sequence[Any], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """X: [n]. Returns lower and upper bounds, ms, each [n], which are wider where the members differ. Raises
        InputError when `coverage` is not inside (0, 1)."""
        self.require_fitted()
        networks = self.encode(X)
        margins = [who._margin(kernels, coverage) for who, kernels in map(self.chosen, networks)]
        predicted, factors = self.predict(networks), np.exp(margins)
        return predicted / factors, predicted * factors

    def doubts(self, X: Sequence[Any]) -> list[Doubt | None]:
        """X: [n]. Of networks that the runtime refuses, of those with operators whose work is not known, and of those
        with more than a tenth of their time in kernels unlike the ones that were learned from."""
        self.require_fitted()
        return [who._doubt(kernels) for who, kernels in map(self.chosen, self.encode(X))]

    def calibrate(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """Fits what multiply-adds, bytes, launches and the start cost to networks, [n], that were measured on another
        machine, y: [n], ms; see `hwprof.predictors.kernel_calibration`. Intervals become wider where the networks show
        larger errors than those left out before, never narrower. Raises InputError for latencies that cannot be
        learned from."""
        latencies_ms, networks = checked_latencies(X, y, at_least=1), self.encode(X)
        self.members_ = tuple(member.scaled(np.full(4, self.offset_)) for member in self.members_)
        self.offset_ = 0.0
        parts_ms, log_ms = self._parts_ms(networks), np.log(latencies_ms)
        self.calibration_errors_ = self.errors_
        if len(networks) >= MIN_SAMPLES:
            self.calibration_errors_ = kernel_calibration.left_out(parts_ms, log_ms)
            larger = np.median(np.abs(self.calibration_errors_)) / np.median(np.abs(self.errors_))
            self.errors_ = self.errors_ * max(1.0, float(larger))
        factors = kernel_calibration.log_factors(parts_ms, log_ms)
        self.members_ = tuple(member.scaled(factors) for member in self.members_)
        self.by_runtime_ = None  # the networks of the other machine are known as written
        return self

    def encode(self, X: Sequence[Any]) -> list[Kernels]:
        """X: [n] graphs, or kernels, which stay unchanged."""
        return [x if isinstance(x, Kernels) else self._encoder([x])[0] for x in X]

    def encode_with(self, graph: Graph, execute: Execute) -> list[Kernels]:
        """[1]: with the runtime's own kernels, unless it has learned that the rules predict as well."""
        (network,) = self.encode([graph])
        if hasattr(self, "by_runtime_") and not self.asks_runtime:
            return [network]
        try:
            executed = execute(graph)
        except InputError as error:
            return [replace(network, refused=str(error))]
        return [network if executed is None else replace(network, executed=self._encoder([graph], [executed])[0])]

    # -- inside ------------------------------------------------------------------------------------------

    def _prepared(self, network: Kernels) -> Prepared:
        number = {kind: i + 1 for i, kind in enumerate(self.kinds_)}
        return Prepared.of(network, number, self.mean_, self.scale_)

    def _try_runtime(
        self, networks: Sequence[Kernels], y: Sequence[float] | np.ndarray, wholes: np.ndarray
    ) -> None:  # fmt: skip
        """Keeps a predictor of what the runtime executes, if that is known of most networks and its error on families
        left out is smaller than that of the rules. Of the other networks it learns as they are written."""
        if sum(network.executed is not None for network in networks) <= len(networks) / 2:
            return
        executed = [replace(network.executed or network, executed=None) for network in networks]
        other = KernelPredictor(self.seed, self.steps)
        other._fit(executed, y, wholes)
        self.mape_by_runtime_ = left_out_error(other.errors_).mape
        if self.mape_by_runtime_ < left_out_error(self.errors_).mape:
            self.by_runtime_ = other

    def chosen(self, network: Kernels) -> tuple[KernelPredictor, Kernels]:
        """The predictor that is used for the network, and the kernels that it takes: those of the runtime, unless these
        are unlike all that were learned from, and those of the rules are not.

        2026-11-29, families left out on a CPU with ONNX Runtime: of 235 networks, 9 were known to the rules alone. The
        rules' intervals held 89 % of these, and their error was 17.7 %, against 13.9 % where both knew the network. On
        the integer kernels, whose loops tell their work, the rules' error was six times as large: they are not used.
        """
        if self.by_runtime_ is None or network.executed is None:
            return self, network
        is_better_by_rules = (  # the cheapest first: nearly all networks end there
            self.by_runtime_._doubt(network.executed) is not None
            and self._doubt(network) is None
            and self._rules_suffice
        )
        return (self, network) if is_better_by_rules else (self.by_runtime_, network.executed)

    @property
    def _rules_suffice(self) -> bool:
        """Whether the rules' error on families left out is not much larger than that of the runtime's kernels."""
        return left_out_error(self.errors_).mape <= _MOST_WORSE * self.mape_by_runtime_

    def _margin(self, network: Kernels, coverage: float) -> float:
        """Half of the interval's width, log ms."""
        errors, spreads = self._of_known()
        ratio = conformal_quantile(np.abs(errors) / np.hypot(spreads, self.least_spread_), coverage)
        return float(ratio * np.hypot(self.opinions([network]).std(axis=0)[0], self.least_spread_))

    def _of_known(self) -> tuple[np.ndarray, np.ndarray]:
        """The errors and spreads of the networks left out that it would have predicted; of all where these are few."""
        known = self.outside_ <= MOST_OUTSIDE
        known |= known.sum() < 2 * MIN_SAMPLES
        return self.errors_[known], self.spreads_[known]

    def _kernel_ms(self, network: Kernels, members: Sequence[Member]) -> np.ndarray:
        prepared = self._prepared(network)
        logs = [np.log(member.ms(prepared)) for member in members]
        return np.asarray(np.exp(np.mean(logs, axis=0)))

    def _parts_ms(self, networks: Sequence[Kernels]) -> np.ndarray:
        """Returns [n_members, n, 4]: the start, multiply-adds, bytes and launches of each network, ms."""
        parts = np.empty((len(self.members_), len(networks), 4))
        for i, network in enumerate(networks):
            prepared = self._prepared(network)
            for member, found in zip(self.members_, parts[:, i], strict=True):
                found[0], found[1:] = np.exp(member.start), prepared.counts @ member.parts_ms(prepared)
        return parts

    def _total_ms(self, network: Kernels) -> float:
        start = float(np.exp(np.mean([member.start for member in self.members_])))
        total = start + float(self._kernel_ms(network, self.members_) @ network.counts)
        return total * float(np.exp(self.offset_))

    def _doubt(self, network: Kernels) -> Doubt | None:
        if network.refused:
            return Doubt(f"the runtime refuses it: {network.refused}")
        if network.missing:
            return Doubt(f"the work of {', '.join(network.missing)} is not known", is_lower_bound=True)
        if _has_quantization(network.kinds) and not _has_quantization(self.kinds_):
            return Doubt("it is quantized, and the predictor learned from no network that is")
        outside = self._outside_shares(network, self.members_, self.domain_)
        if (share := sum(outside.values())) <= MOST_OUTSIDE:
            return None
        worst = max(outside, key=outside.__getitem__)
        return Doubt(f"{share:.0%} of its time is in kernels unlike those that were learned from, most in {worst}")

    def _outside_shares(self, network: Kernels, members: Sequence[Member], domain: Domain) -> dict[str, float]:
        """The shares of the predicted time in kernels unlike those that were learned from, by kind."""
        ms = self._kernel_ms(network, members) * network.counts
        shares: dict[str, float] = defaultdict(float)
        for kind, row, share in zip(network.kinds, network.features, ms / max(ms.sum(), 1e-12), strict=True):
            if not domain.holds(kind, row):
                shares[kind] += float(share)
        return shares

    def _leave_out(
        self, trainer: Any, networks: Sequence[Kernels], log_ms: np.ndarray, wholes: np.ndarray,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """Predicts networks whose whole family is left out; where there are fewer than two families of networks,
        networks left out at random. Single operators are always learned from."""
        families = np.array([network.family for network in networks])
        names = rng.permutation(sorted(set(families[wholes].tolist())))
        if len(names) < 2:
            folds = np.where(wholes.any() & ~wholes, -1, rng.integers(FAMILY_FOLDS, size=len(networks)))
        else:
            fold_of = {name: i % FAMILY_FOLDS for i, name in enumerate(names.tolist())}
            folds = np.array([fold_of.get(f, -1) if w else -1 for f, w in zip(families.tolist(), wholes, strict=True)])
        errors, spreads, outside, names_of = [], [], [], list[str]()
        for fold in sorted(set(folds.tolist()) - {-1}):
            out, learned = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            members = [trainer.member(learned, self.seed + i) for i in range(MEMBERS)]
            opinions = np.array([trainer.log_ms(member, out) for member in members])
            errors.append(log_ms[out] - opinions.mean(axis=0))
            spreads.append(opinions.std(axis=0))
            domain = Domain.of([networks[i] for i in learned.tolist()], np.random.default_rng(self.seed))
            outside.append([sum(self._outside_shares(networks[i], members, domain).values()) for i in out.tolist()])
            names_of += families[out].tolist()
        self.errors_, self.spreads_ = np.concatenate(errors), np.concatenate(spreads)
        self.outside_, self.families_ = np.concatenate(outside), tuple(names_of)

    # -- files -------------------------------------------------------------------------------------------

    def state(self) -> State:
        self.require_fitted()
        arrays = {
            "errors": self.errors_, "spreads": self.spreads_, "outside": self.outside_, "mean": self.mean_,
            "scale": self.scale_,
        }  # fmt: skip
        for i, m in enumerate(self.members_):
            arrays |= {f"first{i}": m.first, f"bias{i}": m.bias, f"second{i}": m.second, f"logs{i}": m.logs}
            arrays[f"memory{i}"] = m.memory
        kinds = sorted(self.domain_.points)
        arrays["points"] = np.concatenate([self.domain_.points[kind] for kind in kinds]).astype(np.float32)
        arrays["low"] = np.array([self.domain_.low[kind] for kind in kinds])
        arrays["high"] = np.array([self.domain_.high[kind] for kind in kinds])
        settings = {
            "features": list(FEATURES), "kinds": list(self.kinds_), "offset": self.offset_,
            "starts": [m.start for m in self.members_], "known": kinds, "least_spread": self.least_spread_,
            "patterns": self._encoder.with_patterns, "moves": self._encoder.with_moves,
            "choices": self._encoder.with_choices, "work": self._encoder.with_work,
            "numbers": [len(self.domain_.points[kind]) for kind in kinds], "families": list(self.families_),
        }  # fmt: skip
        if np.isfinite(self.mape_by_runtime_):
            settings["mape_by_runtime"] = self.mape_by_runtime_
        if self.by_runtime_ is not None:
            inner = self.by_runtime_.state()
            settings["by_runtime"] = inner.settings
            arrays |= {f"{_RUNTIME}{name}": array for name, array in inner.arrays.items()}
        return State(settings, arrays)

    def restore(self, state: State) -> Self:
        settings, arrays = state.settings, state.arrays
        if list(settings["features"]) != list(FEATURES):
            raise ValueError("its features are those of another version of hwprof; train it again")
        known = (bool(settings.get(name, False)) for name in ("patterns", "moves", "choices", "work"))
        self._encoder = KernelEncoder(*known)
        self.kinds_, self.offset_ = tuple(settings["kinds"]), float(settings["offset"])
        self.errors_, self.mean_, self.scale_ = arrays["errors"], arrays["mean"], arrays["scale"]
        without = np.zeros(len(self.errors_))  # in files until 2026-11-29
        self.spreads_, self.outside_ = arrays.get("spreads", without), arrays.get("outside", without)
        self.families_ = tuple(settings.get("families", ("",) * len(without)))
        self.least_spread_ = float(settings.get("least_spread", _LEAST_SPREADS[-1]))
        self.members_ = tuple(
            Member(
                arrays[f"first{i}"],
                arrays[f"bias{i}"],
                arrays[f"second{i}"],
                arrays[f"logs{i}"],
                float(start),
                arrays.get(f"memory{i}", NO_MEMORY),
            )
            for i, start in enumerate(settings["starts"])
        )
        known = settings["known"]
        points = np.split(arrays["points"], np.cumsum(settings["numbers"])[:-1])
        self.domain_ = Domain(
            *(dict(zip(known, some, strict=True)) for some in (points, arrays["low"], arrays["high"]))
        )
        self.by_runtime_, self.mape_by_runtime_ = None, float(settings.get("mape_by_runtime", np.nan))
        if inner := settings.get("by_runtime"):
            own = {name.removeprefix(_RUNTIME): array for name, array in arrays.items() if name.startswith(_RUNTIME)}
            self.by_runtime_ = KernelPredictor(self.seed, self.steps).restore(State(inner, own))
        return self


def _narrowest(errors: np.ndarray, spreads: np.ndarray) -> float:
    """errors, spreads: [n], logarithms. Returns the least spread, added in squares, that makes the 90 % intervals
    narrowest: where the members say little about their error, it is much larger than their spreads."""

    def width(least: float) -> float:
        scales = np.hypot(spreads, least)
        return conformal_quantile(np.abs(errors) / scales, 0.9) * float(np.median(scales))

    return float(min(_LEAST_SPREADS, key=width))


def _has_quantization(kinds: Sequence[str]) -> bool:
    return any("quantize" in kind.lower() for kind in kinds)  # a conversion, or a product of integers


def _is_network(network: Kernels) -> bool:
    """Whether it is more than a single operator with what surrounds it: its activation, conversions, moves."""
    return sum(not kind.endswith(" inserted") and "quantizelinear" not in kind.lower() for kind in network.kinds) > 3


def _common(networks: Sequence[Kernels]) -> tuple[str, ...]:
    """The kinds with constants of their own."""
    numbers: dict[str, int] = defaultdict(int)
    for network in networks:
        for kind in network.kinds:
            numbers[kind] += 1
    return tuple(sorted(kind for kind, number in numbers.items() if number >= _RARE))
