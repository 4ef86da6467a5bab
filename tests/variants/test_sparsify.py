"""Unstructured sparsity."""

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.variants.sparsify import sparsifiable, sparsify_weights


def linear():
    b = GraphBuilder("net")
    return b.build(b.linear(b.input((1, 2)), 4))


def test_the_smallest_weights_are_zero_and_the_bias_stays():
    graph = linear()
    matrix, bias = (t.name for t in graph.weights)
    weights = {matrix: np.array([[1.0, -5, 2, -0.5], [4, 3, -0.1, 6]]), bias: np.array([0.1, 0.2, 0.3, 0.4])}
    sparse = sparsify_weights(graph, weights, 0.5)
    assert sparse[matrix].tolist() == [[0, -5, 0, 0], [4, 3, 0, 6]]
    assert sparse[bias] is weights[bias]
    assert weights[matrix][0, 0] == 1


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.9, 0.99])
def test_the_share_of_zeros_is_what_was_asked_rounded_down(sparsity):
    graph = linear()
    weights = {t.name: np.random.default_rng(0).standard_normal((10, 10)) for t in graph.weights}
    matrix = graph.weights[0].name
    assert (sparsify_weights(graph, weights, sparsity)[matrix] == 0).sum() == round(100 * sparsity)


def test_ties_do_not_make_more_zeros_than_asked():
    graph = linear()
    sparse = sparsify_weights(graph, {t.name: np.ones((4, 4)) for t in graph.weights}, 0.25)
    assert (sparse[graph.weights[0].name] == 0).sum() == 4


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 2])
def test_another_share_is_an_error(sparsity):
    with pytest.raises(InputError, match="at least 0 and below 1"):
        sparsify_weights(linear(), {}, sparsity)


def test_matrices_filters_and_gates_are_sparsifiable_and_biases_are_not():
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 2, 4, 4)), 3, bias=True)
    y = b.lstm(b.reshape(x, (1, 1, 48)), 5)
    found = sparsifiable(b.build(b.linear(y, 2)))
    assert found == {"Conv_0": ("w0",), "LSTM_2": ("w2", "w3"), "MatMul_4": ("w5",)}
