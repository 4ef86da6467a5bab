import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.onnx_io import initial_weights
from hwprof.variants.group import diagonal_blocks, groupable, grouped, grouped_weights
from hwprof.variants.weights import model_with


def network():
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 4, 9, 9)), 8, 3, stride=2, bias=True)
    return b.build(b.conv(b.conv(b.relu(x), 12, 3), 12, 3, groups=12))


def masked(weight, groups):
    """The dense weight with zeros outside of the blocks on its diagonal."""
    outputs, inputs = (np.arange(n) * groups // n for n in weight.shape[:2])
    return weight * (outputs[:, None] == inputs)[:, :, None, None]


@pytest.mark.parametrize("groups", [{"Conv_0": 4}, {"Conv_0": 2, "Conv_2": 4}])
def test_the_grouped_network_computes_what_the_masked_one_does(groups, run, shapes_hold):
    graph = network()
    weights = initial_weights(graph)
    names = {node.label: node.inputs[1] for node in graph.nodes if node.op == "Conv"}
    dense = weights | {names[layer]: masked(weights[names[layer]], n) for layer, n in groups.items()}
    made, blocks = grouped_weights(graph, weights, groups)
    assert {node.label: node.attribute("group") for node in made.nodes if node.label in groups} == groups
    (before,), (after,) = run(model_with(graph, dense), graph), run(model_with(made, blocks), made)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert not np.allclose(run(model_with(graph, weights), graph)[0], before, atol=1e-3)
    assert made == grouped(graph, groups)
    shapes_hold(made)


def test_a_grouped_weight_has_one_block_for_each_group():
    weight = np.arange(16.0).reshape(4, 4, 1, 1)
    assert diagonal_blocks(weight, 2)[:, :, 0, 0].tolist() == [[0, 1], [4, 5], [10, 11], [14, 15]]


def test_a_convolution_that_has_groups_already_is_not_groupable():
    assert groupable(network()) == {"Conv_0": (8, 4), "Conv_2": (12, 8)}


def test_no_groups_leave_the_network_as_it_was():
    assert grouped(network(), {}) == network()


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"Conv_3": 2}, "no dense convolution is named 'Conv_3'; known: Conv_0, Conv_2"),
        ({"Conv_2": 3}, "'Conv_2' of 8 to 12 channels cannot have 3 groups"),
        ({"Conv_2": 0}, "cannot have 0 groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, told):
    with pytest.raises(InputError, match=told):
        grouped(network(), groups)
