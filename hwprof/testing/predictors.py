"""The contract of predictors: `check_predictor`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hwprof import cost, metrics, plugins
from hwprof.graph import Graph
from hwprof.interfaces import SearchSpace
from hwprof.spaces import sampling
from hwprof.testing.chains import ChainSpace
from hwprof.testing.rules import require, require_refusal

if TYPE_CHECKING:
    from hwprof.predictors.base import Regressor


_LEARNED_RANK = 0.5  # Spearman's rho on the networks that a predictor learned from
_ALONE = 1e-3  # relative, between a prediction in a batch and alone


def check_predictor(predictor: Regressor, space: SearchSpace | None = None, n: int = 36, seed: int = 0) -> None:
    """Fits clones of an unfitted predictor to `n` networks of a space, given as its `takes` says (default: 36 chains of
    convolutions), and gives it what it must refuse.

    It learns and repeats itself. Its predictions do not depend on the other networks of a call, survive `encode`,
    `state` and `restore`, and are inside their intervals, which widen with the coverage. A network of the other kind,
    and values that cannot be learned from, are an InputError. A regressor of scores is checked with values of any sign.
    """
    with plugins.optional_library("check_predictor"):
        from sklearn.base import clone
    require(predictor.takes in ("graph", "arch"), f"takes is {predictor.takes!r}, neither 'graph' nor 'arch'")
    drawn: SearchSpace = ChainSpace() if space is None else space
    archs = sampling.stratified(drawn, min(n, sampling.size(drawn)), np.random.default_rng(seed))
    graphs = [drawn.graph(arch) for arch in archs]
    X: Sequence[Any] = archs if predictor.takes == "arch" else graphs
    y = _targets(graphs, predictor.target.positive)
    _check_unfitted(clone(predictor), X)
    fitted = clone(predictor).fit(X, y.copy())
    predicted = _check_predictions(fitted, X, y)
    _check_interval(fitted, X, predicted)
    again = clone(predictor).fit(X, y.copy())
    require(np.array_equal(again.predict(X), predicted), "fitted again, it predicts other values")
    require(np.allclose(fitted.predict(fitted.encode(X)), predicted), "encoded networks have other predictions")
    restored = clone(predictor).restore(fitted.state())
    require(np.allclose(restored.predict(X), predicted), "restored from its state, it predicts other values")
    require(restored.takes == fitted.takes, f"restored, it takes {restored.takes!r}, not {fitted.takes!r}")
    _check_unlearnable(clone(predictor), X, y)
    if predictor.get_params(deep=False).get("space") is None:
        other = graphs if fitted.takes == "arch" else archs
        require_refusal(partial(fitted.predict, other), f"a network that is not given as {fitted.takes}")


def _targets(graphs: Sequence[Graph], positive: bool) -> np.ndarray:
    """Returns [n]: latencies, ms, of a device that is bound by launches and multiply-adds; or scores around zero that
    grow with their logarithm."""
    ms = np.array([0.05 * len(graph.nodes) + 1e-6 * cost.of(graph).macs for graph in graphs])
    return ms if positive else np.log(ms) - float(np.log(ms).mean())


def _check_unfitted(predictor: Regressor, X: Sequence[Any]) -> None:
    from sklearn.exceptions import NotFittedError

    try:
        predictor.predict(X)
    except NotFittedError:
        return
    except Exception as error:
        raise AssertionError(
            f"predict before fit raised {type(error).__name__}, not NotFittedError: {error}"
        ) from error
    raise AssertionError("it predicts before it has learned anything")


def _check_predictions(fitted: Regressor, X: Sequence[Any], y: np.ndarray) -> np.ndarray:
    """Returns [n], the predictions."""
    predicted = fitted.predict(X)
    require(predicted.shape == y.shape, f"{len(y)} networks have predictions of shape {predicted.shape}")
    require(bool(np.isfinite(predicted).all()), "a prediction is not finite")
    require(not fitted.target.positive or predicted.min() > 0, f"a {fitted.target.name} of {predicted.min()}")
    rank = metrics.spearman(y, predicted)
    require(rank > _LEARNED_RANK, f"Spearman's rho is {rank:.2f} on the networks that it learned from")
    alone = np.concatenate([fitted.predict(X[:1]), fitted.predict(X[-1:])])
    scale = np.abs(predicted).max()
    require(bool(np.abs(alone - predicted[[0, -1]]).max() < _ALONE * scale), "alone, a network is predicted otherwise")
    require(fitted.errors_.shape == y.shape, f"{len(y)} networks have errors_ of shape {fitted.errors_.shape}")
    return predicted


def _check_interval(fitted: Regressor, X: Sequence[Any], predicted: np.ndarray) -> None:
    slack = 1e-9 * np.abs(predicted).max()
    narrow, wide = fitted.predict_interval(X, 0.5), fitted.predict_interval(X, 0.95)
    for low, high in (narrow, wide):
        inside = (low <= predicted + slack) & (predicted <= high + slack)
        require(bool(inside.all()), "a prediction is outside its interval")
    require(bool((wide[0] < narrow[0]).all() and (narrow[1] < wide[1]).all()), "95 % intervals are not the wider ones")
    for coverage in (0, 1, 90):
        require_refusal(partial(fitted.predict_interval, X, coverage), f"a coverage of {coverage}")


def _check_unlearnable(predictor: Regressor, X: Sequence[Any], y: np.ndarray) -> None:
    name = predictor.target.name
    require_refusal(partial(predictor.fit, X, y[:-1]), f"a network without a {name}")
    require_refusal(partial(predictor.fit, X[:0], y[:0]), "no network")
    require_refusal(partial(predictor.fit, X, np.full(len(y), 2.0)), f"one {name} for all networks")
    for value in (math.nan, math.inf, *((0.0, -1.0) if predictor.target.positive else ())):
        require_refusal(partial(predictor.fit, X, np.append(y[:-1], value)), f"a {name} of {value}")
