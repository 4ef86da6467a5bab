from pathlib import Path

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph, is_quantized
from hwprof.variants.dequantize import dequantized
from hwprof.variants.spec import Weighted, parse
from hwprof.variants.weights import load_weights, model_with
from tests import qcdq
from tests.onnx_oracle import unoptimized

EXAMPLES = np.random.default_rng(0).random((8, 1, 3, 8, 8), dtype=np.float32)


def network() -> Graph:
    b = GraphBuilder("net")
    x = b.relu6(b.conv(b.input((1, 3, 8, 8), name="x"), 8, 3))
    x = b.relu(b.add(b.conv(x, 8, 3), x))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


def computed(network: Weighted, x: np.ndarray) -> np.ndarray:
    (found,) = unoptimized(model_with(network.graph, network.weights), {"x": x})
    return found


@pytest.mark.parametrize("variant", ["int8", "int8:s8s8", "integer"])
def test_a_quantized_network_becomes_the_float_one_that_it_was(variant: str):
    before = Weighted(network(), load_weights(network()))
    after = parse(variant).rewrite(before, lambda _: {"x": EXAMPLES})
    made = Weighted(*dequantized(after.graph, after.weights))
    assert not any(map(is_quantized, made.graph.nodes))
    assert len(made.graph.nodes) == len(network().nodes)
    exact = computed(before, EXAMPLES[0])
    np.testing.assert_allclose(computed(made, EXAMPLES[0]), exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_file_of_brevitas_keeps_the_values_of_its_weights(bits: int, tmp_path: Path):
    qcdq.network(tmp_path / "qcdq.onnx", bits)
    graph = onnx_io.load(tmp_path / "qcdq.onnx")
    made, weights = dequantized(graph, load_weights(graph))
    assert [node.op for node in made.nodes] == ["Conv", "Relu"]
    assert (made.outputs, made.shape(made.outputs[0])) == (graph.outputs, (1, 8, 8, 8))
    weight = weights[made.nodes[0].inputs[1]]
    assert max(len(np.unique(row)) for row in weight) <= 2**bits - 1
    inner = onnx.load(tmp_path / "qcdq.onnx")
    inner.graph.output.extend([onnx.helper.make_tensor_value_info("w_dq", onnx.TensorProto.FLOAT, weight.shape)])
    np.testing.assert_array_equal(weight, unoptimized(inner, {"x": np.zeros((1, 4, 8, 8), np.float32)})[1])


def on_grid(b: GraphBuilder, x: str, grid: list[str]) -> str:
    integers = b.node("QuantizeLinear", [x, *grid], b.shape(x), "uint8")
    return b.node("DequantizeLinear", [integers, *grid], b.shape(x), "float32")


def grid_of_unsigned(with_relu: bool, zero: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """A convolution whose results are on a grid of uint8."""
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 1, 4, 4), name="x"), 2, 3, bias=False)
    x = b.relu(x) if with_relu else x
    grid = [b.weight((), "float32"), b.constant([zero], "uint8", scalar=True)]
    graph = b.build(b.global_average_pool(on_grid(b, x, grid)))
    return graph, load_weights(graph)


@pytest.mark.parametrize(
    ("with_relu", "zero", "operators"),
    [
        (False, 0, ["Conv", "Relu", "GlobalAveragePool"]),  # nothing below 0 is on the grid
        (True, 0, ["Conv", "Relu", "GlobalAveragePool"]),
        (False, 128, ["Conv", "GlobalAveragePool"]),
    ],
)
def test_a_relu_that_only_the_grid_computes_is_put_back(with_relu: bool, zero: int, operators: list[str]):
    made, _ = dequantized(*grid_of_unsigned(with_relu, zero))
    assert [node.op for node in made.nodes] == operators


def test_an_output_that_is_an_input_on_a_grid_keeps_its_name():
    b = GraphBuilder("net")
    grid = [b.weight((), "float32"), b.constant([0], "uint8", scalar=True)]
    graph = b.build(on_grid(b, b.input((1, 4), name="x"), grid))
    made, _ = dequantized(graph, load_weights(graph))
    assert [(node.op, node.inputs, node.outputs) for node in made.nodes] == [("Identity", ("x",), graph.outputs)]


def test_operators_that_compute_with_integers_are_refused():
    b = GraphBuilder("net")
    types = [("uint8", (1, 4)), ("float32", ()), ("uint8", ())]
    made = b.build(b.nodes("DynamicQuantizeLinear", [b.input((1, 4), name="x")], types)[0])
    with pytest.raises(InputError, match="is a DynamicQuantizeLinear, which computes with integers"):
        dequantized(made, {})
