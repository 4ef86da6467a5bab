import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from hwprof import cost, plugins
from hwprof.errors import InputError
from hwprof.predictors.base import LatencyPredictor, State, checked_targets
from hwprof.predictors.embedding_gp import EmbeddingRegressor
from hwprof.predictors.gaussian_process import ProcessRegressor
from hwprof.predictors.gcn import GraphRegressor
from hwprof.predictors.lut import LutPredictor
from hwprof.predictors.mlp import MlpRegressor
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.predictors.transfer import TransferPredictor
from hwprof.predictors.xgboost import XGBoostRegressor
from hwprof.testing import check_predictor
from tests.tiny_space import SPACE

FASTER = {
    "embedding_gp": {"hidden": 4, "steps": 12},
    "gcn": {"hidden": 16, "depth": 2, "epochs": 20},
    "kernels": {"steps": 40},
    "mlp": {"hidden": (16,), "steps": 80},
    "xgboost": {"trees": 20},
}


@pytest.mark.parametrize("name", [name for name in plugins.names("predictor") if name != "transfer"])
def test_an_installed_predictor_keeps_the_contract(name):
    check_predictor(plugins.load("predictor", name)(**FASTER.get(name, {})))


@pytest.mark.parametrize("takes", ["graph", "arch"])
def test_transfer_keeps_the_contract_whatever_its_source_takes(takes):
    archs = [tuple(map(int, arch)) for arch in np.ndindex(*SPACE.choices)]
    graphs = [SPACE.graph(arch) for arch in archs]
    ms = np.array([len(graph.nodes) + 1e-6 * cost.of(graph).macs for graph in graphs])
    sources = [PhysicalPredictor(process="never").fit(graphs, 2 * ms)]
    if takes == "arch":
        sources.append(LutPredictor().fit(archs, 3 * ms))
    predictor = TransferPredictor(sources, SPACE if takes == "arch" else None)
    assert predictor.takes == takes
    check_predictor(predictor, SPACE, n=24)


@pytest.mark.parametrize(
    "regressor",
    [
        EmbeddingRegressor(**FASTER["embedding_gp"]),
        GraphRegressor(**FASTER["gcn"]),
        MlpRegressor(**FASTER["mlp"]),
        ProcessRegressor(),
        XGBoostRegressor(**FASTER["xgboost"]),
    ],
    ids=lambda regressor: type(regressor).__name__,
)
def test_a_regressor_of_scores_keeps_the_contract(regressor):
    check_predictor(regressor)


class Sound(LatencyPredictor):
    """A line through the number of nodes. Every other class here breaks one rule."""

    takes = "graph"

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(self, X, y):
        ms = checked_targets(X, y, self.target)
        self.line_ = np.polyfit(self.features(X), np.log(ms), 1)
        self.errors_ = np.log(ms) - np.polyval(self.line_, self.features(X))
        return self

    def features(self, X):
        if not all(hasattr(graph, "nodes") for graph in X):
            raise InputError("this takes graphs")
        return np.array([float(sum(w.numel for w in graph.weights)) for graph in X])

    def predict(self, X):
        self.require_fitted()
        return np.exp(np.polyval(self.line_, self.features(X)))

    def state(self):
        return State({}, {"line": self.line_, "errors": self.errors_})

    def restore(self, state):
        self.line_, self.errors_ = state.arrays["line"], state.arrays["errors"]
        return self


class Silent(LatencyPredictor):
    """It does not say what it takes."""


class Eager(Sound):
    def require_fitted(self):
        self.__dict__.setdefault("line_", np.zeros(2))


class Crashing(Sound):
    def predict(self, X):
        if not hasattr(self, "line_"):
            raise NotFittedError("call fit first")
        return np.exp(np.polyval(self.line_, [float(sum(w.numel for w in graph.weights)) for graph in X]))


class Square(Sound):
    def predict(self, X):
        return super().predict(X)[:, None]


class Negative(Sound):
    def predict(self, X):
        return super().predict(X) - 10


class Ignorant(Sound):
    def predict(self, X):
        return 1 / super().predict(X)


class Relative(Sound):
    def predict(self, X):
        return super().predict(X) * len(X)


class Moody(Sound):
    fits = 0

    def fit(self, X, y):
        Moody.fits += 1
        return super().fit(X, np.asarray(y) * (1 + Moody.fits))


class Forgetful(Sound):
    def restore(self, state):
        super().restore(state)
        self.line_ = 2 * self.line_
        return self


class Credulous(Sound):
    def fit(self, X, y):
        return super().fit(X, np.where(np.isnan(y), 1.0, y) if len(X) == len(y) else y)


class Constant(Sound):
    def predict_interval(self, X, coverage=0.9):
        if not 0 < coverage < 1:
            raise InputError("coverage is a share")
        return 0.9 * self.predict(X), 1.1 * self.predict(X)


class Aside(Sound):
    def predict_interval(self, X, coverage=0.9):
        return 1.1 * self.predict(X), 1.2 * self.predict(X)


def test_a_predictor_that_keeps_the_contract_passes():
    check_predictor(Sound())


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (Eager, "it predicts before it has learned anything"),
        (Crashing, "a network that is not given as graph raised AttributeError instead of InputError"),
        (Square, r"36 networks have predictions of shape \(36, 1\)"),
        (Negative, "a latency of -"),
        (Ignorant, "Spearman's rho is -"),
        (Relative, "alone, a network is predicted otherwise"),
        (Moody, "fitted again, it predicts other values"),
        (Forgetful, "restored from its state, it predicts other values"),
        (Credulous, "a latency of nan was accepted"),
        (Constant, "95 % intervals are not the wider ones"),
        (Aside, "a prediction is outside its interval"),
    ],
)
def test_a_predictor_that_breaks_the_contract_is_found(broken, fault):
    with pytest.raises(AssertionError, match=fault):
        check_predictor(broken())


def test_a_predictor_that_does_not_say_what_it_takes_is_told_to():
    with pytest.raises(InputError, match="Silent does not say what it takes"):
        check_predictor(Silent())
