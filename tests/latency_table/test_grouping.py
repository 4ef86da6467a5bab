"""Which nodes are one operator, and their bit widths."""

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.integer.lowering import lowering
from hwprof.latency_table import bits, operators
from hwprof.latency_table.grouping import operator_nodes
from hwprof.variants.half import half
from hwprof.variants.int8_layers import layers, with_names
from hwprof.variants.quantize import quantize
from hwprof.variants.quantize_whole import quantize_whole
from hwprof.variants.weights import load_weights


def small():
    b = GraphBuilder("small")
    x = b.input((1, 3, 8, 8))
    x = b.relu(b.conv(x, 4, 3))
    x = b.add(x, b.conv(x, 4, 3))
    return b.build(b.gemm(b.flatten(x), 10))


def language():
    b = GraphBuilder("language")
    return b.build(b.linear(b.gelu(b.lstm(b.input((5, 1, 6)), 8)), 7))


def ops(graph):
    return [o.op for o in operators.of(graph)]


def test_each_node_of_a_float_network_stands_by_itself():
    assert [[n.op for n in g.nodes] for g in operator_nodes(small())] == [
        ["Conv"],
        ["Relu"],
        ["Conv"],
        ["Add"],
        ["Flatten"],
        ["Gemm"],
    ]


def test_a_quantized_operator_owns_the_pairs_around_it():
    # the Relu is in the grid of its convolution
    assert ops(quantize(small())) == ["QuantizeLinear", "Conv", "Conv", "Add", "Flatten", "Gemm", "DequantizeLinear"]


def test_float_nodes_between_pairs_are_one_operator():
    assert ops(quantize_whole(language())) == [
        "QuantizeLinear", "LSTM", "Squeeze", "Div+Erf+Add+Mul+Mul", "MatMul+Add", "DequantizeLinear",
    ]  # fmt: skip


def test_float_nodes_that_meet_floats_stay_by_themselves():
    """ONNX Runtime's quantizer leaves an LSTM in float, and the Squeeze after it; Div and Erf stand between pairs."""
    found = {o.op: o for o in operators.of(quantize(language()))}
    assert found["LSTM"].attributes["a_bits"] == found["LSTM"].attributes["w_bits"] == 32
    assert found["MatMul"].attributes["a_bits"] == found["MatMul"].attributes["w_bits"] == 8
    assert {"Squeeze", "Div+Erf"} <= found.keys()


def test_a_float_layer_between_two_of_integers_is_that_of_the_float_network():
    b = GraphBuilder("mixed")
    x = b.input((1, 4, 8, 8))
    for _ in range(3):
        x = b.conv(x, 4, 3)
    graph = with_names(b.build(x))
    first, _, last = layers(graph)
    found = operators.of(quantize(graph, layers=[first, last]))
    assert [o.op for o in found] == [
        "QuantizeLinear", "Conv", "DequantizeLinear", "Conv", "QuantizeLinear", "Conv", "DequantizeLinear",
    ]  # fmt: skip
    assert found[3].key == operators.of(graph)[1].key
    assert found[1].key == found[5].key


def test_every_operator_of_a_quantized_network_runs_alone_in_integers():
    for graph in (quantize_whole(small()), quantize_whole(language())):
        for operator, single in operators.distinct([graph]):
            onnx_io.to_model(single)  # checks the model
            program = lowering.lower(single, load_weights(single))
            assert all(value.dtype == "uint8" for value in program.values.values())
            again = operators.of(single)
            assert [o.key for o in again if o.op == operator.op] == [operator.key]


def test_float_and_quantized_rows_differ_in_their_bits_alone():
    in_float, quantized = (
        next(o for o in operators.of(g) if o.op == "Gemm").attributes for g in (small(), quantize(small()))
    )
    assert {k: v for k, v in in_float.items() if quantized[k] != v} == {"w_bits": 32, "a_bits": 32}
    assert (quantized["w_bits"], quantized["a_bits"]) == (8, 8)


def test_bits_are_those_of_what_runs():
    b = GraphBuilder("mixed")
    indices = b.input((5,), "int64")
    graph = b.build(b.relu(b.embedding(indices, 10, 4)))
    gather, relu = operator_nodes(graph)
    assert bits.of(graph, gather) == {"w_bits": 32}  # its activations are indices
    assert bits.of(graph, relu) == {"a_bits": 32}  # it has no weight
    narrow = half(small())
    assert all(bits.of(narrow, g)["w_bits"] == 16 for g in operator_nodes(narrow) if g.leading.op == "Conv")


def test_a_network_has_the_bits_that_its_weights_share():
    assert bits.of_network(small()) == {"w_bits": 32, "a_bits": 32}
    assert bits.of_network(quantize(small())) == {"w_bits": 8, "a_bits": 8}
    assert bits.of_network(quantize(language())) == {}  # an LSTM in float, a product in integers


def test_an_lstm_of_which_only_the_last_state_is_read_is_an_operator():
    b = GraphBuilder("last")
    weights = [b.weight((1, 12, 4)), b.weight((1, 12, 3))]
    _, h = b.nodes("LSTM", [b.input((5, 1, 4)), *weights], [None, ("float32", (1, 1, 3))], hidden_size=3)
    assert ops(quantize_whole(b.build(b.relu(h)))) == ["QuantizeLinear", "LSTM", "Relu", "DequantizeLinear"]
