"""The default predictor: a few analytic quantities of the graph as the runtime executes it, then a Gaussian process on
the residuals, then what each operator costs beyond its quantities. It needs tens of measurements and takes any `Graph`.

How the runtime executes a graph (dead branches too, live operators, fused kernels, ...) is a hypothesis. The evidence
of the measurements weighs all hypotheses (`hwprof.predictors.shares`), and the prediction is their average on a
logarithmic scale. Where the instructions are known that an emulated core of the device's kind executes, they are one
more hypothesis: each class of instructions costs some time on the real core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from hwprof.encoders.execution import HYPOTHESES
from hwprof.encoders.physical import (
    EARLY,
    OPERATOR_COLUMNS,
    PATH,
    QUANTITIES,
    TOTALS,
    PhysicalEncoder,
    by_hypothesis,
)
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.instructions import CLASSES
from hwprof.interfaces import SearchSpace, Takes
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
    left_out_errors,
)
from hwprof.predictors.gaussian_process import ResidualProcess, helpful_process
from hwprof.predictors.operator_costs import OperatorCosts

# Without data a runtime is as likely to execute a graph unchanged as to optimize it in some way.
_PRIOR = {"every": 0.5}

_PHYSICAL = len(HYPOTHESES) * len(QUANTITIES)  # columns
INSTRUCTIONS = "instructions"  # the hypothesis, where they were counted
_PRIOR_OF_COUNTS = 0.5

_KINDS = [i for i, name in enumerate(QUANTITIES) if name not in {*TOTALS, *EARLY, *PATH}]
_TOTALS, _EARLY, _PATH = ([QUANTITIES.index(name) for name in names] for names in (TOTALS, EARLY, PATH))


class PhysicalPredictor(LatencyPredictor):
    """X: [n] graphs; or architectures of `space`; or rows of `encode`, for many calls.

    counted: each row ends with the instructions of the network, by class in the order of `CLASSES`; then X must be
    rows. hypotheses: the executions of a graph to consider. process: "auto" corrects the linear model by a Gaussian
    process, and by the costs of single operators, where that has the smaller leave-one-out error; "never" does not.

    Rows without the counts of operators, as `PhysicalEncoder` returns them by default, are learned from and predicted
    without the costs of single operators.
    """

    takes: Takes = "graph"
    encoding = "physical"

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
        self._encoder = PhysicalEncoder(
            with_operators=True
        )  # one for all calls: networks of a space share most of their operators

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> PhysicalPredictor:
        """X: [n]; y, ms: [n]. Raises InputError for data that cannot be learned from."""
        self._check_parameters()
        latencies_ms = checked_latencies(X, y)
        encoded, operators = self._complete(X)
        self.least_ms_ = float(latencies_ms.min()) / 10
        self.terms_ = shares.mixture(candidates(encoded, self.hypotheses), latencies_ms)
        self.process_: ResidualProcess | None = None
        self.operator_costs_: OperatorCosts | None = None
        self.errors_ = self._left_out_residuals(encoded, latencies_ms)
        if self.process == "auto":
            self.process_, self.errors_ = helpful_process(encoded, self.errors_)
            self.operator_costs_, self.errors_ = OperatorCosts.helpful(operators, self.errors_)
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms."""
        self.require_fitted()
        encoded, operators = self._complete(X)
        log_ms = self._log_average(self.terms_, encoded)
        if self.process_ is not None:
            log_ms = log_ms + self.process_.predict(encoded)
        if self.operator_costs_ is not None and operators.shape[1]:
            log_ms = log_ms + self.operator_costs_.predict(operators)
        return np.asarray(np.exp(log_ms))

    def encode(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n] graphs or architectures. Returns [n, n_hypotheses * n_quantities + OPERATOR_COLUMNS]; rows stay
        unchanged. Raises InputError for anything else."""
        if is_encoded(X):
            rows, counts = np.asarray(X), len(CLASSES) if self.counted else 0
            has_operators = rows.shape[1] == _PHYSICAL + OPERATOR_COLUMNS + counts
            return checked_rows(rows, rows.shape[1] if has_operators else _PHYSICAL + counts)
        if len(X) and not isinstance(X[0], Graph):
            if self.space is None:
                raise InputError(
                    f"{X[0]!r:.60} is not a graph; to predict architectures give the predictor their space"
                )
            X = [self.space.graph(arch) for arch in architectures(X)]
        return self._encoder.transform(X)

    @property
    def hypothesis_(self) -> str:
        """The execution of the graph that the measurements support most."""
        self.require_fitted()
        considered = (*self.hypotheses, INSTRUCTIONS)
        weights = {h: sum(t.weight for t in self.terms_ if t.candidate == h) for h in considered}
        return max(weights, key=weights.__getitem__)

    def state(self) -> State:
        self.require_fitted()
        arrays = shares.terms_to_arrays(self.terms_) | {"errors": self.errors_}
        if self.process_ is not None:
            arrays |= self.process_.arrays()
        if self.operator_costs_ is not None:
            arrays |= self.operator_costs_.arrays()
        settings = {"least_ms": self.least_ms_, **columns(), "terms": shares.terms_to_record(self.terms_)}
        return State(settings, arrays)

    def restore(self, state: State) -> Self:
        settings = state.settings
        require_columns(settings)
        self.least_ms_ = float(settings["least_ms"])
        self.terms_ = shares.terms_from(settings["terms"], state.arrays)
        self.errors_ = state.arrays["errors"]
        self.process_ = ResidualProcess.from_arrays(state.arrays) if "process_points" in state.arrays else None
        self.operator_costs_ = OperatorCosts.from_arrays(state.arrays)
        return self

    def _complete(self, X: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the quantities and, where it learns from them, the instructions, [n, n_columns], and the counts of
        operators, [n, OPERATOR_COLUMNS], of rows without them [n, 0]. Raises InputError where the instructions are
        missing."""
        rows = self.encode(X)
        n_counted = len(CLASSES) if self.counted else 0
        n_operators = OPERATOR_COLUMNS if rows.shape[1] >= _PHYSICAL + OPERATOR_COLUMNS else 0
        physical, operators, instructions = np.split(rows, [_PHYSICAL, _PHYSICAL + n_operators], axis=1)
        if instructions.shape[1] != n_counted:
            raise InputError(
                "this predictor learned from counted instructions: give rows that end with them (hwprof predict "
                "counts them itself)"
            )
        return np.hstack([physical, instructions]), operators

    def _log_average(self, terms: Sequence[shares.Term], encoded: np.ndarray) -> np.ndarray:
        return shares.log_average(terms, candidates(encoded, self.hypotheses), self.least_ms_)

    def _check_parameters(self) -> None:
        unknown = [h for h in self.hypotheses if h not in HYPOTHESES]
        if unknown or not self.hypotheses:
            raise InputError(f"hypotheses must be some of {', '.join(HYPOTHESES)}, not {list(self.hypotheses)}")
        if self.process not in ("auto", "never"):
            raise InputError(f"process must be 'auto' or 'never', not {self.process!r}")

    def _left_out_residuals(self, encoded: np.ndarray, latencies_ms: np.ndarray) -> np.ndarray:
        """Returns [n]: log(measured / predicted) by linear models that did not see the network."""

        def fit_and_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            terms = shares.mixture(candidates(encoded[train], self.hypotheses), latencies_ms[train])
            return self._log_average(terms, encoded[test])

        return left_out_errors(fit_and_predict, np.log(latencies_ms), fold_numbers(len(latencies_ms), self.seed))


def columns() -> dict[str, list[str]]:
    """Returns the meaning of the columns of an encoded row, for a file."""
    return {"executions": list(HYPOTHESES), "quantities": list(QUANTITIES)}


def require_columns(settings: Settings) -> None:
    """Raises ValueError for the settings of a version whose rows have other columns."""
    if any(settings.get(name) != names for name, names in columns().items()):
        raise ValueError("its quantities are those of another version of hwprof; train it again")


def candidates(encoded: np.ndarray, hypotheses: Sequence[str]) -> dict[str, shares.Candidate]:
    """encoded: [n, n_hypotheses * n_quantities], or with n_classes further columns of counted instructions.

    Returns, for each hypothesis, the quantities that the latency is a sum of, and its probability before any
    measurement."""
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
    """instructions: [n, n_classes]. All instructions cost the same unless the measurements tell the classes apart."""
    quantities = np.hstack([instructions.sum(axis=1, keepdims=True), instructions])
    return shares.Candidate(quantities, np.arange(quantities.shape[1]) == 0, _PRIOR_OF_COUNTS)


def _prior(hypothesis: str, considered: Sequence[str]) -> float:
    rest = 1 - sum(_PRIOR.get(h, 0) for h in considered)
    return _PRIOR.get(hypothesis) or rest / sum(h not in _PRIOR for h in considered)


def _quantities(encoded: np.ndarray, hypothesis: str) -> np.ndarray:
    """Returns [n, n_columns]: the quantities that the latency is a sum of under the hypothesis.

    The totals of all kinds come first, before and after the last input; the quantities of single kinds follow.
    """
    quantities = by_hypothesis(encoded)[:, HYPOTHESES.index(hypothesis)]
    early = quantities[:, _EARLY]
    found = [early, quantities[:, _TOTALS] - early, quantities[:, _KINDS]]
    return np.hstack([*found, quantities[:, _PATH]] if hypothesis == "path" else found)


def _free(hypothesis: str) -> np.ndarray:
    """Returns [n_columns] of bool: the totals, whose share of the latency no prior limits."""
    n_columns = len(QUANTITIES) - (0 if hypothesis == "path" else len(PATH))
    return np.arange(n_columns) < len(EARLY) + len(TOTALS)
