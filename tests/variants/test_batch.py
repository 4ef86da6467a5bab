import pytest

from hwprof import workloads
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.variants.batch import with_batch
from hwprof.variants.for_device import for_device


@pytest.mark.parametrize("name", ["bert_tiny", "mobilenet_v3_small"])
def test_every_tensor_that_had_the_batch_has_the_larger_one(name):
    graph = workloads.build(name)
    larger = with_batch(graph, 5)
    assert [larger.shape(o) for o in larger.outputs] == [(5, *graph.shape(o)[1:]) for o in graph.outputs]
    for node in graph.nodes:
        one, five = graph.type_of(node.outputs[0]), larger.type_of(node.outputs[0])
        assert five.numel in (one.numel, 5 * one.numel)
    assert larger.weights == graph.weights


def test_a_batch_of_one_is_the_graph_itself(tiny_graph):
    assert with_batch(tiny_graph, 1) is tiny_graph


def test_a_network_whose_first_axis_is_no_batch_is_refused():
    with pytest.raises(InputError, match=r"device's batch of 4: input 'words' is \[35, 1\]"):
        with_batch(workloads.build("lstm_lm"), 4)


def test_a_batch_that_gets_lost_on_the_way_is_refused():
    b = GraphBuilder("flat")
    graph = b.build(b.reshape(b.input((1, 8)), (8,)))
    with pytest.raises(InputError, match="'flat' cannot run with the device's batch of 2"):
        with_batch(graph, 2)


def test_what_a_device_computes_has_its_batch_and_its_types(tiny_graph):
    found = for_device(tiny_graph, Device("d", "torch", batch=2, precision="bfloat16"))
    assert {t.dtype for t in (*found.inputs, *found.weights, *found.values)} == {"bfloat16"}
    assert found.inputs[0].shape == (2, 3, 8, 8)
    assert for_device(tiny_graph, Device("d", "torch", precision="tf32")) is tiny_graph
