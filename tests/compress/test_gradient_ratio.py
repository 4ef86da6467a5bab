import math

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.gradient_ratio import GradientCheck, gradient_ratios
from hwprof.compress.method import Network
from hwprof.errors import InputError
from hwprof.torch_io import trainable

DEPTH = 4


def made(width, with_norm, n=256, seed=0):
    """Layers of equal width with the initial weights of He et al., on normal inputs."""
    b = GraphBuilder("deep")
    x = b.input((1, width))
    for _ in range(DEPTH):
        x = b.gemm(x, width)
        x = b.relu(b.batch_norm(x) if with_norm else x)
    graph = b.build(b.gemm(x, 10))
    rng = np.random.default_rng(seed)
    network = Network(trainable(graph), {graph.inputs[0].name: rng.normal(size=(n, 1, width)).astype(np.float32)})
    weights = network.weights
    for tensor in graph.weights:
        if len(tensor.shape) == 2:
            weights[tensor.name] = (rng.normal(size=tensor.shape) * math.sqrt(2 / width)).astype(np.float32)
    return network.with_weights(graph, weights)


def inner(ratios):
    """The mean ratio of the layers of equal width."""
    return np.exp(np.mean(np.log(list(ratios.values())[:-1])))


@pytest.mark.parametrize("width", [32, 64, 128])
def test_without_batch_norm_signs_let_gradients_grow_by_half_the_width(width):
    found = np.mean([inner(gradient_ratios(made(width, False, seed=seed))) for seed in range(3)])
    assert found == pytest.approx(width / 2, rel=0.15)


@pytest.mark.parametrize("width", [32, 64, 128])
def test_with_batch_norm_the_ratio_is_below_2_at_every_width(width):
    assert inner(gradient_ratios(made(width, True))) < 2


@pytest.mark.parametrize("weights", ["float", "steps"])
def test_initial_floats_and_signs_with_steps_keep_gradients_as_they_are(weights):
    found = np.mean([inner(gradient_ratios(made(64, False, seed=seed), weights)) for seed in range(3)])
    assert 0.5 < found < 1.5


def test_the_ratios_are_by_layer_from_the_second_one_on_and_the_network_stays_as_it_was():
    network = made(32, False, n=16)
    before = network.weights
    ratios = gradient_ratios(network)
    assert list(ratios) == [node.label for node in network.graph.nodes if node.op == "Gemm"][1:]
    assert all(np.array_equal(before[name], array) for name, array in network.weights.items())


def test_a_check_warns_of_growth_and_not_of_none():
    assert not GradientCheck({"a": 16.0, "b": 16.0}).can_work
    assert GradientCheck({"a": 1.5, "b": 1.5, "c": 0.7}).can_work
    assert GradientCheck({"a": 3.0, "b": 0.9}).can_work
    assert GradientCheck({"a": 16.0, "b": 20.0}).largest == ("b", 20.0)


def test_a_single_layer_has_no_ratio():
    b = GraphBuilder("flat")
    graph = b.build(b.gemm(b.input((1, 4)), 2))
    with pytest.raises(InputError, match="'flat' has 1 layers with weights; a ratio of gradients needs two"):
        gradient_ratios(Network(trainable(graph), {graph.inputs[0].name: np.ones((2, 1, 4), np.float32)}))
