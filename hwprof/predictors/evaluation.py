"""The error of a predictor on networks that it did not learn from, by the number of networks that it learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone

from hwprof import metrics
from hwprof.data.dataset import Dataset
from hwprof.encoders.execution import HYPOTHESES, masks
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.predictors.base import LatencyPredictor, stacked
from hwprof.predictors.learning import drawn, encoded, make, parts, space_of
from hwprof.predictors.trained import Trained
from hwprof.spaces.varied import VariedSpace, titled

TRAIN_SIZES = (10, 20, 50, 100)
MOST_TESTED = 1000  # networks: their error is known to a few hundredths of itself
FEWEST_TESTED = 10
FEWEST_REPEATED = 20  # networks that compute the same as another one, for a noise floor


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the seeds. In percent: mape, within_5, within_10, coverage_90, noise_floor. None means "not known".

    fit_s and predict_us (per network) include encoding the graphs, or the architectures if it takes those.
    noise_floor: MAPE of an oracle, from networks with equal graphs that were measured separately.
    """

    n: int
    tested: int
    mape: float
    within_5: float
    within_10: float
    kendall: float | None
    spearman: float | None
    coverage_90: float
    fit_s: float | None
    predict_us: float
    noise_floor: float | None
    mape_by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`constant`: the number of networks left out because their output does not depend on their input."""

    predictor: str
    data: str
    device: str
    evidence: str
    figures: tuple[Figures, ...]
    constant: int = 0


@dataclass(frozen=True, slots=True)
class _Networks:
    """Networks to learn from and to test on. X: [n], as a predictor takes them; y, ms: [n]; encode_s: per network."""

    X: Any
    y: np.ndarray
    noise_floor: float | None
    encode_s: float
    constant: int

    def rows(self, chosen: np.ndarray) -> Any:
        return self.X[chosen] if isinstance(self.X, np.ndarray) else [self.X[i] for i in chosen]


def evaluate(
    data: Dataset, name: str, sizes: Sequence[int] | None, seeds: int, sources: Sequence[LatencyPredictor] = (),
    on_fit: Callable[[], None] = lambda: None,
) -> Evaluation:  # fmt: skip
    """Returns the figures of each size: `seeds` random training sets, nested from size to size, each tested on networks
    that are in none of its sets. sizes: those of `TRAIN_SIZES` that fit the data set where none are given. Raises
    InputError for an unknown predictor or a data set that is too small."""
    asked = TRAIN_SIZES if sizes is None else sizes
    if not asked or min(asked) < 1 or seeds < 1:
        raise InputError(f"training sizes and seeds must be positive, not {list(asked)} and {seeds}")
    data = drawn(data, None, max(asked) + MOST_TESTED, seed=0)
    space = space_of(data.card)
    prototype = make(name, space, sources=sources)
    networks = _networks(data, space, prototype)
    if sizes is None:
        sizes = [n for n in asked if n + FEWEST_TESTED <= len(networks.y)] or asked[:1]
    _require_tested(data, networks, max(sizes))
    orders = [np.random.default_rng(seed).permutation(len(networks.y)) for seed in range(seeds)]
    figures = []
    for n in sizes:
        runs = []
        for seed, order in enumerate(orders):
            runs.append(_run(prototype, networks, order[:n], order[max(sizes) :], seed))
            on_fit()
        figures.append(_means(n, len(networks.y) - max(sizes), np.array(runs), networks.noise_floor))
    card = data.card
    return Evaluation(name, card.name, card.device_name, card.evidence, tuple(figures), networks.constant)


def evaluate_trained(data: Dataset, trained: Trained) -> Evaluation:
    """Tests a trained predictor on other networks. Raises InputError when it learned from another space, or from this
    very data set."""
    data = drawn(data, None, MOST_TESTED, seed=0)
    card, origin = data.card, trained.origin
    if origin is None:
        raise InputError("the predictor file does not say what it learned from; write one with hwprof train")
    if not trained.takes_any_space and (origin.space, origin.variant) != (card.space, card.variant):
        learned, given = (titled(o.space, o.variant) or "no space" for o in (origin, card))
        raise InputError(
            f"the predictor learned from networks of {learned}; data set {card.name} has networks of {given}"
        )
    if origin.data_sha256 == card.measurements_sha256:
        raise InputError(
            f"the predictor learned from data set {card.name} itself; --predictor {origin.predictor} tests it "
            "on networks left out"
        )
    networks = _networks(data, space_of(card), trained.predictor)
    run = _tested(trained.predictor, networks, np.arange(len(networks.y)))
    row = _means(origin.n, len(networks.y), np.array([(*run, math.nan)]), networks.noise_floor)
    return Evaluation(origin.predictor, card.name, card.device_name, card.evidence, (row,), networks.constant)


def _require_tested(data: Dataset, networks: _Networks, most: int) -> None:
    if len(networks.y) < most + FEWEST_TESTED:
        all_of_them = len(networks.y) + networks.constant
        of = f" of {all_of_them} whose output depends on their input" if networks.constant else ""
        raise InputError(
            f"data set {data.card.name} has {len(networks.y)} networks{of}; training on {most} leaves fewer than "
            f"{FEWEST_TESTED} to test on: give smaller --train-sizes"
        )


def _run(
    prototype: LatencyPredictor, networks: _Networks, train: np.ndarray, test: np.ndarray, seed: int
) -> tuple[float, ...]:
    """train, test: row numbers. Returns what `_tested` does, then fit_s."""
    predictor = clone(prototype)
    if "seed" in predictor.get_params(deep=False):
        predictor.set_params(seed=seed)
    start = perf_counter()
    predictor.fit(networks.rows(train), networks.y[train])
    fit_s = perf_counter() - start + len(train) * networks.encode_s
    return (*_tested(predictor, networks, test), fit_s)


def _networks(data: Dataset, space: VariedSpace | None, predictor: LatencyPredictor) -> _Networks:
    """Builds each graph once; only a part of them is in memory unless the predictor cannot encode them."""
    X: list[Any] = []
    digests: list[str] = []
    kept: list[bool] = []
    encode_s = 0.0
    for part in parts(data):
        graphs = part.graphs(space)
        digests += [graph.digest for graph in graphs]
        kept += [not _is_constant(graph) for graph in graphs]
        start = perf_counter()
        X += list(encoded(part, space, predictor, graphs))
        encode_s += perf_counter() - start
    chosen = np.flatnonzero(kept)
    y, groups = data.normalized_ms[chosen], [digests[i] for i in chosen]
    if not len(chosen):
        raise InputError(f"data set {data.card.name} has no network whose output depends on its input")
    rows = stacked([X[i] for i in chosen])
    return _Networks(rows, y, _noise_floor(y, groups), encode_s / len(X), len(X) - len(rows))


def _noise_floor(y: np.ndarray, groups: Sequence[str]) -> float | None:
    counts = np.unique(groups, return_counts=True)[1]
    return metrics.noise_floor(y, groups) if counts[counts > 1].sum() >= FEWEST_REPEATED else None


def _is_constant(graph: Graph) -> bool:
    """Returns whether every path to an output contains a multiplication by zero."""
    return not masks(graph, np.ones(len(graph.nodes)))[HYPOTHESES.index("folded")].any()


def _tested(predictor: LatencyPredictor, networks: _Networks, test: np.ndarray) -> tuple[float, ...]:
    """test: row numbers. Returns the figures from mape to coverage, then predict_us."""
    X, y = networks.rows(test), networks.y[test]
    start = perf_counter()
    predicted = predictor.predict(X)
    predict_us = ((perf_counter() - start) / len(test) + networks.encode_s) * 1e6
    low, high = predictor.predict_interval(X, 0.9)
    return (
        metrics.mape(y, predicted), metrics.within(y, predicted, 5), metrics.within(y, predicted, 10),
        metrics.kendall(y, predicted), metrics.spearman(y, predicted), metrics.coverage(y, low, high), predict_us,
    )  # fmt: skip


def _means(n: int, tested: int, runs: np.ndarray, noise_floor: float | None) -> Figures:
    """runs: [n_seeds, 8], the figures of `_tested` and fit_s."""
    mape, within_5, within_10, kendall, spearman, coverage, predict_us, fit_s = map(_known, runs.mean(axis=0))
    if mape is None or within_5 is None or within_10 is None or coverage is None or predict_us is None:
        raise InputError("the predictor returned a value that is not a number")
    by_seed = tuple(float(value) for value in runs[:, 0])
    return Figures(
        n, tested, mape, within_5, within_10, kendall, spearman, coverage, fit_s, predict_us, noise_floor, by_seed
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
