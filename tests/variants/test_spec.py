"""The grammar of variants, and that a variant of one network has one digest and one cost through every way in."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hwprof import cost, onnx_io, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.latency_table.operators import distinct
from hwprof.spaces.blocks import zeros_like
from hwprof.variants import spec
from hwprof.variants.apply import apply_variant
from hwprof.variants.quantize import quantize
from hwprof.variants.quantize_whole import quantize_whole
from hwprof.variants.weights import load_weights

VARIANTS = spec.EXAMPLES.split(", ")
WEIGHTLESS = [text for text in VARIANTS if not text.startswith("sparse")]


def convolutional(opset: int = 17) -> Graph:
    """A residual, a depthwise convolution, a hard swish and a dense layer."""
    b = GraphBuilder("convolutional", opset)
    x = b.relu(b.batch_norm(b.conv(b.input((1, 3, 8, 8), name="x"), 16, 3)))
    y = b.unary("HardSwish", b.batch_norm(b.conv(x, 32))) if opset >= 14 else b.relu(b.conv(x, 32))
    y = b.relu6(b.batch_norm(b.conv(y, 32, 3, groups=32)))
    x = b.add(x, b.batch_norm(b.conv(y, 16)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 5))


def recurrent() -> Graph:
    b = GraphBuilder("recurrent")
    return b.build(b.linear(b.lstm(b.lstm(b.input((6, 2, 4), name="x"), 16), 16), 5))


def attention() -> Graph:
    """With a table, a part of which is sliced off, a divisor and a Softmax."""
    b = GraphBuilder("attention")
    words = b.embedding(b.input((1, 6), "int64", name="x"), 20, 8)
    x = b.layer_norm(b.add(words, b.slice(b.weight((9, 8)), axis=0, start=0, stop=6)))
    scores = b.matmul(b.linear(x, 8), b.transpose(b.linear(x, 8), (0, 2, 1)))
    weights = b.softmax(b.binary("Div", scores, b.constant([3.0], "float32", scalar=True)))
    return b.build(b.gelu(b.linear(b.matmul(weights, x), 8)))


def zeroed() -> Graph:
    """A cell in which one edge of two is multiplied by zero."""
    b = GraphBuilder("zeroed")
    x = b.conv(b.input((1, 3, 8, 8), name="x"), 8, 3)
    dead = b.relu(b.conv(zeros_like(b, b.conv(x, 8)), 8, 3))
    return b.build(b.add(b.relu(x), dead))


NETWORKS = [convolutional(), convolutional(opset=11), recurrent(), attention(), zeroed()]


def saved(graph: Graph, folder: Path) -> Graph:
    """Written and loaded, with other weights than seed 0 would give."""
    onnx_io.save(graph, folder / f"{graph.name}.onnx", seed=7)
    return onnx_io.load(folder / f"{graph.name}.onnx")


@pytest.mark.parametrize("text", WEIGHTLESS)
@pytest.mark.parametrize("graph", NETWORKS, ids=lambda g: f"{g.name}-{dict(g.opsets)['']}")
def test_a_variant_has_one_digest_and_one_cost_through_every_way_in(graph, text, tmp_path):
    without_weights = spec.change(text)(graph)
    loaded = saved(graph, tmp_path)
    ways = {
        "with seeded weights": apply_variant(graph, text, tmp_path)[0],
        "with weights of a file": apply_variant(loaded, text, tmp_path)[0],
        "of a file without weights": spec.change(text)(loaded),
        "written and loaded": saved(without_weights, tmp_path),
    }
    assert {way for way, found in ways.items() if found.digest != without_weights.digest} == set()
    assert {way for way, found in ways.items() if cost.of(found) != cost.of(without_weights)} == set()
    operators = {single.digest for _, single in distinct([without_weights])}
    assert all({single.digest for _, single in distinct([found])} == operators for found in ways.values())


def test_a_sparse_network_is_the_same_network(tmp_path):
    graph = convolutional()
    sparse, _ = apply_variant(graph, "sparse:0.9", tmp_path)
    assert (sparse, cost.of(sparse)) == (graph, cost.of(graph))


@pytest.mark.parametrize("text", ["sparse:0.9", "sparse:0.9+int8"])
def test_without_weights_there_is_no_sparse_network(text):
    with pytest.raises(InputError, match=r"'sparse:0\.9' only changes weights, so without weights it is the dense"):
        spec.change(text)


@pytest.mark.parametrize("text", ["int8", "integer"])
def test_scales_and_zero_points_are_not_parameters(text, tmp_path):
    graph = workloads.build("mobilenet_v2")
    quantized = saved(spec.change(text)(graph), tmp_path)
    assert cost.of(quantized).parameters == cost.of(graph).parameters == 3_487_816
    assert sum(c.parameters for c in cost.of_nodes(quantized)) == 3_487_816


def test_two_calibrations_are_one_network(tmp_path):
    graphs = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        graphs.append(apply_variant(convolutional(), "int8", folder, seed=seed)[0])
    zeros = [{n: w for n, w in load_weights(g).items() if n.endswith("zero_point")} for g in graphs]
    assert any(not np.array_equal(zeros[0][name], zeros[1][name]) for name in zeros[0])
    assert graphs[0] == graphs[1]


def exactly(graph: Graph, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """In float, without ONNX Runtime's integer kernels, some of which saturate."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = onnx_io.materialize(graph).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


def relative_error(graph: Graph, variant: Graph) -> float:
    inputs = onnx_io.random_inputs(graph)
    before = exactly(graph, inputs)
    after = exactly(variant, {t.name: inputs.get(t.name, np.ones(t.shape, np.float32)) for t in variant.inputs})
    return float(np.sqrt(np.mean((before - after) ** 2) / np.mean(before**2)))


@pytest.mark.parametrize("text", ["int8", "int8:s8s8", "int8:u8u8", "integer"])
@pytest.mark.parametrize("graph", NETWORKS, ids=lambda g: f"{g.name}-{dict(g.opsets)['']}")
def test_a_calibrated_network_computes_nearly_the_same(graph, text, tmp_path):
    loaded = saved(graph, tmp_path)
    assert relative_error(loaded, apply_variant(loaded, text, tmp_path)[0]) < 0.06


def test_a_network_without_anything_to_quantize_stays_as_it_was(tmp_path):
    b = GraphBuilder("plain")
    graph = b.build(b.relu(b.input((1, 4), name="x")))
    variant, warnings = apply_variant(graph, "int8", tmp_path)
    assert variant == graph
    assert warnings[-1] == "no operator could be quantized: this is the unchanged network"


def test_weights_that_are_quantized_already_keep_their_values(tmp_path):
    b = GraphBuilder("half")
    x = b.conv(b.input((1, 4, 8, 8), name="x"), 8)
    scale, zero = b.constant([0.01], "float32", scalar=True), b.constant([3], "int8", scalar=True)
    w = b.node("DequantizeLinear", [b.weight((8, 8, 1, 1), dtype="int8"), scale, zero], (8, 8, 1, 1))
    graph = b.build(b.node("Conv", [x, w], (1, 8, 8, 8)))
    loaded = saved(graph, tmp_path)
    assert relative_error(loaded, apply_variant(loaded, "int8", tmp_path)[0]) < 0.05


@pytest.mark.parametrize("text", ["cut", "folded"])
def test_leaving_out_zeros_keeps_the_weights(text, tmp_path):
    loaded = saved(zeroed(), tmp_path)
    variant, warnings = apply_variant(loaded, text, tmp_path)
    assert len(variant.nodes) < len(loaded.nodes)
    assert relative_error(loaded, variant) < 1e-6
    assert warnings == []


def test_a_constant_that_folding_computes_is_a_weight_with_its_value(tmp_path):
    b = GraphBuilder("biased")
    x = b.input((1, 4, 8, 8), name="x")
    graph = saved(b.build(b.add(x, b.relu(b.conv(zeros_like(b, x), 4, 3, bias=True)))), tmp_path)
    variant, _ = apply_variant(graph, "folded", tmp_path)
    assert [n.op for n in variant.nodes] == ["Add"]
    assert relative_error(graph, variant) < 1e-6


def test_a_chain_is_one_variant_of_the_other(tmp_path):
    graph = convolutional()
    assert spec.change("prune:0.5+int8")(graph) == quantize(spec.change("prune:0.5")(graph))
    _, warnings = apply_variant(graph, "prune:0.5+int8", tmp_path)
    assert [w.partition(":")[0] for w in warnings] == [
        "calibrated with 8 random inputs", "the network was not trained further"
    ]  # fmt: skip


def test_without_weights_a_variant_is_what_its_graph_function_gives():
    assert spec.change("int8:u8u8")(convolutional()) == quantize(convolutional(), "uint8", "uint8")
    assert spec.change("integer")(recurrent()) == quantize_whole(recurrent())
    assert spec.change("")(recurrent()) == recurrent()


def test_an_integer_is_a_rank_and_a_fraction_a_share():
    ranks = {text: spec.change(text)(convolutional()).weights[-2].shape for text in ("lowrank:1", "lowrank:0.5")}
    assert ranks == {"lowrank:1": (1, 16), "lowrank:0.5": (2, 16)}


def test_every_kind_of_variant_has_an_example():
    assert {text.partition(":")[0] for text in VARIANTS if "+" not in text} == set(spec._ENTRIES)


@pytest.mark.parametrize("text", VARIANTS)
def test_every_example_is_a_variant(text):
    assert spec.parse(text).text == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("int4", "no variant is named 'int4'"),
        ("", "no variant is named ''"),
        ("int8+", "no variant is named ''"),
        ("int8:", "no variant is named 'int8:'"),
        ("int8:s4s4", "needs types of activations and weights: u8s8, s8s8, u8u8"),
        ("fp16:fast", "takes no argument, not 'fast'"),
        ("integer:u8", "needs the range of weights full or reduced, or none"),
        ("cut:1", "takes no argument, not '1'"),
        ("prune", "needs a share of channels to keep, above 0 and at most 1"),
        ("prune:half", "needs a share of channels to keep"),
        ("prune:nan", "needs a share of channels to keep"),
        ("prune:0", "needs a share of channels to keep"),
        ("sparse:1", "needs a share of zeros, at least 0 and below 1"),
        ("lowrank:0", "needs a rank, an integer from 1, or a share of the full rank"),
        ("lowrank:1.5", "needs a rank, an integer from 1, or a share of the full rank"),
        ("lowrank:0.5:diagonal", "needs the scheme channel or spatial, not 'diagonal'"),
    ],
)
def test_a_text_that_names_no_variant_is_refused_with_examples(text, reason):
    with pytest.raises(
        InputError,
        match=f"{re.escape(reason)}.*; examples: int8, int8:s8s8, int8:reduced, integer, integer:reduced, fp16",
    ):
        spec.parse(text)


def test_weights_of_the_reduced_range_cannot_saturate_a_pair_of_products(tmp_path):
    largest = {}
    for text in ("int8", "int8:reduced", "integer", "integer:reduced"):
        graph, _ = apply_variant(convolutional(), text, tmp_path)
        weights = load_weights(graph)
        largest[graph.name] = max(
            int(np.abs(w.astype(int)).max()) for w in weights.values() if w.dtype == np.int8 and w.ndim > 1
        )
    assert largest == {
        "convolutional-int8": 127, "convolutional-int8reduced": 64, "convolutional-integer": 127,
        "convolutional-integerreduced": 64,
    }  # fmt: skip
    assert 2 * 255 * 64 < 2**15  # two products of a byte


def test_variants_without_a_range_get_reduced_weights_where_products_saturate():
    assert spec.unsaturated("prune:0.5+int8") == "prune:0.5+int8:reduced"
    assert spec.unsaturated("integer") == "integer:reduced"
    for text in ("int8:u8s8", "int8:s8s8", "integer:full", "fp16", "int8:reduced", "integer:reduced"):
        assert spec.unsaturated(text) == text
