"""The table of layers from the kernels of whole networks, on a board whose times are known."""

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.fewer_channels import removable
from hwprof.compress.in_place import InPlaceTable
from hwprof.compress.rewriting import Rewriting, prepared
from hwprof.errors import InputError
from hwprof.measurement import OperatorTime
from hwprof.variants.int8_layers import layers
from hwprof.variants.samples import random_samples
from hwprof.variants.weights import load_weights
from tests.compress.board import KernelBoard
from tests.samples import make_measurement, make_process

INT8 = Choice(bits=8)


def graph():
    b = GraphBuilder("chain")
    x = b.input((1, 16, 16, 16), name="x")
    for _ in range(4):
        x = b.relu(b.conv(x, 16, 3))
    return b.build(x)


@pytest.fixture
def rewriting():
    network = prepared(graph(), load_weights(graph()))
    return Rewriting(network, random_samples(network.graph, 2))


def taking(ns, **changes):
    return make_measurement([make_process(i, [ns] * 10) for i in range(3)], **changes)


def measured(board, made):
    kernels = board.kernels(made.graph)
    operators = tuple(OperatorTime(k["name"], k["op"], k["ns"], tuple(k["members"])) for k in kernels)
    return taking(sum(k["ns"] for k in kernels), operators=operators)


@pytest.fixture
def table(rewriting):
    everything = dict.fromkeys(layers(rewriting.float_network.graph), INT8)
    found = InPlaceTable(rewriting.float_network.graph)
    found.add_float(measured(KernelBoard(), rewriting.network({})))
    found.add_int8(measured(KernelBoard(), rewriting.network(everything)), everything)
    return found


def true_ms(rewriting, choices):
    return measured(KernelBoard(), rewriting.network(choices)).normalized.median


def test_the_networks_that_gave_the_columns_have_their_latency(rewriting, table):
    everything = dict.fromkeys(layers(rewriting.float_network.graph), INT8)
    assert table.latency_ms({}) == pytest.approx(true_ms(rewriting, {}))
    assert table.latency_ms(everything) == pytest.approx(true_ms(rewriting, everything), rel=1e-3)


@pytest.mark.parametrize("places", [(0,), (1, 2), (0, 2), (3,)])
def test_a_mixed_network_pays_for_its_borders(rewriting, table, places):
    names = layers(rewriting.float_network.graph)
    choices = {names[place]: INT8 for place in places}
    assert table.latency_ms(choices) == pytest.approx(true_ms(rewriting, choices), rel=0.02)


def test_a_rank_has_the_time_of_both_factors(rewriting, table):
    name = layers(rewriting.float_network.graph)[1]
    choices = {name: Choice(rank=4)}
    table.add_ranks(measured(KernelBoard(), rewriting.network(choices)), choices)
    assert table.latency_ms(choices) == pytest.approx(true_ms(rewriting, choices), rel=0.01)


def test_networks_that_were_measured_correct_the_sums(rewriting, table):
    names = layers(rewriting.float_network.graph)
    mixed = {names[1]: INT8, names[2]: INT8}
    before, slower_ms = table.latency_ms(mixed), 1.05 * true_ms(rewriting, mixed)
    table.learn(mixed, slower_ms)
    assert before < table.latency_ms(mixed) <= slower_ms
    assert table.mape > 0
    assert table.latency_ms({}) == pytest.approx(true_ms(rewriting, {}))


def test_a_device_that_times_no_kernels_has_no_table(rewriting):
    with pytest.raises(InputError, match="does not time the kernels"):
        InPlaceTable(rewriting.float_network.graph).add_float(taking(1e6))


def test_a_kernel_of_the_runtime_counts_for_the_one_before_it(rewriting):
    names = layers(rewriting.float_network.graph)
    kernels = (OperatorTime(names[0], "Conv", 2e5, (names[0],)), OperatorTime("reorder", "Reorder", 1e5, ()))
    found = InPlaceTable(rewriting.float_network.graph)
    found.add_float(taking(3e5, operators=kernels))
    assert found.layer_ms(names[0], Choice()) == pytest.approx(0.3)
    assert np.isclose(found.latency_ms({}), 0.3)


def test_networks_with_fewer_channels_have_their_latency(rewriting, table):
    groups = list(removable(rewriting.float_network.graph))
    choices = {name: Choice(kept=8) for name in groups}
    table.add_kept(measured(KernelBoard(), rewriting.network(choices)), choices)
    assert table.latency_ms(choices) == pytest.approx(true_ms(rewriting, choices), rel=0.02)
    one = {groups[0]: Choice(kept=8)}
    assert table.latency_ms(one) == pytest.approx(true_ms(rewriting, one), rel=0.1)
    assert table.saved_ms(groups[0], 8) > 0
