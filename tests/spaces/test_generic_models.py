from itertools import islice

import onnx
import pytest

from hwprof import cost, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.onnx_io import to_model
from hwprof.spaces.generic_models import own_networks, part


@pytest.fixture(scope="module")
def model():
    return workloads.build("mobilenet_v3_small")


def test_a_part_reads_what_is_computed_before_it_and_gives_what_is_read_after_it():
    b = GraphBuilder("chain")
    x = b.input((1, 4, 8, 8))
    y = b.relu(b.conv(b.unary("Tanh", x), 8, 3))
    graph = b.build(b.add(y, b.unary("Exp", y)))
    cut = part(graph, 1, 3)
    assert [node.op for node in cut.nodes] == ["Conv", "Relu"]
    assert [t.shape for t in cut.inputs] == [(1, 4, 8, 8)]
    assert [cut.shape(name) for name in cut.outputs] == [(1, 8, 8, 8)]
    assert cost.of(cut).macs == cost.of(graph).macs


def test_a_part_between_tensors_of_integers_is_refused():
    b = GraphBuilder("indices")
    x = b.input((1, 4), "int64")
    graph = b.build(b.embedding(b.binary("Add", x, x), 10, 4))
    with pytest.raises(InputError, match="inputs or outputs that are not of floats"):
        part(graph, 1, 2)


def test_models_come_whole_then_in_parts_and_smaller_forms(model):
    whole, *others = islice(own_networks([model], 0), 12)
    assert whole == model
    assert len({graph.digest for graph in others}) > 6
    assert {graph.name for graph in others} == {model.name}
    sizes = {len(graph.nodes) < len(model.nodes) for graph in others}
    assert sizes == {True, False}


def test_the_same_seed_draws_the_same_networks(model):
    first, second = ([g.digest for g in islice(own_networks([model], 3), 6)] for _ in range(2))
    assert first == second


def test_what_is_drawn_is_a_valid_model(model):
    for graph in islice(own_networks([model], 1), 8):
        onnx.checker.check_model(to_model(graph), full_check=True)


def test_a_model_that_cannot_be_cut_or_made_smaller_comes_once():
    b = GraphBuilder("indices")
    x = b.input((1, 4), "int64")
    graph = b.build(b.binary("Add", x, x))
    assert list(own_networks([graph], 0)) == [graph]
