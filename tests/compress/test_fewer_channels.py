"""Channels that are removed after training, against the float network."""

import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.fewer_channels import FewerChannels, removable
from hwprof.compress.outputs import outputs, relative_error
from hwprof.compress.rewriting import Rewriting, prepared
from hwprof.variants.int8_layers import layers
from hwprof.variants.prune import prune_weights
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import constant_arrays, load_weights
from tests.compress.test_rewriting import opened, samples


def doubled() -> Weighted:
    """Each channel of the first layer is there twice."""
    b = GraphBuilder("doubled")
    x = b.relu(b.conv(b.input((1, 4, 8, 8), name="x"), 16, 3))
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(b.conv(x, 8, 3))), 3))
    weights = {name: array.copy() for name, array in load_weights(graph).items()}
    for name in next(node for node in graph.nodes if node.op == "Conv").inputs[1:]:
        weights[name][8:] = weights[name][:8]
    return prepared(graph, weights)


def test_what_others_can_do_is_lost_without_an_error():
    network, exact = doubled(), outputs(doubled(), samples())
    first, *_ = removable(network.graph)
    made = FewerChannels(network, samples()).pruned(network, {first: 8})
    assert relative_error(outputs(made, samples()), exact) < 1e-3
    graph, weights = prune_weights(network.graph, network.weights, {first: 0.5})
    plain = Weighted(graph, {**constant_arrays(graph), **weights})
    assert relative_error(outputs(plain, samples()), exact) > 0.1


def test_it_is_better_than_the_largest_weights_alone():
    network = opened()
    exact = outputs(network, samples())
    (name, *_) = removable(network.graph)
    made = Rewriting(network, samples()).network({name: Choice(kept=8)})
    graph, weights = prune_weights(network.graph, network.weights, {name: 0.5})
    plain = Weighted(graph, {**constant_arrays(graph), **weights})
    errors = [relative_error(outputs(one, samples()), exact) for one in (made, plain)]
    assert errors[0] < 0.7 * errors[1]


def test_channels_ranks_and_bits_go_together():
    network = opened()
    first, second, last = layers(network.graph)
    choices = {first: Choice(kept=8, bits=8), second: Choice(rank=4, kept=8), last: Choice(bits=8)}
    made = Rewriting(network, samples()).network(choices)
    shapes = {node.label: made.graph.shape(node.outputs[0]) for node in made.graph.nodes}
    assert [shapes[name][1] for name in (first, f"{second}_first", f"{second}_second")] == [8, 4, 8]
    assert relative_error(outputs(made, samples()), outputs(network, samples())) < 1


@pytest.mark.parametrize("op", ["Gemm", "Conv"])
def test_a_network_whose_channels_all_reach_its_output_keeps_them(op):
    b = GraphBuilder("one")
    x = b.input((1, 4, 8, 8), name="x")
    assert removable(b.build(b.conv(x, 8, 3) if op == "Conv" else b.gemm(b.flatten(x), 8))) == {}
