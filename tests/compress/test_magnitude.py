import numpy as np
import pytest

from hwprof.compress.choice import Choice
from hwprof.compress.magnitude import Magnitude
from hwprof.testing import check_method


def test_the_contract_of_methods_holds(opened):
    check_method(Magnitude, opened)


def test_the_channels_with_the_largest_weights_stay(opened, no_cost):
    first = next(iter(Magnitude().options(opened.graph)))
    weights = opened.weights
    name = next(t.name for t in opened.graph.weights if t.shape == (32, 1, 3, 3))
    weights[name][8:] *= 1e-3
    weights[name][:8] = 1.0
    method = Magnitude()
    method.attach(opened.with_weights(opened.graph, weights), no_cost)
    small = method.finish({first: Choice(kept=8)})
    np.testing.assert_array_equal(small.weights[name], weights[name][:8])
    lost = np.abs(weights[name][8:]).sum() / np.abs(weights[name]).sum()
    assert method.harm(first, Choice(kept=8)) == pytest.approx(-np.log(1 - lost), rel=1e-4)
