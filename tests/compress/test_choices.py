import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.choices import changes, chosen_graph, kept_options, rank_options
from hwprof.errors import InputError
from hwprof.graph import is_quantized
from hwprof.variants.blocks import residual_blocks, without_blocks
from hwprof.variants.factorize import factorize
from hwprof.variants.group import grouped
from hwprof.variants.low_bit import dictionaries, low_bits
from hwprof.variants.prune import prune_channels
from hwprof.variants.spec import change
from tests.compress.board import network

FIRST, SECOND = kept_options(network())
LAYERS = [node.label for node in network().nodes if node.op in ("Conv", "Gemm")]


def kept(options):
    return [choice.kept for choice in options]


def test_channels_are_kept_in_multiples_of_the_granule():
    assert kept(kept_options(network(32))[FIRST]) == [None, 24, 16, 8]
    assert kept(kept_options(network(32), granule=16)[FIRST]) == [None, 16]


def chain(layers: int, channels: int):
    b = GraphBuilder("chain")
    x = b.input((1, 4, 8, 8))
    for _ in range(layers):
        x = b.relu(b.conv(x, channels, 3))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


def test_many_channels_have_few_options_and_the_smallest_is_one():
    assert kept(kept_options(network(256))[FIRST]) == [None, 232, 200, 168, 136, 104, 72, 40, 8]
    assert {tuple(kept(some)) for some in kept_options(chain(5, 256)).values()} == {(None, 200, 136, 72, 8)}


def test_few_layers_have_every_multiple_of_the_granule():
    assert kept(kept_options(network(64))[FIRST]) == [None, 56, 48, 40, 32, 24, 16, 8]


def test_changes_are_told_with_the_value_before():
    graph = network(32)
    told = changes(graph, {FIRST: Choice(kept=8), SECOND: Choice(rank=3, bits=8)})
    assert told == {FIRST: "32 -> 8 channels", SECOND: "32 -> 3 rank, 32 -> 8 bits"}


def test_a_branch_that_is_removed_is_told():
    b = GraphBuilder("branch")
    x = b.relu(b.conv(b.input((1, 8, 8, 8)), 8, 3))
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(b.relu(b.add(x, b.conv(x, 8, 3))))), 4))
    (block,) = residual_blocks(graph)
    assert changes(graph, {block.name: Choice(kept=0)}) == {block.name: "branch removed"}


def test_fewer_channels_than_a_granule_are_kept_one_by_one():
    assert kept(kept_options(network(4))[FIRST]) == [None, 3, 2, 1]


def test_ranks_are_those_that_make_an_operator_smaller():
    ranks = [choice.rank for choice in rank_options(network())[SECOND]]
    assert ranks == [None, 28, 14, 7, 3]  # 32 * 288 weights are more than 28 * (32 + 288)


def test_choices_make_the_variants_of_the_graph():
    graph = network()
    assert chosen_graph(graph, {}) == graph
    assert chosen_graph(graph, {FIRST: Choice(kept=8)}) == prune_channels(graph, {FIRST: 0.25})
    assert chosen_graph(graph, {SECOND: Choice(rank=3)}) == factorize(graph, {SECOND: 3})
    assert chosen_graph(graph, {name: Choice(bits=8) for name in LAYERS}) == change("int8")(graph)


def test_some_layers_have_8_bits_and_the_others_stay_float():
    mixed = chosen_graph(network(), {SECOND: Choice(bits=8), FIRST: Choice(kept=8)})
    stored = {t.name: t.dtype for t in mixed.weights}
    by_label = {node.label: node for node in mixed.nodes}
    assert stored[by_label[FIRST].inputs[1]] == "float32"
    assert mixed.producers()[by_label[SECOND].inputs[1]].op == "DequantizeLinear"


def test_both_parts_of_a_factorized_layer_have_its_bits():
    mixed = chosen_graph(network(), {SECOND: Choice(rank=7, bits=8)})
    assert sum(t.dtype == "int8" for t in mixed.weights) == 2


def test_a_device_that_runs_integers_alone_gets_them_in_all_layers():
    graph = network()
    assert chosen_graph(graph, {}, "integer") == change("integer")(graph)
    assert chosen_graph(graph, {SECOND: Choice(bits=8)}, "integer") == change("integer")(graph)


def test_zeros_among_weights_take_the_time_of_the_dense_network():
    assert chosen_graph(network(), {SECOND: Choice(sparsity=0.9)}) == network()


def test_a_device_that_runs_integers_alone_has_fewer_bits_where_they_are_chosen():
    graph = chosen_graph(network(), {SECOND: Choice(bits=4)}, "integer")
    assert is_quantized(graph.nodes[0])
    assert "int4" in {t.dtype for t in graph.weights}


def test_few_bits_dictionaries_and_groups_make_the_variants_of_the_graph():
    graph = network()
    assert chosen_graph(graph, {SECOND: Choice(bits=2)}) == low_bits(graph, {SECOND: 2})
    assert chosen_graph(graph, {SECOND: Choice(levels=4)}) == dictionaries(graph, {SECOND: 4})
    assert chosen_graph(graph, {SECOND: Choice(groups=4)}) == grouped(graph, {SECOND: 4})


def test_8_bits_and_fewer_are_mixed_in_one_network():
    graph = chosen_graph(network(), {FIRST: Choice(bits=4), SECOND: Choice(bits=8)})
    assert {"int4", "int8"} <= {t.dtype for t in graph.weights}


def test_a_residual_block_of_which_nothing_is_kept_goes():
    b = GraphBuilder("residual")
    x = b.relu(b.conv(b.input((1, 1, 8, 8)), 8, 3))
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(b.add(x, b.conv(b.relu(b.conv(x, 16, 3)), 8, 3)))), 4))
    (block,) = residual_blocks(graph)
    inside = block.branch[0].label
    shorter = chosen_graph(graph, {block.name: Choice(kept=0), inside: Choice(kept=8, bits=4)})
    assert shorter == without_blocks(graph, [block.name])


def test_an_unknown_layer_or_width_is_refused():
    with pytest.raises(InputError, match="no group of channels is named 'nope'; known: "):
        chosen_graph(network(), {"nope": Choice(kept=8)})
    with pytest.raises(InputError, match="no operator of 'small' is named 'nope', so it cannot have other bits"):
        chosen_graph(network(), {"nope": Choice(bits=8)})
    with pytest.raises(InputError, match="cannot have 9 bits"):
        chosen_graph(network(), {FIRST: Choice(bits=9)})


def test_a_spatial_rank_makes_a_convolution_along_each_axis():
    graph = network()
    changed = chosen_graph(graph, {SECOND: Choice(spatial_rank=6)})
    assert changed == factorize(graph, {SECOND: 6}, "spatial") != chosen_graph(graph, {SECOND: Choice(rank=6)})
    assert [some[1:] for some in rank_options(graph, "spatial").values() if some[1].spatial_rank is None] == []
