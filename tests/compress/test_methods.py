"""The methods, each by the contract that all share and by what is its own."""

import numpy as np
import pytest

from hwprof import plugins
from hwprof.compress.int8 import Int8
from hwprof.compress.low_rank import LowRank
from hwprof.compress.magnitude import Magnitude
from hwprof.compress.method import Choice, load
from hwprof.compress.networks import open_network
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.training import Hooks
from tests.compress.board import DEVICE, network, task


def nothing(_choices):
    raise AssertionError("a method without a training reads no cost")


@pytest.fixture
def opened(tmp_path):
    return open_network(network(), task(), DEVICE, tmp_path)


@pytest.mark.parametrize("name", plugins.names("method"))
def test_a_method_keeps_the_contract(name, opened):
    check_method(lambda: load(name), opened)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no method is named 'nope'; known: int8, low_rank, magnitude"):
        load("nope")


def test_magnitude_keeps_the_channels_with_the_largest_weights(opened):
    first = next(iter(Magnitude().options(opened.graph)))
    weights = opened.weights
    name = next(t.name for t in opened.graph.weights if t.shape == (32, 1, 3, 3))
    weights[name][8:] *= 1e-3
    weights[name][:8] = 1.0
    method = Magnitude()
    method.attach(opened.with_weights(opened.graph, weights), nothing)
    small = method.finish({first: Choice(kept=8)})
    np.testing.assert_array_equal(small.weights[name], weights[name][:8])
    lost = np.abs(weights[name][8:]).sum() / np.abs(weights[name]).sum()
    assert method.harm(first, Choice(kept=8)) == pytest.approx(-np.log(1 - lost), rel=1e-4)


def test_low_rank_is_harmless_where_the_weight_has_that_rank(opened):
    weights = opened.weights
    name = next(t.name for t in opened.graph.weights if t.shape == (32, 32, 3, 3))
    weights[name] = np.multiply.outer(np.arange(1, 33), weights[name][0] / 32).astype(np.float32)  # rank 1
    method = LowRank()
    method.attach(opened.with_weights(opened.graph, weights), nothing)
    layer = next(n.label for n in opened.graph.nodes if name in n.inputs)
    assert method.harm(layer, Choice(rank=3)) == pytest.approx(0, abs=1e-6)


def test_int8_has_8_bits_in_every_layer_with_weights_and_no_more_to_decide(opened):
    method = Int8()
    assert isinstance(method.attach(opened, nothing), Hooks)
    assert method.options(opened.graph) == {}
    with_weights = {n.label for n in opened.graph.nodes if n.op in ("Conv", "Gemm")}
    assert with_weights <= method.choices().keys()
    assert set(method.choices().values()) == {Choice(bits=8)}
