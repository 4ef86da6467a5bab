import numpy as np
import pytest

from hwprof import workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.onnx_io import initial_weights
from hwprof.variants.blocks import residual_blocks, without_blocks, without_blocks_weights
from hwprof.variants.weights import model_with


def network():
    """A block with the identity as its shortcut, one whose shortcut is a convolution, and a classifier."""
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 3, 8, 8)), 8)
    x = b.relu(b.add(x, b.batch_norm(b.conv(b.relu(b.conv(x, 16, 3)), 8, 3))))
    y = b.conv(b.relu(b.conv(x, 16, 3, stride=2)), 16, 3)
    x = b.relu(b.add(b.conv(x, 16, stride=2), y))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


def test_the_blocks_of_a_network_are_its_branches_around_a_shortcut():
    first, second = residual_blocks(network())
    assert [node.op for node in first.branch] == ["Conv", "Relu", "Conv", "BatchNormalization"]
    assert [node.op for node in second.branch] == ["Conv", "Relu", "Conv"]
    assert (first.made, first.shortcut) == (first.branch[-1].outputs[0], network().nodes[0].outputs[0])


@pytest.mark.parametrize("places", [[0], [1], [0, 1]])
def test_a_network_without_blocks_computes_what_it_does_with_branches_of_zeros(places, run, shapes_hold):
    graph = network()
    weights = initial_weights(graph)
    blocks = residual_blocks(graph)
    masked = dict(weights)
    for place in places:
        for name in blocks[place].branch[-1].inputs[1:3]:  # the weight, or scale and shift
            masked[name] = np.zeros_like(weights[name])
    shorter, kept = without_blocks_weights(graph, weights, [blocks[place].name for place in places])
    (before,), (after,) = run(model_with(graph, masked), graph), run(model_with(shorter, kept), shorter)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert len(shorter.nodes) == len(graph.nodes) - sum(len(blocks[place].branch) + 1 for place in places)
    shapes_hold(shorter)


def test_blocks_in_a_row_can_all_go(run):
    graph = workloads.build("resnet18")
    names = [block.name for block in residual_blocks(graph)]
    assert len(names) == 8
    shorter = without_blocks(graph, names)
    assert sum(node.op == "Conv" for node in shorter.nodes) == 20 - 16
    assert run(shorter)[0].shape == (1, 1000)


def test_a_sum_that_is_not_of_a_shortcut_is_not_a_block():
    b = GraphBuilder("net")
    left, right = b.input((1, 8)), b.input((1, 8))
    both = b.add(b.linear(b.relu(b.linear(left, 8)), 8), b.linear(right, 8))
    assert residual_blocks(b.build(b.linear(b.add(both, both), 3))) == ()


def test_a_block_whose_result_leaves_the_network_stays():
    b = GraphBuilder("net")
    x = b.relu(b.input((1, 8)))
    assert residual_blocks(b.build(b.add(x, b.linear(x, 8)))) == ()


def test_an_unknown_block_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no residual block is named 'nope'; known: Add_5, Add_11"):
        without_blocks(network(), ["nope"])
