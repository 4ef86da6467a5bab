"""The default predictor: few analytic quantities of the graph as the runtime executes it, then a Gaussian
process on what they leave over. It needs tens of measurements, and takes any `Graph`.

What the runtime executes (dead branches too, live operators, fused kernels, ...) is a hypothesis; the
evidence of the measurements weighs all of them (`hwprof.predictors.shares`), and the predictions are their
average on a logarithmic scale. Where the instructions that an emulated core of the device's kind executes are
known, they are one hypothesis more: each class of them costs some time on the real core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from hwprof.encoders.execution import HYPOTHESES
from hwprof.encoders.physical import EARLY, PATH, QUANTITIES, TOTALS, PhysicalEncoder, by_hypothesis
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.instructions import CLASSES
from hwprof.interfaces import SearchSpace
from hwprof.predictors import shares
from hwprof.predictors.base import (
    LatencyPredictor,
    Settings,
    State,
    architectures,
    checked_latencies,
    checked_rows,
    fold_numbers,
    is_encoded,
)
from hwprof.predictors.gaussian_process import ResidualProcess

# Without data a runtime is as likely to execute a graph as it stands as to optimize it in some way.
_PRIOR = {"every": 0.5}
# The fewest samples from which a process on the residual is tried.
PROCESS_FROM = 16

_PHYSICAL = len(HYPOTHESES) * len(QUANTITIES)  # columns
INSTRUCTIONS = "instructions"  # the hypothesis, where they were counted
_PRIOR_OF_COUNTS = 0.5

_KINDS = [i for i, name in enumerate(QUANTITIES) if name not in {*TOTALS, *EARLY, *PATH}]
_TOTALS, _EARLY, _PATH = ([QUANTITIES.index(name) for name in names] for names in (TOTALS, EARLY, PATH))


class PhysicalPredictor(LatencyPredictor):
    """X: graphs; or architectures of `space`; or rows of `PhysicalEncoder`, encoded once for many calls.

    counted: each row ends with the instructions of the network, by class in the order of `CLASSES`; then X must be
    rows. hypotheses: which executions of a graph are considered. process: "auto" corrects the linear model by a
    Gaussian process where that has the smaller leave-one-out error; "never" does not.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        hypotheses: Sequence[str] = HYPOTHESES,
        process: str = "auto",
        seed: int = 0,
        counted: bool = False,
    ) -> None:
        self.space = space
        self.hypotheses = hypotheses
        self.process = process
        self.seed = seed
        self.counted = counted

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> PhysicalPredictor:
        """X: [n], y, ms: [n]. Raises InputError for data that cannot be learned from."""
        self._check_parameters()
        latencies_ms = checked_latencies(X, y)
        encoded = self._complete(X)
        self.least_ms_ = float(latencies_ms.min()) / 10
        self.terms_ = shares.mixture(candidates(encoded, self.hypotheses), latencies_ms)
        residuals = self._left_out_residuals(encoded, latencies_ms)
        self.process_ = None
        self.errors_ = residuals
        if self.process == "auto" and len(residuals) >= PROCESS_FROM:
            process = ResidualProcess().fit(encoded, residuals)
            left_out = process.left_out_residuals()
            if np.abs(left_out).mean() < np.abs(residuals).mean():
                self.process_, self.errors_ = process, left_out
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms."""
        self.require_fitted()
        encoded = self._complete(X)
        log_ms = self._log_average(self.terms_, encoded)
        if self.process_ is not None:
            log_ms = log_ms + self.process_.predict(encoded)
        return np.asarray(np.exp(log_ms))

    def encode(self, X: Sequence[Any]) -> np.ndarray:
        """[n, n_hypotheses * n_quantities] of graphs and architectures; rows as they are. Raises InputError for
        anything else."""
        if is_encoded(X):
            return checked_rows(np.asarray(X), _PHYSICAL + (len(CLASSES) if self.counted else 0))
        if len(X) and not isinstance(X[0], Graph):
            if self.space is None:
                raise InputError(f"{X[0]!r:.60} is no graph; to predict architectures give the predictor their space")
            X = [self.space.graph(arch) for arch in architectures(X)]
        return PhysicalEncoder().transform(X)

    @property
    def hypothesis_(self) -> str:
        """The execution of the graph that the measurements speak for most."""
        self.require_fitted()
        considered = (*self.hypotheses, INSTRUCTIONS)
        weights = {h: sum(t.weight for t in self.terms_ if t.candidate == h) for h in considered}
        return max(weights, key=weights.__getitem__)

    def state(self) -> State:
        self.require_fitted()
        arrays = shares.terms_to_arrays(self.terms_) | {"errors": self.errors_}
        if self.process_ is not None:
            arrays |= self.process_.arrays()
        settings = {"least_ms": self.least_ms_, **columns(), "terms": shares.terms_to_record(self.terms_)}
        return State(settings, arrays)

    def restore(self, state: State) -> Self:
        settings = state.settings
        require_columns(settings)
        self.least_ms_ = float(settings["least_ms"])
        self.terms_ = shares.terms_from(settings["terms"], state.arrays)
        self.errors_ = state.arrays["errors"]
        self.process_ = ResidualProcess.from_arrays(state.arrays) if "process_points" in state.arrays else None
        return self

    def _complete(self, X: Sequence[Any]) -> np.ndarray:
        """[n, n_columns] as it was learned from. Raises InputError where the instructions are missing."""
        encoded = self.encode(X)
        if self.counted and encoded.shape[1] == _PHYSICAL:
            raise InputError(
                "this predictor learned from counted instructions: give rows that end with them (hwprof predict "
                "counts them itself)"
            )
        return encoded

    def _log_average(self, terms: Sequence[shares.Term], encoded: np.ndarray) -> np.ndarray:
        return shares.log_average(terms, candidates(encoded, self.hypotheses), self.least_ms_)

    def _check_parameters(self) -> None:
        unknown = [h for h in self.hypotheses if h not in HYPOTHESES]
        if unknown or not self.hypotheses:
            raise InputError(f"hypotheses are some of {', '.join(HYPOTHESES)}, not {list(self.hypotheses)}")
        if self.process not in ("auto", "never"):
            raise InputError(f"process is 'auto' or 'never', not {self.process!r}")

    def _left_out_residuals(self, encoded: np.ndarray, latencies_ms: np.ndarray) -> np.ndarray:
        """[n]: log(measured / predicted) by linear models that did not see the network."""
        folds = fold_numbers(len(latencies_ms), self.seed)
        residuals = np.empty(len(latencies_ms))
        for fold in range(folds.max() + 1):
            out = folds == fold
            terms = shares.mixture(candidates(encoded[~out], self.hypotheses), latencies_ms[~out])
            residuals[out] = np.log(latencies_ms[out]) - self._log_average(terms, encoded[out])
        return residuals


def columns() -> dict[str, list[str]]:
    """What the columns of an encoded row mean, for a file."""
    return {"executions": list(HYPOTHESES), "quantities": list(QUANTITIES)}


def require_columns(settings: Settings) -> None:
    """Raises ValueError when they were made by a version whose rows have other columns."""
    if any(settings.get(name) != names for name, names in columns().items()):
        raise ValueError("its quantities are those of another version of hwprof; train it again")


def candidates(encoded: np.ndarray, hypotheses: Sequence[str]) -> dict[str, shares.Candidate]:
    """What each hypothesis says the latency is a sum of, and how likely it is before any measurement.

    encoded: [n, n_hypotheses * n_quantities], or with n_classes columns of counted instructions behind."""
    physical, instructions = encoded[:, :_PHYSICAL], encoded[:, _PHYSICAL:]
    scale = 1 - _PRIOR_OF_COUNTS if instructions.shape[1] else 1
    found = {
        hypothesis: shares.Candidate(
            _quantities(physical, hypothesis), _free(hypothesis), scale * _prior(hypothesis, hypotheses)
        )
        for hypothesis in hypotheses
    }
    if instructions.shape[1]:
        found[INSTRUCTIONS] = _candidate_of_counts(instructions)
    return found


def _candidate_of_counts(instructions: np.ndarray) -> shares.Candidate:
    """All instructions cost the same, as far as the measurements do not tell the classes apart."""
    quantities = np.hstack([instructions.sum(axis=1, keepdims=True), instructions])
    return shares.Candidate(quantities, np.arange(quantities.shape[1]) == 0, _PRIOR_OF_COUNTS)


def _prior(hypothesis: str, considered: Sequence[str]) -> float:
    rest = 1 - sum(_PRIOR.get(h, 0) for h in considered)
    return _PRIOR.get(hypothesis) or rest / sum(h not in _PRIOR for h in considered)


def _quantities(encoded: np.ndarray, hypothesis: str) -> np.ndarray:
    """[n, n_columns]: the quantities that the latency is a sum of, if this is what the runtime executes.

    First the totals of all kinds, before and after the last input; costs of single kinds come on top.
    """
    quantities = by_hypothesis(encoded)[:, HYPOTHESES.index(hypothesis)]
    early = quantities[:, _EARLY]
    found = [early, quantities[:, _TOTALS] - early, quantities[:, _KINDS]]
    return np.hstack([*found, quantities[:, _PATH]] if hypothesis == "path" else found)


def _free(hypothesis: str) -> np.ndarray:
    """[n_columns] of bool: the totals, whose share of the latency is not held down by a prior."""
    n_columns = len(QUANTITIES) - (0 if hypothesis == "path" else len(PATH))
    return np.arange(n_columns) < len(EARLY) + len(TOTALS)
