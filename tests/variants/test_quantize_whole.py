"""Static quantization of every operator."""

from collections import Counter

import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import Lstm
from hwprof.variants.quantize_whole import quantize_whole
from hwprof.variants.weights import load_weights
from hwprof.workloads import build


def ops(graph: Graph) -> Counter:
    return Counter(node.op for node in graph.nodes)


def kinds(graph: Graph) -> list[str]:
    """Of the operations that the quantized network becomes, those that only give bytes another shape left out."""
    whole = quantize_whole(graph)
    program = lowering.lower(whole, load_weights(whole))
    return [name for name in (type(o).__name__ for o in program.operations) if name != "Reshape"]


def test_an_lstm_is_quantized_with_a_scale_for_each_row():
    b = GraphBuilder("lstm")
    graph = quantize_whole(b.build(b.lstm(b.input((5, 1, 4)), 3)))
    assert graph.shape("w0_scale") == graph.shape("w1_scale") == (12,)
    assert graph.type_of("w0_quantized").dtype == "int8"
    assert graph.type_of("w2").dtype == "float32"  # its bias


def test_a_recurrent_network_becomes_a_program_whole():
    b = GraphBuilder("stack")
    x = b.lstm(b.lstm(b.input((5, 2, 4)), 3), 6)
    assert kinds(b.build(b.linear(x, 7))) == ["Lstm", "Lstm", "Convolution"]


def test_a_relu_behind_an_lstm_does_not_bound_its_state():
    b = GraphBuilder("bounded")
    x, w, r, bias = b.input((5, 1, 4)), b.weight((1, 12, 4)), b.weight((1, 12, 3)), b.weight((1, 24))
    (y,) = b.nodes("LSTM", [x, w, r, bias], [("float32", (5, 1, 1, 3))], hidden_size=3)
    whole = quantize_whole(b.build(b.relu(y)))
    program = lowering.lower(whole, load_weights(whole))
    (cell,) = [o for o in program.operations if isinstance(o, Lstm)]
    assert cell.zero_h == 128  # a grid of both signs
    assert kinds(b.build(b.relu(y))) == ["Lstm", "Table"]


@pytest.mark.parametrize("end", ["Tanh", "Sigmoid", "Softplus"])
def test_what_a_network_ends_with_has_a_grid(end):
    b = GraphBuilder("end")
    assert kinds(b.build(b.unary(end, b.linear(b.input((3, 4)), 5)))) == ["Convolution", "Table"]


def test_a_function_of_several_operators_is_one():
    b = GraphBuilder("gelu")
    graph = b.build(b.linear(b.gelu(b.linear(b.input((3, 4)), 5)), 6))
    assert kinds(graph) == ["Convolution", "Table", "Convolution"]
    # input, two products, and the GELU: nothing within it
    assert ops(quantize_whole(graph))["QuantizeLinear"] == 4


def test_a_result_that_another_operator_reads_too_has_a_grid_of_its_own():
    b = GraphBuilder("gate")
    x = b.linear(b.input((3, 4)), 5)
    gate = b.unary("Sigmoid", x)
    y = b.unary("Tanh", b.mul(x, gate))
    graph = b.build(y, b.linear(gate, 2))
    assert kinds(graph)
    # the input, the products, the gate, what it multiplies, and the Tanh
    assert ops(quantize_whole(graph))["QuantizeLinear"] == 6


def test_embeddings_that_are_a_weight_too_have_one_scale():
    b = GraphBuilder("tied")
    table = b.weight((9, 4))
    x = b.node("Gather", [table, b.input((3,), "int64")], (3, 4), "float32", axis=0)
    whole = quantize_whole(b.build(b.node("Gemm", [x, table], (3, 9), transB=1)))
    assert whole.shape("w0_scale") == ()
    (stored,) = (t for t in whole.weights if t.dtype == "int8")
    assert stored.shape == (9, 4)


def test_a_stored_row_is_the_bias_of_the_product_before_it():
    b = GraphBuilder("row")
    assert kinds(b.build(b.relu(b.linear(b.input((3, 4)), 5)))) == ["Convolution"]


def test_a_matrix_behind_a_product_is_no_bias():
    b = GraphBuilder("matrix")
    y = b.add(b.matmul(b.input((3, 4)), b.weight((4, 5))), b.weight((3, 5)))
    assert kinds(b.build(y)) == ["Convolution", "Add"]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_convolutional_networks_become_programs_whole(name):
    assert "Convolution" in kinds(build(name))


def test_a_quantized_network_is_refused():
    b = GraphBuilder("twice")
    once = quantize_whole(b.build(b.relu(b.input((3, 4)))))
    with pytest.raises(InputError, match="quantized already"):
        quantize_whole(once)


def wide_residual(opset: int = 21) -> Graph:
    """A stream that is read by products, by a sum and by a normalization."""
    b = GraphBuilder("residual", opset=opset)
    x = b.add(b.linear(b.input((3, 32)), 32), b.linear(b.input((3, 32)), 32))
    y = b.add(x, b.linear(b.unary("Tanh", b.reshape(x, (3, 32))), 32))
    return b.build(b.matmul(b.reshape(b.layer_norm(y), (3, 32)), b.weight((32, 4))), b.linear(y, 2))


def test_states_of_16_bits_are_those_that_elements_alone_read():
    whole = quantize_whole(wide_residual(), state_bits=16)
    program = lowering.lower(whole, load_weights(whole))
    wide = {value.name for value in program.values.values() if value.dtype == "int16"}
    made = [(type(o).__name__, o.y in wide) for o in program.operations if type(o).__name__ != "Reshape"]
    assert made == [
        ("Convolution", False), ("Convolution", False), ("Add", True), ("Lines", False), ("Convolution", False),
        ("Add", True), ("Normalization", False), ("Convolution", False), ("Lines", False), ("Convolution", False),
    ]  # fmt: skip


def test_a_network_of_products_is_the_same_with_16_bits():
    graph = GraphBuilder("products", opset=21)
    x = graph.linear(graph.unary("Gelu", graph.linear(graph.input((3, 4)), 5)), 6)
    network = graph.build(x)
    assert quantize_whole(network, state_bits=16) == quantize_whole(network)


def test_states_of_other_bits_are_refused():
    with pytest.raises(InputError, match="have 8 or 16 bits, not 12"):
        quantize_whole(wide_residual(), state_bits=12)


def test_16_bits_need_an_opset_that_knows_them():
    with pytest.raises(InputError, match="opset before 21, whose QuantizeLinear has no 16-bit types"):
        quantize_whole(wide_residual(opset=17), state_bits=16)
