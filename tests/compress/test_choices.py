import pytest

from hwprof.compress.choices import chosen_graph, kept_options, rank_options
from hwprof.compress.method import Choice
from hwprof.errors import InputError
from hwprof.variants.factorize import factorize
from hwprof.variants.prune import prune_channels
from hwprof.variants.spec import change
from tests.compress.board import network

FIRST, SECOND = kept_options(network())


def kept(options):
    return [choice.kept for choice in options]


def test_channels_are_kept_in_multiples_of_the_granule():
    assert kept(kept_options(network(32))[FIRST]) == [None, 24, 16, 8]
    assert kept(kept_options(network(32), granule=16)[FIRST]) == [None, 16]


def test_many_channels_have_few_options_and_the_smallest_is_one():
    assert kept(kept_options(network(256))[FIRST]) == [None, 200, 136, 72, 8]


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
    assert chosen_graph(graph, {SECOND: Choice(bits=8)}) == change("int8")(graph)


def test_an_unknown_layer_or_width_is_refused():
    with pytest.raises(InputError, match="no group of channels is named 'nope'; known: "):
        chosen_graph(network(), {"nope": Choice(kept=8)})
    with pytest.raises(InputError, match=r"the latency of \[4\] bits is not known"):
        chosen_graph(network(), {FIRST: Choice(bits=4)})
