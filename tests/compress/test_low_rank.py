import numpy as np
import pytest

from hwprof.compress.choice import Choice
from hwprof.compress.low_rank import LowRank
from hwprof.testing import check_method


def test_the_contract_of_methods_holds(opened):
    check_method(LowRank, opened)


def test_a_rank_is_harmless_where_the_weight_has_that_rank(opened, no_cost):
    weights = opened.weights
    name = next(t.name for t in opened.graph.weights if t.shape == (32, 32, 3, 3))
    weights[name] = np.multiply.outer(np.arange(1, 33), weights[name][0] / 32).astype(np.float32)  # rank 1
    method = LowRank()
    method.attach(opened.with_weights(opened.graph, weights), no_cost)
    layer = next(n.label for n in opened.graph.nodes if name in n.inputs)
    assert method.harm(layer, Choice(rank=3)) == pytest.approx(0, abs=1e-6)
