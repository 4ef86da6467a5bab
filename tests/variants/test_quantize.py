"""Static quantization of a Graph."""

from collections import Counter

import pytest

from hwprof import workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.variants.quantize import fold_batch_norm, quantize


def ops(graph: Graph) -> Counter:
    return Counter(node.op for node in graph.nodes)


def conv_net(opset: int = 17) -> Graph:
    b = GraphBuilder("net", opset)
    return b.build(b.relu(b.batch_norm(b.conv(b.input((1, 4, 8, 8), name="x"), 8, 3))))


def test_batch_norm_becomes_the_bias_of_its_convolution():
    folded = fold_batch_norm(conv_net())
    assert [n.op for n in folded.nodes] == ["Conv", "Relu"]
    assert [t.shape for t in folded.weights] == [(8, 4, 3, 3), (8,)]


def test_batch_norm_stays_where_others_read_the_convolution_too():
    b = GraphBuilder("net")
    y = b.conv(b.input((1, 4, 8, 8)), 4)
    graph = b.build(b.add(y, b.batch_norm(y)))
    assert fold_batch_norm(graph) is graph


def test_two_convolutions_of_one_weight_get_a_bias_each():
    b = GraphBuilder("net")
    w = b.weight((4, 4, 1, 1))
    x = b.input((1, 4, 8, 8))
    for _ in range(2):
        x = b.batch_norm(b.node("Conv", [x, w], (1, 4, 8, 8)))
    assert [t.shape for t in fold_batch_norm(b.build(x)).weights] == [(4, 4, 1, 1), (4,), (4,)]


def test_a_convolution_gets_pairs_around_it_and_its_relu_disappears():
    graph = quantize(conv_net())
    # by hand: a pair for the input and one for the output; a DQ each for weight and bias
    assert ops(graph) == {"QuantizeLinear": 2, "DequantizeLinear": 4, "Conv": 1}
    conv = next(n for n in graph.nodes if n.op == "Conv")
    stored = [graph.producers()[name].inputs[0] for name in conv.inputs]
    assert [graph.type_of(name).dtype for name in stored] == ["uint8", "int8", "int32"]


def test_weights_have_a_scale_for_each_output_channel_or_one_for_all():
    for per_channel, shape in ((True, (8,)), (False, ())):
        graph = quantize(conv_net(), per_channel=per_channel)
        weight = next(t for t in graph.weights if t.dtype == "int8")
        reader = next(n for n in graph.nodes if weight.name in n.inputs)
        assert graph.shape(reader.inputs[1]) == shape
        assert reader.attribute("axis") == (0 if per_channel else None)


def test_a_relu_that_disappears_leaves_its_zero_as_the_lowest_integer():
    for activation, lowest in (("uint8", 0), ("int8", -128)):
        graph = quantize(conv_net(), activation)
        last = graph.producers()[graph.outputs[0]]
        assert graph.constant_values[last.inputs[2]] == (lowest,)


def test_integers_take_a_quarter_of_the_bytes():
    graph = conv_net()
    weight_bytes = sum(t.size_bytes for t in quantize(graph).weights if t.dtype == "int8")
    assert weight_bytes == 8 * 4 * 3 * 3


def test_an_operator_without_integer_kernel_stays_in_float():
    b = GraphBuilder("net")
    x = b.lstm(b.input((5, 1, 16)), 16)
    graph = quantize(b.build(b.linear(x, 8)))
    lstm = next(n for n in graph.nodes if n.op == "LSTM")
    assert lstm.inputs[0] in {t.name for t in graph.inputs}
    assert all(graph.type_of(name).dtype == "float32" for name in lstm.inputs[1:] if name)


def test_operators_that_move_elements_share_the_scale_of_their_input():
    b = GraphBuilder("net")
    y = b.flatten(b.pool("MaxPool", b.conv(b.input((1, 4, 8, 8)), 4), 2, 2))
    graph = quantize(b.build(b.gemm(y, 5)))
    scales = {n.inputs[0]: n.inputs[1] for n in graph.nodes if n.op == "QuantizeLinear"}
    assert scales["MaxPool_1"] == scales["Flatten_2"] == scales["Conv_0"]


@pytest.mark.parametrize("types", [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
def test_it_runs(mobile_block, shapes_hold, types):
    shapes_hold(quantize(mobile_block, *types))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "bert_tiny", "lstm_lm"])
def test_workloads_run(shapes_hold, name):
    shapes_hold(quantize(workloads.build(name)))


def test_names_and_source_say_that_it_is_another_network():
    graph = quantize(conv_net().renamed("net", source="net.onnx"))
    assert (graph.name, graph.source) == ("net-int8", None)


def test_the_same_network_gives_the_same_digest():
    assert quantize(conv_net()) == quantize(conv_net())
    assert quantize(conv_net()) != quantize(conv_net(), "int8")


def dynamically_quantized() -> Graph:
    """As ONNX Runtime's quantize_dynamic writes it."""
    b = GraphBuilder("dynamic")
    x, scale, zero = b.nodes(
        "DynamicQuantizeLinear", [b.input((2, 8))], [("uint8", (2, 8)), ("float32", ()), ("uint8", ())]
    )
    product = b.node("MatMulInteger", [x, b.weight((8, 4), "int8"), zero], (2, 4), "int32")
    return b.build(b.mul(b.node("Cast", [product], (2, 4), "float32", to=1), scale))


@pytest.mark.parametrize(
    ("graph", "types", "message"),
    [
        (conv_net(), ("int4", "int8"), "cannot quantize to 'int4'; known: uint8, int8"),
        (conv_net(opset=11), ("uint8", "int8"), "opset before 13"),
        (quantize(conv_net()), ("uint8", "int8"), "quantized already; measure it unchanged"),
        (dynamically_quantized(), ("uint8", "int8"), "quantized already"),
    ],
)
def test_what_does_not_fit_is_an_error(graph, types, message):
    with pytest.raises(InputError, match=message):
        quantize(graph, *types)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_constant_that_no_grid_can_hold_stays_float(value):
    b = GraphBuilder("masked")
    x = b.conv(b.input((1, 4, 8, 8)), 4)
    bound = b.constant([value], "float32", scalar=True)
    graph = quantize(b.build(b.conv(b.binary("Mul", x, bound), 4)))
    (product,) = (node for node in graph.nodes if node.op == "Mul")
    assert product.inputs[1] == bound


def test_a_weight_without_elements_is_no_obstacle(run):
    b = GraphBuilder("empty")
    joined = b.concat([b.input((4, 8)), b.weight((0, 8))], axis=0)
    (result,) = run(quantize(b.build(b.linear(joined, 3))))
    assert result.shape == (4, 3)
