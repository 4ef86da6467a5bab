import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.spaces import blocks


# round_to_8 is the MobileNet rule: 18 would become 16, which is 11 % lower
@pytest.mark.parametrize(("channels", "rounded"), [(3, 8), (12, 16), (18, 24), (24, 24), (168, 168), (90, 88)])
def test_channels_are_rounded_to_a_multiple_of_8_that_is_not_much_lower(channels, rounded):
    assert blocks.round_to_8(channels) == rounded


def test_a_channel_shuffle_takes_the_groups_in_turns(run):
    b = GraphBuilder("shuffle")
    x = b.input((1, 6, 1, 1))
    graph = b.build(x, blocks.channel_shuffle(b, x, 2))
    before, after = (tensor.ravel() for tensor in run(graph))
    np.testing.assert_array_equal(after, before[[0, 3, 1, 4, 2, 5]])


def test_a_causal_position_attends_to_nothing_ahead(run):
    b = GraphBuilder("attention")
    values = b.input((1, 3, 4))
    graph = b.build(values, blocks.attend(b, values, values, values, heads=2, mask=blocks.causal_mask(b, 3)))
    given, mixed = run(graph)
    np.testing.assert_allclose(mixed[0, 0], given[0, 0], rtol=1e-6)
    assert not np.allclose(mixed[0, 1], given[0, 1])


def test_attention_is_what_numpy_computes(run):
    b = GraphBuilder("attention")
    queries, memory = b.input((1, 2, 6)), b.input((1, 5, 6))
    q, m, mixed = run(b.build(queries, memory, blocks.attend(b, queries, memory, memory, heads=3)))
    expected = np.empty((2, 6))
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        scores = np.exp(q[0, :, part] @ m[0, :, part].T / np.sqrt(2))
        expected[:, part] = scores / scores.sum(axis=1, keepdims=True) @ m[0, :, part]
    np.testing.assert_allclose(mixed[0], expected, rtol=1e-5, atol=1e-6)


def test_an_inverted_residual_has_a_shortcut_only_where_shapes_agree():
    b = GraphBuilder("blocks")
    x = b.input((1, 8, 4, 4))
    same = blocks.inverted_residual(b, x, 8, 3, 1, 24)
    narrower = blocks.inverted_residual(b, same, 4, 3, 1, 24)
    graph = b.build(blocks.inverted_residual(b, narrower, 4, 3, 2, 24))
    assert [node.op for node in graph.nodes].count("Add") == 1
