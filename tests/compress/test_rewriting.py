"""Networks that are changed after training: their values, against the float network."""

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.outputs import outputs, relative_error
from hwprof.compress.rewriting import Rewriting, prepared
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.variants.factorize import factorize_weights, smaller_ranks
from hwprof.variants.grids import REDUCED_WEIGHT
from hwprof.variants.int8_layers import layers
from hwprof.variants.quantize import quantize
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import constant_arrays, load_weights


def network(opset: int = 17) -> Graph:
    b = GraphBuilder("small", opset)
    x = b.relu(b.batch_norm(b.conv(b.input((1, 4, 8, 8), name="x"), 16, 3)))
    x = b.relu(b.conv(x, 16, 3, bias=True))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 12))


def samples(count: int = 6) -> dict[str, np.ndarray]:
    """Inputs of few directions, so that responses have few, too."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(2, 1, 4, 8, 8))
    return {"x": np.einsum("ns,s...->n...", rng.normal(size=(count, 2)), patterns).astype(np.float32)}


def opened(opset: int = 17) -> Weighted:
    graph = network(opset)
    return prepared(graph, load_weights(graph))


@pytest.mark.parametrize("opset", [11, 17])
def test_the_prepared_network_computes_the_same(opset: int):
    graph = network(opset)
    before = outputs(Weighted(graph, load_weights(graph)), samples())
    after = outputs(opened(opset), samples())
    assert [n.op for n in opened(opset).graph.nodes].count("BatchNormalization") == 0
    assert relative_error(dict(zip(before, after.values(), strict=True)), before) < 1e-6


def test_a_quantized_network_is_refused():
    with pytest.raises(InputError, match="quantized already"):
        prepared(quantize(network()), {})


def test_no_choice_is_the_float_network():
    float_network = opened()
    assert Rewriting(float_network, samples()).network({}) is float_network


def test_only_the_chosen_layer_gets_integers():
    float_network = opened()
    first, second, _ = layers(float_network.graph)
    made = Rewriting(float_network, samples()).network({second: Choice(bits=8)})
    readers = {node.label: node for node in made.graph.nodes}
    types = {made.graph.producers().get(readers[name].inputs[1]) for name in (first, second)}
    assert {node.op if node else "stored" for node in types} == {"stored", "DequantizeLinear"}


def test_integers_of_a_reduced_range_end_at_64():
    float_network = opened()
    choices = dict.fromkeys(layers(float_network.graph), Choice(bits=8))
    made = Rewriting(float_network, samples(), REDUCED_WEIGHT).network(choices)
    assert max(np.abs(a.astype(int)).max() for a in made.weights.values() if a.dtype == np.int8 and a.ndim > 1) == 64


def test_factors_keep_the_responses_better_than_those_of_the_weights():
    float_network = opened()
    _, second, _ = layers(float_network.graph)
    exact = outputs(float_network, samples())
    made = Rewriting(float_network, samples()).network({second: Choice(rank=2)})
    graph, weights = factorize_weights(float_network.graph, float_network.weights, {second: 2})
    by_weights = Weighted(graph, {**constant_arrays(graph), **weights})
    errors = [relative_error(outputs(one, samples()), exact) for one in (made, by_weights)]
    assert made.graph == graph
    assert errors[0] < 0.5 * errors[1]


def test_the_lost_share_falls_with_the_rank_and_ends_at_nothing():
    float_network = opened()
    rewriting = Rewriting(float_network, samples())
    (layer, _), *_ = smaller_ranks(float_network.graph).items()
    shares = [rewriting.lost_share(layer, rank) for rank in (1, 2, 4, 16)]
    assert sorted(shares, reverse=True) == shares
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(0.0, abs=1e-9)


def test_the_factors_of_a_layer_become_int8_together():
    float_network = opened()
    _, second, _ = layers(float_network.graph)
    rewriting = Rewriting(float_network, samples(), REDUCED_WEIGHT)
    made, by_float = (rewriting.network({second: Choice(rank=4, bits=bits)}) for bits in (8, None))
    assert sum(a.dtype == np.int8 and a.ndim == 4 for a in made.weights.values()) == 2
    assert relative_error(outputs(made, samples()), outputs(by_float, samples())) < 0.05


def test_ranges_are_observed_once_whatever_is_chosen(monkeypatch: pytest.MonkeyPatch):
    from hwprof.variants import observed_ranges

    calls = []
    observed = observed_ranges.observed
    monkeypatch.setattr(observed_ranges, "observed", lambda *given: calls.append(given) or observed(*given))
    float_network = opened()
    rewriting = Rewriting(float_network, samples())
    for layer in layers(float_network.graph):
        rewriting.network({layer: Choice(bits=8)})
    rewriting.network(dict.fromkeys(layers(float_network.graph), Choice(bits=8)))
    assert len(calls) == 1
