import numpy as np
import pytest

from hwprof import metrics
from hwprof.errors import InputError
from hwprof.predictors.xgboost import XGBoostPredictor
from tests.tiny_space import SPACE


def latency_ms(arch):
    return 10 + 5 * arch[0] + 3 * arch[1] * arch[2]


def test_products_of_choices_are_learned(architectures):
    ms = np.array([latency_ms(arch) for arch in architectures], float)
    predictor = XGBoostPredictor().fit(architectures[:60], ms[:60])
    assert metrics.mape(ms[60:], predictor.predict(architectures[60:])) < 8


def test_graphs_are_told_apart_by_their_quantities(graphs):
    ms = np.array([1.0 + len(graph.nodes) for graph in graphs])
    predictor = XGBoostPredictor().fit(graphs[:40], ms[:40])
    assert metrics.spearman(ms[40:], predictor.predict(graphs[40:])) > 0.9


def test_a_predictor_of_graphs_refuses_architectures(graphs, architectures):
    predictor = XGBoostPredictor(trees=5).fit(graphs, [1.0 + len(graph.nodes) for graph in graphs])
    with pytest.raises(InputError, match="learned from graphs"):
        predictor.predict(architectures)


def test_it_says_what_it_takes_before_and_after_it_has_learned(architectures, graphs):
    assert (XGBoostPredictor().takes, XGBoostPredictor(SPACE).takes) == ("graph", "arch")
    assert XGBoostPredictor(trees=2).fit(architectures, np.arange(1.0, 81.0)).takes == "arch"
    assert XGBoostPredictor(SPACE, trees=2).fit(graphs, np.arange(1.0, 61.0)).takes == "graph"
