"""Which channels hang together."""

import pytest

from hwprof.builder import GraphBuilder
from hwprof.variants.channels import RULES, ChannelLayout, Segment


def layout(b: GraphBuilder, *outputs: str) -> ChannelLayout:
    return ChannelLayout(b.build(*outputs))


def test_a_convolution_starts_a_group_and_a_relu_passes_it():
    b = GraphBuilder("net")
    y = b.relu(b.conv(b.input((1, 3, 8, 8)), 16))
    found = layout(b, b.conv(y, 10))
    assert found.axes(y) == [(Segment(1),), (Segment(16, 0),), (Segment(8),), (Segment(8),)]


def test_a_concatenation_lines_segments_up_and_the_next_weight_has_them_too():
    b = GraphBuilder("net")
    x = b.input((1, 3, 8, 8))
    b.conv(b.concat([b.conv(x, 16), x]), 10)
    graph = b.build("Conv_2")
    assert ChannelLayout(graph).axes(graph.nodes[2].inputs[1])[1] == (Segment(16, 0), Segment(3))


def test_flattening_multiplies_the_places_of_a_channel():
    b = GraphBuilder("net")
    y = b.flatten(b.conv(b.input((1, 3, 8, 8)), 16))
    assert layout(b, b.gemm(y, 10)).axes(y)[1] == (Segment(16 * 64, 0),)


def test_a_transpose_moves_the_segments():
    b = GraphBuilder("net")
    y = b.transpose(b.conv(b.input((1, 3, 8, 8)), 16), (0, 2, 3, 1))
    assert layout(b, b.linear(y, 10)).axes(y)[3] == (Segment(16, 0),)


def test_a_mean_over_the_places_keeps_the_channels():
    b = GraphBuilder("net")
    y = b.node("ReduceMean", [b.conv(b.input((1, 3, 8, 8)), 16)], (1, 16), axes=(2, 3), keepdims=0)
    found = layout(b, b.gemm(y, 10))
    assert found.axes(y) == [(Segment(1),), (Segment(16, 0),)]
    assert found.prunable() == [0]


def test_embeddings_share_the_group_to_which_they_are_added():
    b = GraphBuilder("net")
    words = b.embedding(b.input((1, 4), "int64"), 100, 32)
    y = b.layer_norm(b.add(words, b.embedding(b.input((1, 4), "int64"), 10, 32)))
    found = layout(b, b.linear(y, 5))
    assert [p.node.op for p in found.producers] == ["Gather", "Gather", "MatMul"]
    assert found.prunable() == [0]
    assert found.root(1) == 0


def test_a_split_axis_shrinks_by_its_first_part():
    b = GraphBuilder("net")
    y = b.reshape(b.linear(b.input((1, 5, 8)), 12), (1, 5, 4, 3))
    found = layout(b, b.linear(b.reshape(y, (1, 5, 12)), 2))
    assert found.axes(y)[2:] == [(Segment(4, 0),), (Segment(3),)]
    (heads,) = found.prunable()
    assert (found.channels(heads), found.granule(heads)) == (12, 3)


def shuffled(b: GraphBuilder, y: str) -> str:
    split = b.transpose(b.reshape(y, (1, 2, 8, 8, 8)), (0, 2, 1, 3, 4))
    return b.reshape(split, (1, 16, 8, 8))


NEEDS_ALL = {
    "split": lambda b, _, y: b.split(y, (4, 12), 1)[1],
    "shuffle": lambda b, _, y: shuffled(b, y),
    "input": lambda b, x, y: b.add(y, x),
    "pixels": lambda b, _, y: b.node("DepthToSpace", [y], (1, 4, 16, 16), blocksize=2),
}


@pytest.mark.parametrize("operator", NEEDS_ALL)
def test_channels_of_which_something_needs_all_are_not_prunable(operator):
    b = GraphBuilder("net")
    x = b.input((1, 16, 8, 8))
    assert layout(b, b.conv(NEEDS_ALL[operator](b, x, b.conv(x, 16)), 10)).prunable() == []


def test_the_channels_of_an_output_are_not_prunable():
    b = GraphBuilder("net")
    assert layout(b, b.conv(b.input((1, 16, 8, 8)), 16)).prunable() == []


def test_the_units_of_a_recurrence_are_a_group_and_its_input_may_shrink():
    b = GraphBuilder("net")
    y = b.lstm(b.linear(b.input((4, 1, 8)), 32), 16)
    found = layout(b, b.linear(y, 10))
    before, units = found.prunable()
    assert [found.channels(group) for group in (before, units)] == [32, 16]
    lstm = next(n for n in found.graph.nodes if n.op == "LSTM")
    w, r, bias = (found.axes(name)[1:] for name in lstm.inputs[1:])
    assert [len(axis) for axis in (w[0], r[0], bias[0])] == [4, 4, 8]
    assert {found.root(s.group) for axis in (w[0], *r, *bias) for s in axis} == {units}
    assert w[1] == (Segment(32, before),)


def test_the_units_of_a_recurrence_that_leave_the_network_stay():
    b = GraphBuilder("net")
    assert layout(b, b.lstm(b.input((4, 1, 8)), 16)).prunable() == []


def test_weights_that_sum_over_channels_are_known():
    b = GraphBuilder("net")
    x = b.conv(b.conv(b.conv(b.input((1, 3, 8, 8)), 8), 8, groups=8), 16)
    found = layout(b, b.gemm(b.flatten(b.global_average_pool(x)), 10))
    assert [(reader.weight, reader.axis) for reader in found.readers] == [("w0", 1), ("w2", 1), ("w3", 1)]


def test_a_weight_that_is_itself_reshaped_keeps_its_size():
    b = GraphBuilder("net")
    w = b.reshape(b.weight((2, 8, 16)), (16, 16))
    y = b.matmul(b.linear(b.input((1, 4)), 16), w)
    assert layout(b, b.linear(y, 3)).prunable() == []


def test_every_rule_is_for_an_onnx_operator():
    from onnx import defs

    known = {schema.name for schema in defs.get_all_schemas_with_history()}
    assert set(RULES) <= known
