"""Structural channel pruning."""

import numpy as np
import pytest

from hwprof import cost, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph
from hwprof.variants.prune import (
    channel_norms,
    channel_readings,
    producer_norms,
    prunable_groups,
    prune_channels,
    prune_weights,
)
from hwprof.variants.quantize import quantize
from hwprof.variants.weights import load_weights, model_with


def kernels(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.shape(n.inputs[1]) for n in graph.nodes if n.op in ("Conv", "Gemm", "MatMul")]


def test_the_channels_between_two_convolutions_go_on_both_sides(shapes_hold):
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.batch_norm(b.conv(b.input((1, 3, 8, 8)), 32, 3)), 10, 3))
    pruned = prune_channels(graph, 0.5)
    assert kernels(pruned) == [(16, 3, 3, 3), (10, 16, 3, 3)]
    assert all(t.shape == (16,) for t in pruned.weights if len(t.shape) == 1)
    shapes_hold(pruned)


def test_a_residual_ties_the_channels_that_it_adds():
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 3, 8, 8)), 32)
    y = b.add(x, b.conv(b.relu(b.conv(x, 64)), 32))
    (tied, inner) = prunable_groups(b.build(b.conv(y, 10)))
    assert (tied.name, tied.channels, tied.producers) == ("Conv_0", 32, ("Conv_0", "Conv_3"))
    assert (inner.name, inner.channels, inner.producers) == ("Conv_1", 64, ("Conv_1",))


def test_behind_a_concatenation_the_channels_of_each_part_keep_their_place(run):
    b = GraphBuilder("net")
    x = b.input((1, 3, 8, 8))
    graph = b.build(b.conv(b.concat([b.conv(x, 16), x, b.conv(x, 32)]), 10))
    weights = load_weights(graph)
    pruned, kept = prune_weights(graph, weights, 0.5)
    assert kernels(pruned)[2] == (10, 8 + 3 + 16, 1, 1)
    assert np.array_equal(kept[graph.nodes[3].inputs[1]][:, 8:11], weights[graph.nodes[3].inputs[1]][:, 16:19])
    assert run(model_with(pruned, kept), pruned)[0].shape == (1, 10, 8, 8)


def test_a_depthwise_convolution_has_as_many_groups_as_channels_are_left(shapes_hold):
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 3, 8, 8)), 32)
    pruned = prune_channels(b.build(b.conv(b.conv(x, 32, 3, groups=32), 10)), 0.25)
    assert pruned.nodes[1].attribute("group") == 8
    assert kernels(pruned)[1:] == [(8, 1, 3, 3), (10, 8, 1, 1)]
    shapes_hold(pruned)


def test_a_grouped_convolution_loses_whole_groups(shapes_hold):
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 3, 8, 8)), 48)
    graph = b.build(b.conv(b.conv(x, 96, 3, groups=4), 10))
    assert prunable_groups(graph)[0].granule == 12  # 48 channels in 4 groups
    pruned = prune_channels(graph, 0.5, granule=1)
    assert pruned.nodes[1].attribute("group") == 2
    assert kernels(pruned) == [(24, 3, 1, 1), (48, 12, 3, 3), (10, 48, 1, 1)]
    shapes_hold(pruned)


def test_flattened_channels_take_their_places_with_them(shapes_hold):
    b = GraphBuilder("net")
    y = b.conv(b.input((1, 3, 8, 8)), 16)
    for flat in (b.flatten(y), b.reshape(y, (1, 16 * 64))):
        graph = b.build(b.gemm(flat, 10))
        assert kernels(prune_channels(graph, 0.5).live())[-1] == (10, 8 * 64)
    shapes_hold(prune_channels(graph, 0.5))


def test_a_feed_forward_layer_shrinks_inside_and_an_attention_loses_whole_heads(shapes_hold):
    graph = workloads.build("bert_tiny")
    groups = prunable_groups(graph)
    assert [(g.channels, g.granule, len(g.producers)) for g in groups] == [(128, 64, 3), (512, 1, 1)] * 2
    pruned = prune_channels(graph, 0.5)
    shapes_hold(pruned)
    # by hand: two layers lose half of 4 * (128 * 128) weights and of 3 * 128 biases, and of 2 * (128 * 512) and 512
    lost = 4 * 128 * 64 + 3 * 64 + 2 * 128 * 256 + 256
    assert cost.of(graph).parameters - cost.of(pruned).parameters == 2 * lost


def test_inputs_and_outputs_of_the_network_keep_their_shapes(mobile_block, shapes_hold):
    pruned = prune_channels(mobile_block, 0.5)
    assert pruned.inputs == mobile_block.inputs
    assert pruned.shape(pruned.outputs[0]) == (1, 10)
    shapes_hold(pruned)


def test_squeeze_and_excite_follows_the_channels_it_multiplies(mobile_block):
    tied = next(g for g in prunable_groups(mobile_block) if g.channels == 64)
    assert tied.producers == ("Conv_3", "Conv_12")  # expansion, and the convolution that makes the gate


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "light_squeezenet", "lstm_lm"])
def test_workloads_run_with_half_of_their_channels(shapes_hold, name):
    graph = workloads.build(name)
    pruned = prune_channels(graph, 0.5)
    shapes_hold(pruned)
    assert pruned.weight_bytes < graph.weight_bytes


def test_a_share_for_one_group_leaves_the_others_whole(mobile_block):
    pruned = prune_channels(mobile_block, {"Conv_3": 0.25})
    assert kernels(pruned)[:3] == [(16, 3, 3, 3), (16, 16, 1, 1), (16, 1, 3, 3)]


@pytest.mark.parametrize(
    ("share", "granule", "left"), [(0.5, 8, 24), (0.45, 8, 16), (0.57, 8, 24), (0.01, 8, 8), (0.5, 64, 20), (1, 8, 40)]
)
def test_what_is_left_is_rounded_to_the_granule(share, granule, left):
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.conv(b.input((1, 3, 8, 8)), 40), 10))
    assert kernels(prune_channels(graph, share, granule))[0][0] == left


def test_all_channels_kept_is_the_same_network(mobile_block):
    assert prune_channels(mobile_block, 1.0) == mobile_block


def test_channels_that_contribute_nothing_go_and_the_outputs_stay(mobile_block, run):
    weights = load_weights(mobile_block)
    dead = np.arange(64) % 4 == 1
    expand, depthwise, gate = (mobile_block.nodes[i] for i in (3, 6, 12))
    norms = [n for n in mobile_block.nodes if n.op == "BatchNormalization"][1:3]
    for name in (expand.inputs[1], gate.inputs[1], gate.inputs[2]):
        weights[name] = (weights[name].T * ~dead).T
    for norm in norms:
        for name in norm.inputs[1:4]:  # scale, shift and mean
            weights[name] = (weights[name].T * ~dead).T
    assert depthwise.op == gate.op == "Conv"
    pruned, kept = prune_weights(mobile_block, weights, {"Conv_3": 0.75})
    assert kernels(pruned)[1][0] == 48
    before, after = run(model_with(mobile_block, weights), mobile_block), run(model_with(pruned, kept), mobile_block)
    assert np.allclose(before[0], after[0], rtol=1e-4, atol=1e-5 * np.abs(before[0]).max())


def test_the_weakest_filters_go():
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.conv(b.input((1, 1, 4, 4)), 4), 2))
    first, second = (n.inputs[1] for n in graph.nodes)
    weights = {first: np.array([3.0, -1, 0.5, -4]).reshape(4, 1, 1, 1), second: np.arange(8.0).reshape(2, 4, 1, 1)}
    _, kept = prune_weights(graph, weights, 0.5, granule=1)
    assert kept[first].ravel().tolist() == [3, -4]
    assert kept[second].reshape(2, 2).tolist() == [[0, 3], [4, 7]]


def test_an_unknown_operator_is_named(mobile_block):
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 3, 8, 8)), 16)
    with pytest.raises(UnknownOperatorError, match="'Det'"):
        prune_channels(b.build(b.node("Det", [x], (1, 16))), 0.5)
    with pytest.raises(UnknownOperatorError, match="DequantizeLinear"):
        prune_channels(quantize(mobile_block), 0.5)


@pytest.mark.parametrize("keep", [0, -0.5, 1.5, {"Conv_3": 0}])
def test_a_share_outside_its_range_is_an_error(mobile_block, keep):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        prune_channels(mobile_block, keep)


def test_an_unknown_group_is_an_error_that_lists_the_known(mobile_block):
    with pytest.raises(InputError, match="no prunable group is named 'Conv_99'; known: Conv_0, Conv_3"):
        prune_channels(mobile_block, {"Conv_99": 0.5})
    with pytest.raises(InputError, match="multiples of 0"):
        prune_channels(mobile_block, 0.5, granule=0)


def test_the_norms_of_a_group_are_those_of_its_weights_from_the_largest():
    b = GraphBuilder("norms")
    graph = b.build(b.conv(b.relu(b.conv(b.input((1, 1, 4, 4)), 3, 1, bias=False)), 2, 1, bias=False))
    weights = load_weights(graph)
    weights[graph.weights[0].name] = np.float32([2, -5, 1]).reshape(3, 1, 1, 1)
    (group,) = prunable_groups(graph)
    assert {name: norms.tolist() for name, norms in channel_norms(graph, weights).items()} == {group.name: [5, 2, 1]}


def test_the_norms_of_a_group_are_known_for_each_layer_that_makes_it():
    b = GraphBuilder("residual")
    x = b.conv(b.input((1, 1, 4, 4)), 3, 1, bias=False)
    y = b.conv(x, 3, 1, bias=False)
    graph = b.build(b.conv(b.add(x, y), 2, 1, bias=False))
    first, second, _ = (t.name for t in graph.weights)
    weights = load_weights(graph)
    weights[first] = np.float32([2, -5, 1]).reshape(3, 1, 1, 1)
    weights[second] = np.float32([[1, 0, 0], [0, 0, 0], [2, 2, 2]]).reshape(3, 3, 1, 1)
    (norms,) = producer_norms(graph, weights).values()
    assert norms.tolist() == [[1, 5, 2], [6, 0, 1]]  # in all the third channel has 7, the second 5, the first 3


def test_a_recurrence_makes_its_units_by_both_of_its_weights():
    graph = recurrent()
    weights = {t.name: np.ones(t.shape, "f") for t in graph.weights}
    first, _ = producer_norms(graph, weights).values()
    assert first.tolist() == [[4 * (6 + 16)] * 16]


# -- recurrences -----------------------------------------------------------------------------------------


def recurrent(op="LSTM", units=16):
    """Two layers and a classifier of the last state."""
    b = GraphBuilder("recurrent")
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    y, width = b.input((5, 2, 6)), 6
    for _ in range(2):
        shapes = (1, gates * units, width), (1, gates * units, units), (1, 2 * gates * units)
        states = b.node(op, [y, *map(b.weight, shapes)], (5, 1, 2, units), hidden_size=units)
        y, width = b.node("Squeeze", [states, b.constant([1])], (5, 2, units)), units
    return b.build(b.gemm(b.reshape(b.slice(y, 0, 4, 5), (2, units)), 3))


def without_rows(graph, weights, node, units):
    """The weights where the gates of these units, and so their states, are 0."""
    masked = dict(weights)
    n = node.attribute("hidden_size")
    for name in node.inputs[1:4]:
        rows = masked[name].copy().reshape(1, -1, n, *masked[name].shape[2:])
        rows[:, :, units] = 0
        masked[name] = rows.reshape(masked[name].shape)
    return masked


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_a_recurrence_with_fewer_units_computes_what_the_masked_one_does(op, run, shapes_hold):
    graph = recurrent(op)
    weights = {t.name: np.random.default_rng(i).normal(size=t.shape).astype("f") for i, t in enumerate(graph.weights)}
    scores = {}
    for node in (n for n in graph.nodes if n.op == op):
        gone = np.random.default_rng(len(scores)).permutation(16)[:6]
        weights = without_rows(graph, weights, node, gone)
        scores[node.label] = np.where(np.isin(np.arange(16), gone), 0.0, 1.0)
    pruned, kept = prune_weights(graph, weights, dict.fromkeys(scores, 10 / 16), granule=1, scores=scores)
    assert [n.attribute("hidden_size") for n in pruned.nodes if n.op == op] == [10, 10]
    (before,), (after,) = run(model_with(graph, weights), graph), run(model_with(pruned, kept), pruned)
    np.testing.assert_allclose(after, before, atol=1e-5)
    shapes_hold(pruned)


def test_the_weakest_units_of_an_lstm_go():
    graph = recurrent()
    first = next(n for n in graph.nodes if n.op == "LSTM")
    weights = {t.name: np.ones(t.shape, "f") for t in graph.weights}
    weights = without_rows(graph, weights, first, [1, 3, 5, 7])
    _, kept = prune_weights(graph, weights, {first.label: 12 / 16}, granule=1)
    assert all(kept[name].all() for name in first.inputs[1:4])


def test_first_states_lose_their_units_too(run):
    b = GraphBuilder("states")
    x, units = b.input((3, 1, 4)), 8
    w, r, bias = b.weight((1, 32, 4)), b.weight((1, 32, 8)), b.weight((1, 64))
    inputs = [x, w, r, bias, "", b.weight((1, 1, 8)), b.weight((1, 1, 8)), b.weight((1, 24))]
    y = b.node("LSTM", inputs, (3, 1, 1, units), hidden_size=units)
    pruned = prune_channels(b.build(b.linear(b.node("Squeeze", [y, b.constant([1])], (3, 1, 8)), 2)), 0.5, granule=1)
    shapes = [(1, 16, 4), (1, 16, 4), (1, 32), (1, 1, 4), (1, 1, 4), (1, 12), (4, 2), (2,)]
    assert [t.shape for t in pruned.weights] == shapes
    assert run(pruned)[0].shape == (3, 1, 2)


def test_the_blocks_with_the_largest_scores_stay():
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.conv(b.input((1, 1, 4, 4)), 4), 2))
    first = graph.nodes[0]
    weights = load_weights(graph)
    weights[first.inputs[1]] = np.float32([3, -1, 0.5, -4]).reshape(4, 1, 1, 1)
    scores = {first.label: np.array([0.1, 0.9, 0.8, 0.2])}
    _, kept = prune_weights(graph, weights, 0.5, granule=1, scores=scores)
    assert kept[first.inputs[1]].ravel().tolist() == [-1, 0.5]


def masked(graph, weights, gone):
    """The weights where all that read a group's blocks of channels have zeros for those that are gone."""
    result = dict(weights)
    for name, readings in channel_readings(graph).items():
        for reading in readings:
            stays = ~np.isin(reading.blocks, gone[name])
            rows = np.moveaxis(result[reading.weight], reading.axis, -1) * stays
            result[reading.weight] = np.moveaxis(rows, -1, reading.axis).astype("f")
    return result


def branched():
    b = GraphBuilder("branched")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 3, 8, 8)), 16, 3)))
    y = b.relu(b.conv(b.conv(x, 16, 3, groups=16), 8))
    z = b.relu(b.conv(b.concat([y, b.conv(y, 8, 3), x]), 12))
    z = b.conv(b.add(b.conv(z, 12), z), 12, groups=4)
    return b.build(b.linear(b.relu(b.gemm(b.flatten(z), 10)), 4))


def attentive():
    """Four heads of three features."""
    b = GraphBuilder("attentive")
    x = b.input((1, 5, 6))
    q, k, v = (b.reshape(b.linear(x, 12), (1, 5, 4, 3)) for _ in range(3))
    scores = b.matmul(b.transpose(q, (0, 2, 1, 3)), b.transpose(k, (0, 2, 3, 1)))
    mixed = b.matmul(b.softmax(scores), b.transpose(v, (0, 2, 1, 3)))
    y = b.linear(b.reshape(b.transpose(mixed, (0, 2, 1, 3)), (1, 5, 12)), 6)
    return b.build(b.linear(b.relu(b.linear(b.add(x, y), 18)), 4))


@pytest.mark.parametrize("graph", [branched(), recurrent(), attentive()], ids=["convolutions", "LSTM", "attention"])
def test_a_pruned_network_computes_what_the_network_with_masked_readers_does(graph, run):
    weights = {t.name: np.random.default_rng(i).normal(size=t.shape).astype("f") for i, t in enumerate(graph.weights)}
    for name in (node.inputs[4] for node in graph.nodes if node.op == "BatchNormalization"):
        weights[name] = np.abs(weights[name])
    groups = {group.name: group for group in prunable_groups(graph)}
    n_blocks = {name: group.channels // group.granule for name, group in groups.items()}
    gone = {name: np.random.default_rng(n).permutation(n)[: n // 3] for name, n in n_blocks.items()}
    scores = {name: -np.isin(np.arange(n), gone[name]).astype(float) for name, n in n_blocks.items()}
    shares = {name: 1 - len(gone[name]) / n for name, n in n_blocks.items()}
    pruned, kept = prune_weights(graph, weights, shares, granule=1, scores=scores)
    before = run(model_with(graph, masked(graph, weights, gone)), graph)[0]
    after = run(model_with(pruned, kept), pruned)[0]
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    assert all(channel_readings(graph).values())
    assert sum(map(len, gone.values())) > 5
