import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice, Choices
from hwprof.compress.choices import chosen_graph
from hwprof.compress.magnitude import Magnitude
from hwprof.compress.networks import open_network
from hwprof.compress.projection import project
from hwprof.graph import Graph
from hwprof.testing import check_method
from tests.compress.board import DEVICE, latency_ns, task


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


def residual() -> Graph:
    """Two blocks of 32 channels that add to a stream of 16."""
    b = GraphBuilder("residual")
    x = b.conv(b.input((1, 1, 8, 8)), 16, 3)
    for _ in range(2):
        x = b.add(x, b.conv(b.relu(b.conv(x, 32, 3)), 16, 3))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


def latency_of(graph: Graph, choices: Choices) -> float:
    return latency_ns(chosen_graph(graph, choices)) / 1e6


def test_features_that_several_layers_make_do_the_harm_of_all(no_cost, tmp_path):
    opened = open_network(residual(), task(), DEVICE, tmp_path)
    method = Magnitude()
    method.attach(opened.with_weights(opened.graph, {n: np.ones_like(a) for n, a in opened.weights.items()}), no_cost)
    stream, *inner = method.options(opened.graph)
    assert method.harm(stream, Choice(kept=8)) == pytest.approx(3 * np.log(2))
    assert [method.harm(layer, Choice(kept=16)) for layer in inner] == pytest.approx([np.log(2)] * 2)


def test_features_inside_of_blocks_go_before_those_that_all_blocks_add_to(no_cost, tmp_path):
    opened = open_network(residual(), task(), DEVICE, tmp_path)
    method = Magnitude()
    method.attach(opened, no_cost)
    whole_ms = latency_of(opened.graph, {})

    def latency_ms(many):
        return np.array([latency_of(opened.graph, choices) for choices in many])

    choices, _ = project(method.options(opened.graph), method.harm, latency_ms, 0.7 * whole_ms, {})
    _stream, *inner = method.options(opened.graph)
    assert choices.keys() == {*inner}
