"""Low-rank factorization."""

import numpy as np
import pytest

from hwprof import cost, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.variants.factorize import factorize, factorize_weights, singular_values, smaller_ranks
from hwprof.variants.weights import load_weights, model_with


def conv_net(channels: int = 64, **options) -> Graph:
    b = GraphBuilder("net")
    return b.build(b.conv(b.input((1, 32, 16, 16)), channels, 3, bias=True, **options))


def shapes(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.shape(n.inputs[1]) for n in graph.nodes if n.op in ("Conv", "Gemm", "MatMul")]


def test_channel_scheme_puts_a_pointwise_convolution_behind(shapes_hold):
    graph = factorize(conv_net(stride=2), 16)
    assert shapes(graph) == [(16, 32, 3, 3), (64, 16, 1, 1)]
    assert [len(n.inputs) for n in graph.nodes] == [2, 3]  # the bias comes last
    # by hand: 8 x 8 places; 16 * 32 * 9 and 64 * 16 multiply-adds at each
    assert cost.of(graph).macs == 64 * (16 * 32 * 9 + 64 * 16)
    assert cost.of(graph).parameters == 16 * 32 * 9 + 64 * 16 + 64
    shapes_hold(graph)


def test_spatial_scheme_goes_down_first_and_across_then(shapes_hold):
    graph = factorize(conv_net(stride=2), 16, "spatial")
    assert shapes(graph) == [(16, 32, 3, 1), (64, 16, 1, 3)]
    assert graph.shape(graph.nodes[0].outputs[0]) == (1, 16, 8, 16)
    # by hand: 8 x 16 places of the first, 8 x 8 of the second
    assert cost.of(graph).macs == 128 * 16 * 32 * 3 + 64 * 64 * 16 * 3
    shapes_hold(graph)


def test_a_matrix_becomes_two(shapes_hold):
    b = GraphBuilder("net")
    graph = b.build(b.linear(b.gemm(b.input((2, 40)), 60), 50))
    small = factorize(graph, 4)
    assert shapes(small) == [(4, 40), (60, 4), (60, 4), (4, 50)]
    assert cost.of(small).macs == 2 * (4 * 40 + 60 * 4 + 60 * 4 + 4 * 50)
    shapes_hold(small)


def test_a_share_is_one_of_the_full_rank():
    assert shapes(factorize(conv_net(), 0.25))[0][0] == 16  # of 64, the smaller of 64 and 32 * 9
    assert shapes(factorize(conv_net(), 0.25, "spatial"))[0][0] == 24  # of 96, the smaller of 64 * 3 and 32 * 3


def test_what_would_not_get_smaller_stays_unless_it_is_named():
    graph = conv_net()
    assert factorize(graph, 64) is graph
    assert shapes(factorize(graph, {"Conv_0": 64})) == [(64, 32, 3, 3), (64, 64, 1, 1)]


def test_grouped_convolutions_and_shared_weights_stay():
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 32, 8, 8)), 32, 3, groups=4)
    w = b.weight((32, 32, 3, 3))
    for _ in range(2):
        x = b.node("Conv", [x, w], (1, 32, 8, 8), pads=(1, 1, 1, 1))
    graph = b.build(x)
    assert factorize(graph, 2) is graph


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "pad": 0}, {"dilation": 2}])
def test_at_full_rank_a_convolution_computes_what_it_did(run, scheme, options):
    graph = conv_net(**options)
    weights = load_weights(graph)
    split, factors = factorize_weights(graph, weights, {"Conv_0": 1.0}, scheme)
    before, after = run(model_with(graph, weights), graph)[0], run(model_with(split, factors), graph)[0]
    assert np.allclose(before, after, atol=1e-4 * np.abs(before).max())


def test_at_full_rank_matrices_compute_what_they_did(run):
    b = GraphBuilder("net")
    y = b.gemm(b.input((2, 20)), 30)
    w = b.weight((30, 25))
    y = b.node("Gemm", [y, w], (2, 25), alpha=0.5)
    graph = b.build(b.linear(y, 10))
    weights = load_weights(graph)
    split, factors = factorize_weights(graph, weights, {n.label: 1.0 for n in graph.nodes if n.op != "Add"})
    assert len(split.nodes) == len(graph.nodes) + 3
    before, after = run(model_with(graph, weights), graph)[0], run(model_with(split, factors), graph)[0]
    assert np.allclose(before, after, atol=1e-4 * np.abs(before).max())


def test_the_factors_are_the_nearest_of_their_rank():
    b = GraphBuilder("net")
    graph = b.build(b.linear(b.input((1, 3)), 3, bias=False))
    (name,) = graph.weight_names
    split, factors = factorize_weights(graph, {name: np.diag([3.0, 2.0, 1.0])}, {"MatMul_0": 2})
    first, second = (factors[n.inputs[1]] for n in split.nodes)
    assert np.allclose(first @ second, np.diag([3.0, 2.0, 0.0]))


@pytest.mark.parametrize("name", ["resnet18", "bert_tiny", "light_squeezenet", "light_inception_v2"])
def test_workloads_run_at_a_quarter_of_their_rank(shapes_hold, name):
    graph = workloads.build(name)
    small = factorize(graph, 0.25)
    assert small.weight_bytes < graph.weight_bytes
    shapes_hold(small)


@pytest.mark.parametrize(
    ("rank", "scheme", "message"),
    [
        (0, "channel", "cannot factorize to rank 0"),
        (1.5, "channel", "cannot factorize to rank 1.5"),
        (float("nan"), "channel", "cannot factorize to rank nan"),
        (4, "diagonal", "no scheme of factorization is named 'diagonal'; known: channel, spatial"),
        ({"Conv_7": 4}, "channel", "no factorizable operator is named 'Conv_7'; known: Conv_0"),
    ],
)
def test_what_does_not_fit_is_an_error(rank, scheme, message):
    with pytest.raises(InputError, match=message):
        factorize(conv_net(), rank, scheme)


def test_the_largest_rank_that_saves_work_is_known_without_trying_it():
    b = GraphBuilder("ranks")
    graph = b.build(b.gemm(b.gemm(b.input((1, 12)), 6), 1))
    (first, _) = (node.label for node in graph.nodes)
    assert smaller_ranks(graph) == {first: 3}  # rank * (12 + 6) below 72; a vector has no smaller rank than its own


def test_singular_values_are_those_of_the_unfolded_weight():
    graph = conv_net(8)
    weights = load_weights(graph)
    for node in (node for node in graph.nodes if node.op == "Conv"):
        matrix = weights[node.inputs[1]].reshape(len(weights[node.inputs[1]]), -1)
        expected = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(singular_values(graph, weights)[node.label], expected, rtol=1e-4)
