"""Shapes of every method against ONNX's own shape inference, and a few worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof import onnx_io
from hwprof.builder import GraphBuilder, block, broadcast, window
from hwprof.errors import InputError
from hwprof.graph import Graph, Tensor


def image(b: GraphBuilder, channels: int = 4, height: int = 9, width: int = 11) -> str:
    return b.input((2, channels, height, width))


def tokens(b: GraphBuilder) -> str:
    return b.input((2, 7, 12))


# Each builds one operator (or block) and returns its outputs.
LAYERS = {
    "unary": lambda b: [b.unary("HardSigmoid", image(b), alpha=0.2)],
    "relu6": lambda b: [b.relu6(image(b))],
    "gelu": lambda b: [b.gelu(tokens(b))],
    "binary": lambda b: [b.binary("Sub", tokens(b), b.input((7, 1)))],
    "comparison": lambda b: [b.binary("Less", tokens(b), b.input((1,)), "bool")],
    "bias": lambda b: [b.bias(tokens(b))],
    "conv": lambda b: [b.conv(image(b), 6, 3, 2, bias=True)],
    "conv of even kernel": lambda b: [b.conv(image(b), 6, 4)],
    "conv of unequal kernel": lambda b: [b.conv(image(b), 6, (1, 7))],
    "conv with padding": lambda b: [b.conv(image(b), 6, 3, pad=0)],
    "dilated conv": lambda b: [b.conv(image(b), 6, 3, dilation=2)],
    "depthwise conv": lambda b: [b.conv(image(b), 8, 5, 2, groups=4)],
    "batch norm": lambda b: [b.batch_norm(image(b))],
    "max pool": lambda b: [b.pool("MaxPool", image(b), 3, 2, 1)],
    "max pool rounded up": lambda b: [b.pool("MaxPool", image(b, height=8), 3, 2, ceil=True)],
    "average pool": lambda b: [b.pool("AveragePool", image(b), 3, 2, 1, count_include_pad=True)],
    "global pool": lambda b: [b.global_average_pool(image(b))],
    "matmul": lambda b: [b.matmul(b.input((5, 1, 7, 3)), b.input((2, 3, 4)))],
    "linear": lambda b: [b.linear(tokens(b), 5)],
    "gemm": lambda b: [b.gemm(b.input((2, 6)), 5)],
    "reshape": lambda b: [b.reshape(tokens(b), (14, 12))],
    "flatten": lambda b: [b.flatten(image(b))],
    "transpose": lambda b: [b.transpose(tokens(b), (2, 0, 1))],
    "concat": lambda b: [b.concat([image(b, 3), image(b, 5)])],
    "slice": lambda b: [b.slice(tokens(b), 1, -5, 100)],
    "split": lambda b: b.split(tokens(b), [3, 9], 2),
    "softmax": lambda b: [b.softmax(tokens(b))],
    "layer norm": lambda b: [b.layer_norm(tokens(b))],
    "embedding": lambda b: [b.embedding(b.input((2, 7), "int64"), 30, 8)],
    "lstm": lambda b: [b.lstm(b.input((7, 2, 3)), 5)],
}


def built(name: str) -> Graph:
    b = GraphBuilder(name)
    return b.build(*LAYERS[name](b))


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_and_types_are_those_that_onnx_infers(name):
    graph = built(name)
    assert graph.values == onnx_io.infer_types(replace(graph, values=())).values
    onnx_io.to_model(graph)  # raises where ONNX's checker finds fault


def test_the_lstm_hides_its_direction_axis():
    assert built("lstm").shape(built("lstm").outputs[0]) == (7, 2, 5)


def test_weights_of_a_convolution_are_grouped():
    assert [t.shape for t in built("depthwise conv").weights] == [(8, 1, 5, 5)]


def test_an_output_left_out_has_an_empty_name_and_no_type():
    b = GraphBuilder("g")
    names = b.nodes("LSTM", [b.input((7, 2, 3))], [None, ("float32", (1, 2, 5)), ("float32", (1, 2, 5))])
    assert names == ["", "LSTM_0_1", "LSTM_0_2"]
    assert [t.name for t in b.build(names[1]).values] == ["LSTM_0_1", "LSTM_0_2"]


def test_attributes_that_are_none_are_left_out_and_lists_become_tuples():
    b = GraphBuilder("g")
    graph = b.build(b.node("Odd", [b.input((1,))], (1,), a=None, b=[1, 2]))
    assert graph.nodes[0].attributes == (("b", (1, 2)),)


def test_constants_are_lists_scalars_or_of_a_given_shape():
    b = GraphBuilder("g")
    names = [b.constant([1, 2]), b.constant([3], scalar=True), b.constant([1, 2, 3, 4], shape=(2, 2))]
    assert [b.shape(n) for n in names] == [(2,), (), (2, 2)]
    assert [b.dtype(n) for n in names] == ["int64"] * 3


def test_a_built_graph_carries_its_name_and_opset():
    b = GraphBuilder("named", opset=13)
    graph = b.build(b.relu(b.input((1,), "float16", "x")))
    assert (graph.name, graph.opsets) == ("named", (("", 13),))
    assert graph.inputs == (Tensor("x", "float16", (1,)),)
    assert graph.type_of(graph.outputs[0]).dtype == "float16"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b: b.build(), "graph 'g' needs at least one output"),
        (lambda b: b.conv(image(b), 6, groups=4), "of 4 to 6 channels cannot have 4 groups"),
        (lambda b: b.conv(image(b), 6, 12, pad=0), r"a window of 12 \(dilation 1\) does not fit 9 \+ 0 padding"),
        (lambda b: b.matmul(b.input((2, 3)), b.input((4, 5))), r"shapes \(2, 3\) and \(4, 5\)"),
        (lambda b: b.reshape(tokens(b), (5, 5)), r"cannot reshape \(2, 7, 12\) to \(5, 5\)"),
        (lambda b: b.add(b.input((2,)), b.input((3,))), r"shapes \(2,\) and \(3,\) do not broadcast"),
        (lambda b: (b.input((2,), name="x"), b.input((3,), name="x")), "already has a tensor 'x'"),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(InputError, match=message):
        build(GraphBuilder("g"))


@block
def scaled(b: GraphBuilder, x: str, by: float, bias: bool = False) -> str:
    y = b.mul(x, b.constant([by], "float32", scalar=True))
    return b.bias(y) if bias else y


def test_a_block_at_the_same_place_of_another_network_is_the_same_operators():
    graphs = []
    for _ in range(2):
        b = GraphBuilder("g")
        graphs.append(b.build(scaled(b, scaled(b, tokens(b), 2.0), 2.0, bias=True)))
    first, second = graphs
    assert [node.name for node in first.nodes] == ["Mul_0", "Mul_1", "Add_2"]
    assert all(a is b for a, b in zip(first.nodes, second.nodes, strict=True))


def test_equal_sizes_of_two_types_are_two_blocks():
    values = []
    for by in (1, 1.0, True):
        b = GraphBuilder("g")
        values.append(repr(b.build(scaled(b, tokens(b), by)).constants[0].values))
    assert values == ["(1,)", "(1.0,)", "(True,)"]


def test_a_block_does_not_replace_a_tensor_of_the_user():
    b = GraphBuilder("g")
    x = tokens(b)
    b.input((2,), name="Mul_0")
    for _ in range(2):
        with pytest.raises(InputError, match="already has a tensor 'Mul_0'"):
            scaled(b, x, 2.0)


# -- arithmetic of shapes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [((), (), ()), ((3,), (), (3,)), ((2, 1, 4), (3, 1), (2, 3, 4)), ((1,), (0,), (0,))],
)
def test_broadcasting_is_that_of_numpy(a, b, result):
    assert broadcast(a, b) == broadcast(b, a) == result


@given(
    size=st.integers(1, 30), kernel=st.integers(1, 7), stride=st.integers(1, 4), padding=st.integers(0, 6),
    dilation=st.integers(1, 3),
)  # fmt: skip
def test_a_window_s_steps_are_the_places_where_it_fits(size, kernel, stride, padding, dilation):
    last = size + padding - (dilation * (kernel - 1) + 1)
    if last < 0:
        with pytest.raises(InputError, match="does not fit"):
            window(size, kernel, stride, padding, dilation)
    else:
        assert window(size, kernel, stride, padding, dilation) == len(range(0, last + 1, stride))


@pytest.mark.parametrize(("size", "steps"), [(7, 3), (8, 4), (9, 4)])
def test_rounding_up_adds_the_window_that_hangs_over(size, steps):
    assert window(size, 3, 2, 0, ceil=True) == steps


def test_sizes_that_numpy_made_become_pythons_own():
    """They are equal, so a network of such sizes must not decide what later ones hold: JSON has no NumPy numbers."""
    sizes = np.array([1, 5, 13, 13])
    for size in (sizes, sizes.tolist()):
        b = GraphBuilder("sized")
        x = b.pool("MaxPool", b.conv(b.input(size), size[1], 3, stride=size[0]), size[1] - 2, size[0])
        assert Graph.from_json(b.build(x).to_json()).shape(x) == (1, 5, 11, 11)
