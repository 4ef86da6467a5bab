"""Weights of few bits and from dictionaries."""

from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch

from hwprof import cost, onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import Convolution
from hwprof.latency_table import operators
from hwprof.onnx_io.packed import unpacked
from hwprof.torch_io import trainable
from hwprof.variants import spec
from hwprof.variants.low_bit import (
    clustered,
    dictionaries,
    dictionary_weights,
    index_bits,
    largest_integer,
    layers,
    low_bits,
    low_bits_weights,
)
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import evaluated, load_weights, model_with
from tests.onnx_oracle import unoptimized

OVERHEAD = 2600  # bytes of a file that a layer's unpacking operators may take


def network(rng: np.random.Generator, normalized: bool = True) -> Graph:
    """Random layers of every kind that can be packed; odd sizes, so that bytes are not full."""
    b = GraphBuilder("net")
    groups = int(rng.choice([1, 3]))
    x = b.conv(b.input((1, 3, 9, 7)), 3 * int(rng.integers(2, 6)), int(rng.choice([1, 3])), groups=groups)
    x = b.relu(b.batch_norm(x) if normalized else x)
    x = b.relu(b.conv(x, int(rng.integers(3, 12)), 3, stride=2, bias=True))
    x = b.relu(b.gemm(b.flatten(b.global_average_pool(x)), int(rng.integers(5, 20))))
    return b.build(b.linear(x, 5))


def image(graph: Graph, n: int = 1) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, *graph.inputs[0].shape[1:])).astype(np.float32)


def by_runtime(graph: Graph, weights) -> np.ndarray:
    """By ONNX Runtime with all optimizations, but without those that round activations of a MatMul to 8 bits."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(model_with(graph, weights).SerializeToString(), options)
    return session.run(None, {graph.inputs[0].name: image(graph)})[0]


def trained_outputs(graph: Graph, weights) -> np.ndarray:
    with torch.no_grad():
        return trainable(graph, weights).eval()(torch.from_numpy(image(graph))).numpy()


def check_file(graph: Graph, weights, folder) -> None:
    """The file runs as the network that trains, is as large as it claims, and is read back as the same network."""
    np.testing.assert_allclose(by_runtime(graph, weights), trained_outputs(graph, weights), atol=1e-5, rtol=1e-5)
    path = folder / "small.onnx"
    onnx_io.save(model_with(graph, weights), path)
    loaded = onnx_io.load(path)
    assert loaded.digest == graph.digest
    assert loaded.weight_bytes == graph.weight_bytes
    known = load_weights(loaded)
    assert all(np.array_equal(known[name], array) for name, array in weights.items())
    np.testing.assert_array_equal(trained_outputs(loaded, known), trained_outputs(graph, weights))
    assert graph.weight_bytes < path.stat().st_size < graph.weight_bytes + OVERHEAD * len(layers_of(graph))


def layers_of(graph: Graph) -> list[str]:
    return [node.label for node in graph.nodes if node.op in ("Conv", "Gemm", "MatMul")]


@pytest.mark.parametrize("seed", range(6))
def test_random_layers_of_random_widths_run_and_are_as_small_as_they_claim(seed, tmp_path):
    rng = np.random.default_rng(seed)
    graph = network(rng)
    bits = {name: int(rng.integers(1, 9)) for name in layers(graph) if rng.random() < 0.8}
    small, weights = low_bits_weights(graph, load_weights(graph, seed), bits)
    assert small == low_bits(graph, bits)
    check_file(small, weights, tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_random_dictionaries_run_and_are_as_small_as_they_claim(seed, tmp_path):
    rng = np.random.default_rng(seed)
    graph = network(rng)
    levels = {name: int(rng.choice([1, 2, 3, 4, 5, 16, 17, 40, 200])) for name in layers(graph)}
    small, weights = dictionary_weights(graph, load_weights(graph, seed), levels)
    assert small == dictionaries(graph, levels)
    check_file(small, weights, tmp_path)


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_weight_takes_its_bits_and_one_step_an_output(bits):
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.input((1, 16, 8, 8)), 64, 3))
    small = low_bits(graph, {"Conv_0": bits})
    table = 0 if bits in (4, 8) else 2**bits
    constants = sum(c.size_bytes for c in small.constants)
    assert small.weight_bytes - constants == 64 * 16 * 9 * bits // 8 + 4 * 64 + table


def test_a_dictionary_takes_an_index_a_weight_and_its_values():
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.input((1, 16, 8, 8)), 64, 3))
    small = dictionaries(graph, {"Conv_0": 3})
    constants = sum(c.size_bytes for c in small.constants)
    assert small.weight_bytes - constants == 64 * 16 * 9 * 2 // 8 + 4 * 4
    assert [index_bits(k) for k in (1, 2, 3, 4, 5, 16, 17, 256)] == [1, 1, 2, 2, 3, 4, 5, 8]


def test_weights_on_a_grid_of_given_steps_are_kept_exactly():
    rng = np.random.default_rng(0)
    graph = network(rng, normalized=False)
    weights = load_weights(graph)
    bits, steps = dict(zip(layers(graph), (1, 2, 3, 4), strict=True)), {}
    for name, layer in layers(graph).items():
        steps[name], most = 0.25 * rng.random() + 0.01, largest_integer(bits[name])
        integers = rng.choice([-1, 1] if bits[name] == 1 else np.arange(-most, most + 1), layer.weight.shape)
        weights[layer.weight.name] = (np.float32(steps[name]) * integers).astype(np.float32)
    small, packed = low_bits_weights(graph, weights, bits, steps)
    np.testing.assert_allclose(by_runtime(small, packed), by_runtime(graph, weights), atol=1e-5)


def test_batch_normalization_with_negative_gains_becomes_part_of_the_steps():
    graph = network(np.random.default_rng(3))
    weights, (first, layer) = load_weights(graph), next(iter(layers(graph).items()))
    norm = next(node for node in graph.nodes if node.op == "BatchNormalization")
    weights[norm.inputs[1]] = np.linspace(-2, 2, len(weights[norm.inputs[1]])).astype(np.float32)
    weights[layer.weight.name] = 0.1 * np.sign(weights[layer.weight.name])
    small, packed = low_bits_weights(graph, weights, {first: 3}, {first: 0.1})
    assert "BatchNormalization" not in {node.op for node in small.nodes}
    np.testing.assert_allclose(by_runtime(small, packed), by_runtime(graph, weights), atol=1e-5)


def test_batch_normalization_of_other_layers_stays():
    graph = network(np.random.default_rng(3))
    weights, last = load_weights(graph), list(layers(graph))[-1]
    small, packed = low_bits_weights(graph, weights, {last: 8})
    assert "BatchNormalization" in {node.op for node in small.nodes}
    np.testing.assert_allclose(by_runtime(small, packed), by_runtime(graph, weights), atol=0.02)


def test_a_weight_of_few_values_is_decoded_bit_for_bit():
    graph = network(np.random.default_rng(0))
    weights, levels = load_weights(graph), {}
    rng = np.random.default_rng(1)
    for name, layer in layers(graph).items():
        levels[name] = int(rng.integers(2, 20))
        values = rng.standard_normal(levels[name]).astype(np.float32)
        weights[layer.weight.name] = rng.choice(values, layer.weight.shape)
    small, packed = dictionary_weights(graph, weights, levels)
    decoded = evaluated(small, packed, [f"{layer.weight.name}_unpacked" for layer in layers(graph).values()])
    for layer in layers(graph).values():
        np.testing.assert_array_equal(decoded[f"{layer.weight.name}_unpacked"], weights[layer.weight.name])
    np.testing.assert_array_equal(trained_outputs(small, packed), trained_outputs(graph, weights))


def test_clusters_are_where_the_values_are():
    weight = np.concatenate([np.full(30, 1.0), np.full(50, 5.0), np.full(20, 9.0) + np.linspace(-0.1, 0.1, 20)])
    values, codes = clustered(weight.astype(np.float32), 3)
    np.testing.assert_allclose(values, [1, 5, 9], atol=1e-6)
    assert np.bincount(codes).tolist() == [30, 50, 20]


def test_more_bits_are_nearer():
    graph = network(np.random.default_rng(0))
    weights = load_weights(graph)
    errors = []
    for bits in range(2, 9):
        outputs = by_runtime(*low_bits_weights(graph, weights, dict.fromkeys(layers(graph), bits)))
        errors.append(float(np.abs(outputs - by_runtime(graph, weights)).max()))
    assert all(error < 1.2 * before for before, error in pairwise(errors))
    assert errors[-1] < 0.05 * errors[0]


def integer_network(small: Graph, weights) -> tuple[Graph, dict[str, np.ndarray]]:
    made = spec.parse("integer").rewrite(
        Weighted(small, weights), lambda _: {small.inputs[0].name: image(small, 4)[:, None]}
    )
    assert made.graph == spec.change("integer")(small)
    return made.graph, made.weights


FORMATS = {1: "dictionary-2", 2: "dictionary-4", 3: "int4", 4: "int4", 5: "int8"}


@pytest.mark.parametrize("bits", FORMATS)
def test_the_integer_engine_runs_them_in_its_own_format(bits):
    graph = network(np.random.default_rng(2), normalized=False)
    small, weights = low_bits_weights(graph, load_weights(graph), dict.fromkeys(layers(graph), bits))
    whole, arrays = integer_network(small, weights)
    program = lowering.lower(whole, arrays)
    found = [op.weight_format for op in program.operations if isinstance(op, Convolution) and op.groups == 1]
    assert set(found) == {FORMATS[bits]}
    expected, got = by_runtime(small, weights), unoptimized(model_with(whole, arrays), {"input0": image(graph)})[0]
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max() + 0.02


@pytest.mark.parametrize(("levels", "weight_format"), [(2, "dictionary-2"), (4, "dictionary-4"), (16, "dictionary-16")])
def test_the_integer_engine_runs_dictionaries_as_dictionaries(levels, weight_format):
    b = GraphBuilder("net")
    x = b.relu(b.conv(b.input((1, 3, 9, 7)), 16, 3))
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))
    small, weights = dictionary_weights(graph, load_weights(graph), dict.fromkeys(layers(graph), levels))
    whole, arrays = integer_network(small, weights)
    program = lowering.lower(whole, arrays)
    found = [op.weight_format for op in program.operations if isinstance(op, Convolution)]
    assert found == [weight_format] * 2
    expected, got = by_runtime(small, weights), unoptimized(model_with(whole, arrays), {"input0": image(graph)})[0]
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max() + 0.02


def test_a_table_has_a_row_for_each_width_and_none_for_unpacking():
    graph = network(np.random.default_rng(0), normalized=False)
    plain = operators.of(graph)
    rows = {}
    for change, count in ((low_bits, 2), (low_bits, 4), (dictionaries, 4)):
        small = change(graph, dict.fromkeys(layers(graph), count))
        found = operators.of(small)
        assert [o.op for o in found] == [o.op for o in plain]
        rows[change.__name__, count] = {o.key for o in found if o.nodes.leading.op == "Conv"}
        widths = {o.attributes["w_bits"] for o in found if o.nodes.leading.op == "Conv"}
        assert widths == {4 if change is low_bits and count == 4 else 2}
        for operator in found:
            alone = operators.standalone(small, operator.nodes)
            assert [t.name for t in alone.inputs] == [operator.nodes.nodes[0].inputs[0]]
    assert not set.intersection(*rows.values())


def test_a_network_without_weights_is_drawn_and_runs(run):
    graph = network(np.random.default_rng(0))
    for small in (
        low_bits(graph, dict.fromkeys(layers(graph), 3)),
        dictionaries(graph, dict.fromkeys(layers(graph), 9)),
    ):
        assert np.isfinite(run(small)[0]).all()
        assert unpacked(small)
        assert cost.of(small).macs >= cost.of(graph).macs


def test_nothing_chosen_changes_nothing():
    graph = network(np.random.default_rng(0))
    assert low_bits(graph, {}) is graph
    assert dictionaries(graph, {}) is graph


@pytest.mark.parametrize(
    ("change", "chosen", "message"),
    [
        (low_bits, {"Conv_9": 4}, "no layer with a stored weight is named 'Conv_9'; known: Conv_0"),
        (low_bits, {"Conv_0": 9}, "layer 'Conv_0' cannot have 9 bits; known: 1 to 8"),
        (dictionaries, {"Conv_0": 0}, "layer 'Conv_0' cannot have a dictionary of 0 values; known: 1 to 256"),
    ],
)
def test_a_choice_that_does_not_exist_is_an_error(change, chosen, message):
    with pytest.raises(InputError, match=message):
        change(network(np.random.default_rng(0)), chosen)


def test_a_weight_that_two_operators_read_cannot_be_packed():
    b = GraphBuilder("net")
    x, w = b.input((4, 6)), b.weight((6, 6))
    graph = b.build(b.node("MatMul", [b.node("MatMul", [x, w], (4, 6)), w], (4, 6)))
    assert layers(graph) == {}
