"""int8 of some layers of a network: which operators become int8, and what those that stay float read."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hwprof import onnx_io, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.variants import spec
from hwprof.variants.grids import REDUCED_WEIGHT
from hwprof.variants.int8_layers import layers
from hwprof.variants.quantize import fold_batch_norm, quantize
from hwprof.variants.samples import random_samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import load_weights, model_with
from tests.onnx_oracle import unoptimized


def chain() -> Graph:
    """Three convolutions with a Relu each, and a pooling after the second."""
    b = GraphBuilder("chain")
    x = b.relu(b.conv(b.input((1, 4, 8, 8), name="x"), 8, 3, bias=True))
    x = b.pool("MaxPool", b.relu(b.conv(x, 8, 3)), 2, 2)
    return b.build(b.relu(b.conv(x, 8, 3)))


def residual() -> Graph:
    """Conv_0 writes what Conv_1 and an Add read."""
    b = GraphBuilder("residual")
    x = b.conv(b.input((1, 4, 8, 8), name="x"), 4, 3)
    return b.build(b.add(x, b.conv(x, 4, 3)))


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


def named(graph: Graph, label: str) -> Node:
    return next(node for node in graph.nodes if node.label == label)


def maker(graph: Graph, name: str) -> str:
    return graph.producers()[name].op if name in graph.producers() else "stored or given"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "bert_tiny"])
def test_all_layers_are_the_whole_network(name: str):
    graph = workloads.build(name)
    assert quantize(graph, layers=layers(graph)) == quantize(graph)


def test_operators_between_layers_follow_them_in_a_block_with_a_gate(mobile_block: Graph):
    assert quantize(mobile_block, layers=layers(mobile_block)) == quantize(mobile_block)


def test_no_layer_is_the_float_network(mobile_block: Graph):
    assert quantize(mobile_block, layers=()) == fold_batch_norm(mobile_block)


def test_a_layer_alone_has_pairs_around_it_and_its_relu_disappears():
    first, second, third = layers(chain())
    graph = quantize(chain(), layers=[second])
    # by hand: pairs for its input, its output and the result of the pooling; a DQ for its weight
    assert ops(graph) == {"QuantizeLinear": 3, "DequantizeLinear": 4, "Conv": 3, "Relu": 2, "MaxPool": 1}
    assert [maker(graph, named(graph, label).inputs[0]) for label in (first, second, third)] == [
        "stored or given", "DequantizeLinear", "DequantizeLinear",
    ]  # fmt: skip
    assert maker(graph, named(graph, third).inputs[1]) == "stored or given"


def test_an_operator_that_reads_from_a_float_layer_stays_float():
    first, *_ = layers(chain())
    graph = quantize(chain(), layers=[first])
    pooling = next(node for node in graph.nodes if node.op == "MaxPool")
    assert maker(graph, pooling.inputs[0]) == "Relu"
    assert pooling.outputs[0] in named(graph, layers(chain())[2]).inputs


def test_a_float_operator_reads_a_float_result_with_all_of_its_digits():
    _, second = layers(residual())
    graph = quantize(residual(), layers=[second])
    add = next(node for node in graph.nodes if node.op == "Add")
    assert [maker(graph, name) for name in add.inputs] == ["Conv", "DequantizeLinear"]
    assert maker(graph, named(graph, second).inputs[0]) == "DequantizeLinear"


def test_a_result_of_the_network_that_a_float_layer_makes_stays_float():
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 4, 8, 8), name="x"), 4, 3)
    graph = b.build(x, b.conv(x, 4, 3))
    quantized = quantize(graph, layers=[layers(graph)[1]])
    assert [maker(quantized, name) for name in quantized.outputs] == ["Conv", "DequantizeLinear"]


def test_layers_keep_their_names_where_a_batch_norm_is_folded_into_them():
    b = GraphBuilder("net")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 4, 8, 8), name="x"), 8, 3)))
    graph = b.build(x)
    unnamed = replace(graph, nodes=tuple(replace(node, name="") for node in graph.nodes))
    assert ops(quantize(unnamed, layers=layers(unnamed)))["Conv"] == 1
    assert quantize(unnamed, layers=layers(unnamed)) == quantize(graph)


def test_an_unknown_layer_is_told_with_those_that_are_known():
    with pytest.raises(InputError, match="no layer of 'chain' that can be int8 is named 'nope'; known: Conv_0"):
        quantize(chain(), layers=["nope"])


def test_fewer_layers_are_nearer_to_the_float_network(mobile_block: Graph):
    names = layers(mobile_block)
    errors = [error(mobile_block, names[len(names) - count :]) for count in (0, 1, len(names))]
    assert errors[0] < 1e-6 < errors[1] < errors[2] < 0.3


def test_reduced_weights_are_within_64():
    graph = chain()
    made = spec.int8_of(layers(graph), largest_weight=REDUCED_WEIGHT).rewrite(
        Weighted(graph, load_weights(graph)), lambda g: random_samples(g, 2)
    )
    largest = [
        int(np.abs(a.astype(int)).max()) for name, a in made.weights.items() if a.dtype == np.int8 and a.ndim == 4
    ]
    assert largest == [64, 64, 64]


def error(graph: Graph, chosen: list[str]) -> float:
    """Relative, of the output, against the float network."""
    weights = load_weights(graph)
    made = spec.int8_of(chosen).rewrite(Weighted(graph, weights), lambda g: random_samples(g, 1))
    inputs = onnx_io.random_inputs(graph, 0)
    exact = unoptimized(model_with(graph, weights), inputs)[0]
    got = unoptimized(model_with(made.graph, made.weights), inputs)[0]
    return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
