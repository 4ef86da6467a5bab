import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor


def run(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Every output of the graph's random model, by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = onnx_io.to_model(graph, seed).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, onnx_io.random_inputs(graph, seed))


def with_all_outputs(graph: Graph, *names: str) -> Graph:
    return replace(graph, outputs=(*graph.outputs, *names))


# -- networks that run -------------------------------------------------------------------------------


def residual_network(blocks: int, norm: bool = False) -> Graph:
    b = GraphBuilder("residual")
    x = b.relu(b.conv(b.input((1, 3, 16, 16)), 16, 3, bias=True))
    for _ in range(blocks):
        y = b.conv(x, 16, 3)
        y = b.relu(b.batch_norm(y) if norm else y)
        y = b.conv(y, 16, 3, bias=True)
        x = b.relu(b.add(x, b.batch_norm(y) if norm else y))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


def plain_network(layers: int, kind: str) -> Graph:
    b = GraphBuilder("plain")
    x = b.input((1, 16, 16, 16))
    for _ in range(layers):
        x = b.conv(x, 16, 3)
        x = b.relu(x) if kind == "relu" else b.clip(x, 0.0, 6.0) if kind == "relu6" else x
    return b.build(x)


def transformer(layers: int) -> Graph:
    b = GraphBuilder("transformer")
    ids = b.input((1, 12), "int64", "ids")
    x = b.layer_norm(b.add(b.embedding(ids, 100, 32), b.weight((1, 12, 32))))
    for _ in range(layers):
        q, k, v = (b.linear(x, 32) for _ in range(3))
        scores = b.binary("Div", b.matmul(q, b.transpose(k, (0, 2, 1))), b.constant([32**0.5], "float32", scalar=True))
        x = b.layer_norm(b.add(x, b.linear(b.matmul(b.softmax(scores), v), 32)))
        x = b.layer_norm(b.add(x, b.linear(b.gelu(b.linear(x, 128)), 32)))
    return b.build(x)


def recurrent(op: str) -> Graph:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    b = GraphBuilder(op)
    weights = [b.weight((1, gates * 24, 8)), b.weight((1, gates * 24, 24)), b.weight((1, gates * 48))]
    x = b.input((20, 2, 8))
    return b.build(b.nodes(op, [x, *weights], [("float32", (20, 1, 2, 24))], hidden_size=24)[0])


NETWORKS = {
    "residual": residual_network(50),
    "residual with batch norm": residual_network(50, norm=True),
    "relu": plain_network(50, "relu"),
    "relu6": plain_network(50, "relu6"),
    "linear": plain_network(50, "linear"),
    "transformer": transformer(12),
    "lstm": recurrent("LSTM"),
    "gru": recurrent("GRU"),
    "rnn": recurrent("RNN"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_neither_vanish_nor_explode_over_fifty_layers(name):
    graph = NETWORKS[name]
    (y,) = run(graph)
    assert np.isfinite(y).all()
    assert 1e-3 < y.std() < 1e3


def test_every_activation_of_a_deep_network_stays_far_from_the_range_of_float16():
    graph = NETWORKS["residual"]
    for y in run(with_all_outputs(graph, *(t.name for t in graph.values[:-1]))):
        assert np.abs(y).max() < 6e4
        assert y.std() > 1e-4


def test_another_seed_gives_other_weights():
    (a,), (b,) = run(NETWORKS["relu"], seed=0), run(NETWORKS["relu"], seed=1)
    assert not np.allclose(a, b)


def test_the_model_of_a_seed_is_always_the_same(tiny_graph):
    assert onnx_io.to_model(tiny_graph, 5).SerializeToString() == onnx_io.to_model(tiny_graph, 5).SerializeToString()


def test_the_runtime_keeps_every_layer_since_no_weight_is_neutral():
    """ONNX Runtime removes an Add of exact zeros and a Mul by exact ones."""
    b = GraphBuilder("neutral")
    x = b.input((1, 1))
    graph = b.build(b.mul(b.add(x, b.weight((1,))), b.weight((1,))))
    weights = [numpy_helper.to_array(t) for t in onnx_io.to_model(graph).graph.initializer]
    assert all(w not in (0.0, 1.0) for w in weights)


# -- other types -------------------------------------------------------------------------------------


def test_half_precision_runs():
    b = GraphBuilder("half")
    x = b.input((1, 3, 8, 8), "float16")
    (y,) = run(b.build(b.relu(b.conv(x, 4, 3, bias=True))))
    assert y.dtype == np.float16
    assert np.isfinite(y).all()
    assert y.std() > 0.1


def test_bfloat16_weights_hold_the_values_they_were_drawn_with():
    b = GraphBuilder("brain")
    w = b.weight((64, 64), "bfloat16")
    y = b.matmul(b.input((1, 64)), b.node("Cast", [w], (64, 64), "float32", to=1))
    (out,) = run(b.build(y))
    assert 0.3 < out.std() < 3


def test_double_precision_runs():
    b = GraphBuilder("double")
    (y,) = run(b.build(b.gemm(b.input((1, 64), "float64"), 64)))
    assert y.dtype == np.float64
    assert y.std() > 0.1


def test_a_weight_without_random_values_is_named():
    b = GraphBuilder("text")
    graph = b.build(b.node("Equal", [b.input((2,), "string"), b.weight((2,), "string", "words")], (2,), "bool"))
    with pytest.raises(InputError, match="'words' has type 'string'"):
        onnx_io.to_model(graph)


def test_a_custom_operator_s_unknown_output_type_is_left_to_the_runtime():
    node = Node("QLinearSigmoid", ("x", "s", "p", "s", "p"), ("y",), domain="com.microsoft")
    graph = Graph(
        (Tensor("x", "uint8", (1, 64)),), ("y",), (node,),
        (Tensor("s", "float32", ()), Tensor("p", "uint8", ())), opsets=(("", 17), ("com.microsoft", 1)),
    )  # fmt: skip
    (y,) = run(graph)
    assert y.shape == (1, 64)
    assert len(np.unique(y)) > 10


def test_a_graph_that_is_no_valid_onnx_is_refused_in_one_line():
    graph = Graph((Tensor("x", "float32", (1,)),), ("y",), (Node("Relu", ("x", "x"), ("y",)),), name="odd")
    with pytest.raises(InputError, match="'odd' is not valid ONNX") as caught:
        onnx_io.to_model(graph)
    assert "\n" not in str(caught.value)


# -- quantized networks ------------------------------------------------------------------------------


def q_dq(b: GraphBuilder, x: str, dtype: str) -> str:
    scale, point = b.weight((), "float32"), b.weight((), dtype)
    q = b.node("QuantizeLinear", [x, scale, point], b.shape(x), dtype)
    return b.node("DequantizeLinear", [q, scale, point], b.shape(x), "float32")


def dequantized(b: GraphBuilder, shape: tuple[int, ...], dtype: str, per_channel: bool = False) -> str:
    shape_of_scale = shape[:1] if per_channel else ()
    inputs = [b.weight(shape, dtype), b.weight(shape_of_scale), b.weight(shape_of_scale, dtype)]
    return b.node("DequantizeLinear", inputs, shape, "float32", axis=0 if per_channel else None)


def quantized_network(activation: str, weight: str) -> Graph:
    b = GraphBuilder("quantized")
    x = q_dq(b, b.input((1, 8, 8, 8)), activation)
    for _ in range(10):
        w, bias = dequantized(b, (8, 8, 3, 3), weight, per_channel=True), dequantized(b, (8,), "int32")
        y = b.node(
            "Conv", [x, w, bias], b.shape(x),
            kernel_shape=(3, 3), pads=(1, 1, 1, 1), strides=(1, 1), dilations=(1, 1), group=1,
        )  # fmt: skip
        x = q_dq(b, b.relu(b.add(q_dq(b, y, activation), x)), activation)
    logits = q_dq(b, b.matmul(b.flatten(x), dequantized(b, (512, 10), weight)), activation)
    return b.build(q_dq(b, b.softmax(logits), activation))


@pytest.mark.parametrize(("activation", "weight"), [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
def test_a_quantized_network_uses_its_range(activation, weight):
    graph = quantized_network(activation, weight)
    quantized = [n.outputs[0] for n in graph.nodes if n.op == "QuantizeLinear"]
    y, *levels = run(with_all_outputs(graph, *quantized))
    assert len(np.unique(y)) > 2
    for level in levels[:-1]:
        assert len(np.unique(level)) > 8
        saturated = np.isin(level, [np.iinfo(level.dtype).min, np.iinfo(level.dtype).max]).mean()
        assert saturated < 0.25


def test_operators_on_integers_run():
    """QLinearConv on [1, 4, 8, 8] with 4 output channels: x, scale, point; w, scales, points; scale, point; bias."""
    b = GraphBuilder("qlinear")
    x = b.input((1, 4, 8, 8), "uint8")
    rest = [
        b.weight(()), b.weight((), "uint8"), b.weight((4, 4, 3, 3), "int8"), b.weight((4,)), b.weight((4,), "int8"),
        b.weight(()), b.weight((), "uint8"), b.weight((4,), "int32"),
    ]  # fmt: skip
    (y,) = run(b.build(b.node("QLinearConv", [x, *rest], (1, 4, 8, 8), pads=(1, 1, 1, 1))))
    assert len(np.unique(y)) > 20
    assert np.isin(y, [0, 255]).mean() < 0.5


def test_weights_quantized_at_run_time_keep_the_scale_of_activations():
    """What onnxruntime's quantize_dynamic makes of a linear layer."""
    b = GraphBuilder("dynamic")
    x = b.input((4, 64))
    for _ in range(6):
        q, scale, point = b.nodes("DynamicQuantizeLinear", [x], [("uint8", (4, 64)), ("float32", ()), ("uint8", ())])
        y = b.node("MatMulInteger", [q, b.weight((64, 64), "int8"), point, b.weight((), "int8")], (4, 64), "int32")
        y = b.node("Cast", [y], (4, 64), "float32", to=1)
        x = b.mul(y, b.mul(scale, b.weight(())))
    (y,) = run(b.build(x))
    assert 1e-3 < y.std() < 1e3


def test_four_bit_weights_run():
    b = GraphBuilder("int4", opset=21)
    w = dequantized(b, (64, 32), "int4")
    (y,) = run(b.build(b.matmul(b.input((1, 64)), w)))
    assert 0.3 < y.std() < 3


# -- control flow ------------------------------------------------------------------------------------


def test_weights_inside_and_captured_by_a_control_flow_body_run():
    def branch(name: str, weight: str, own: tuple[Tensor, ...]) -> Graph:
        typed = (Tensor(name, "float32", (1, 16)),)
        return Graph((), (name,), (Node("MatMul", ("x", weight), (name,)),), own, values=typed)

    inner = branch("t", "inner", (Tensor("inner", "float32", (16, 16)),))
    outer = branch("e", "outer", ())
    graph = Graph(
        (Tensor("x", "float32", (1, 16)), Tensor("c", "bool", ())),
        ("y", "z"),
        tuple(
            Node("If", (c,), (out,), (("then_branch", inner), ("else_branch", outer)))
            for c, out in (("c", "y"), ("no", "z"))
        ),
        (Tensor("outer", "float32", (16, 16)),),
        (Constant("no", "bool", (), (False,)),),
        (Tensor("y", "float32", (1, 16)), Tensor("z", "float32", (1, 16))),
    )
    y, z = run(graph)
    assert 0.2 < y.std() < 4
    assert 0.2 < z.std() < 4
    assert not np.allclose(y, z)


# -- inputs ------------------------------------------------------------------------------------------


def test_indices_stay_in_the_smallest_table_that_they_index_through_moves_and_casts():
    b = GraphBuilder("tables")
    ids = b.input((4, 64), "int64", "ids")
    wide = b.embedding(ids, 50, 8)
    moved = b.node("Cast", [b.reshape(ids, (64, 4))], (64, 4), "int32", to=6)
    narrow = b.embedding(moved, 5, 8)
    values = onnx_io.random_inputs(b.build(wide, narrow))["ids"]
    assert values.dtype == np.int64
    assert set(values.ravel()) == {0, 1, 2, 3, 4}


def test_a_mask_hides_nothing():
    b = GraphBuilder("mask")
    x, mask = b.input((2, 3)), b.input((2, 3), "bool", "mask")
    ones = b.input((2, 3), "int64", "ones")
    y = b.node("Where", [mask, x, b.node("Cast", [ones], (2, 3), "float32", to=1)], (2, 3), "float32")
    values = onnx_io.random_inputs(b.build(y))
    assert values["mask"].all()
    assert (values["ones"] == 1).all()


def test_lengths_of_sequences_are_whole():
    b = GraphBuilder("lengths")
    x, lengths = b.input((20, 2, 8)), b.input((2,), "int32", "lengths")
    weights = [b.weight((1, 96, 8)), b.weight((1, 96, 24)), b.weight((1, 192))]
    y = b.nodes("LSTM", [x, *weights, lengths], [("float32", (20, 1, 2, 24))], hidden_size=24)[0]
    assert onnx_io.random_inputs(b.build(y))["lengths"].tolist() == [20, 20]


def test_bytes_cover_their_range():
    b = GraphBuilder("image")
    x = b.input((1, 3, 64, 64), "uint8", "x")
    values = onnx_io.random_inputs(b.build(b.node("Cast", [x], (1, 3, 64, 64), "float32", to=1)))["x"]
    assert (values.dtype, values.min(), values.max()) == (np.uint8, 1, 255)


def test_floats_come_in_their_own_type_with_unit_deviation():
    b = GraphBuilder("floats")
    x = b.input((100, 100), "float16", "x")
    values = onnx_io.random_inputs(b.build(b.relu(x)))["x"]
    assert values.dtype == np.float16
    assert abs(values.std() - 1) < 0.05


def test_every_model_names_an_ir_version_that_the_oldest_supported_runtime_reads(tiny_graph):
    assert onnx_io.to_model(tiny_graph).ir_version == 10
    onnx.checker.check_model(onnx_io.to_model(tiny_graph), full_check=True)


def test_a_training_starts_from_the_deviations_of_its_operators():
    b = GraphBuilder("start")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 64, 4, 4)), 64, 3)))
    words = b.embedding(b.input((1, 4), "int64"), 500, 64)
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(x)), 500), b.layer_norm(words))
    drawn = onnx_io.initial_weights(graph)
    deviations = {name: float(drawn[name].std()) for name in ("w0", "w5", "w6")}
    assert deviations["w0"] == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)  # He et al. before a ReLU
    assert deviations["w5"] == pytest.approx(0.02, rel=0.05)  # rows of a table
    assert deviations["w6"] == pytest.approx(64**-0.5, rel=0.05)  # LeCun without one
    levels = {name: set(array.tolist()) for name, array in drawn.items() if array.ndim == 1}
    assert levels == {"w1": {1}, "w2": {0}, "w3": {0}, "w4": {1}, "w7": {0}, "w8": {1}, "w9": {0}}


def test_a_training_starts_from_the_same_weights_for_one_seed(tiny_graph):
    first, again, other = (onnx_io.initial_weights(tiny_graph, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)
