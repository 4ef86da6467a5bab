"""Every kind of rule of `hwprof.cost` against numbers worked out by hand, on the smallest graphs that tell."""

import dataclasses

import pytest
from onnxruntime import quantization

from hwprof import cost, onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node, Tensor
from hwprof.workloads import lstm

FLOAT = 4  # bytes


def single(op, inputs, output, *, domain="", outputs=1, weights=0, **attributes) -> Graph:
    """A graph of one node. inputs: (dtype, shape), or None for one left out; the last `weights` are weights."""
    b = GraphBuilder("single")
    first_weight = len(inputs) - weights
    names = [
        "" if kind is None else b.weight(kind[1], kind[0]) if i >= first_weight else b.input(kind[1], kind[0])
        for i, kind in enumerate(inputs)
    ]
    return b.build(*b.nodes(op, names, [output] * outputs, domain=domain, **attributes))


def f32(*shape):
    return ("float32", shape)


def work(graph):
    counted = cost.of(graph)
    return counted.macs, counted.element_ops


def traffic(graph):
    counted = cost.of(graph)
    return counted.read_bytes, counted.written_bytes


# -- matrix-like


def test_a_convolution_counts_one_filter_per_output_element_and_its_bias_apart():
    b = GraphBuilder("conv")
    x = b.input((1, 3, 8, 8))
    counted = cost.of(b.build(b.conv(x, 16, 3, stride=2, bias=True)))
    outputs = 16 * 4 * 4
    assert counted.macs == outputs * 3 * 3 * 3
    assert counted.element_ops == outputs
    assert counted.parameters == 16 * 3 * 9 + 16
    assert counted.read_bytes == FLOAT * (3 * 64 + 16 * 27 + 16)
    assert counted.written_bytes == FLOAT * outputs
    assert counted.moved_bytes == counted.read_bytes + counted.written_bytes


def test_a_depthwise_convolution_meets_one_channel_per_output():
    b = GraphBuilder("depthwise")
    x = b.input((2, 8, 6, 6))
    assert work(b.build(b.conv(x, 8, 5, groups=8))) == (2 * 8 * 36 * 25, 0)


def test_a_transposed_convolution_spreads_every_input_element_over_a_filter():
    graph = single("ConvTranspose", [f32(1, 4, 5, 5), f32(4, 3, 2, 2), f32(3)], f32(1, 3, 10, 10), strides=(2, 2))
    assert work(graph) == (4 * 25 * 3 * 4, 3 * 100)


@pytest.mark.parametrize(("transposed", "shape"), [(0, (2, 5)), (1, (5, 2))])
def test_gemm_finds_its_depth_also_in_a_transposed_input(transposed, shape):
    graph = single("Gemm", [f32(*shape), f32(5, 7), f32(7)], f32(2, 7), transA=transposed)
    assert work(graph) == (2 * 5 * 7, 2 * 7)


def test_a_batched_matmul_repeats_the_product():
    assert work(single("MatMul", [f32(2, 3, 4, 5), f32(5, 6)], f32(2, 3, 4, 6))) == (2 * 3 * 4 * 5 * 6, 0)


def test_a_matmul_of_vectors_is_one_dot_product():
    assert work(single("MatMul", [f32(9), f32(9)], f32())) == (9, 0)


@pytest.mark.parametrize(
    ("equation", "shapes", "output", "expected"),
    [
        ("bhid,bhjd->bhij", [(2, 3, 4, 8), (2, 3, 5, 8)], (2, 3, 4, 5), (2 * 3 * 4 * 5 * 8, 0)),
        ("...ij,jk->...ik", [(2, 3, 4, 5), (5, 6)], (2, 3, 4, 6), (2 * 3 * 4 * 6 * 5, 0)),
        ("ij,jk", [(4, 5), (5, 6)], (4, 6), (4 * 6 * 5, 0)),
        ("ij,ij->", [(4, 5), (4, 5)], (), (20, 0)),
        ("i,j->ij", [(4,), (5,)], (4, 5), (0, 20)),
        ("ij->i", [(4, 5)], (4,), (0, 20)),
        ("ij->", [(4, 5)], (), (0, 20)),
    ],
)
def test_einsum_sums_over_the_labels_that_the_result_lacks(equation, shapes, output, expected):
    assert work(single("Einsum", [f32(*s) for s in shapes], f32(*output), equation=equation)) == expected


def test_einsum_of_three_operands_is_unknown():
    graph = single("Einsum", [f32(2, 2)] * 3, f32(2, 2), equation="ij,jk,kl->il")
    with pytest.raises(UnknownOperatorError, match="Einsum 'Einsum_0' of 3 operands"):
        cost.of(graph)


def test_an_lstm_multiplies_two_matrices_per_step():
    b = GraphBuilder("lstm")
    x = b.input((5, 2, 3))
    counted = cost.of(b.build(b.lstm(x, 4)))
    assert counted.macs == 5 * 2 * 4 * 4 * (3 + 4)
    # Per unit: three sigmoids, two tanh, three products, one sum and four biases.
    assert counted.element_ops == 5 * 2 * 4 * 13
    assert counted.parameters == 4 * 4 * (3 + 4) + 8 * 4


def test_a_bidirectional_gru_counts_both_directions():
    graph = single("GRU", [f32(5, 1, 3), f32(2, 12, 3), f32(2, 12, 4)], f32(5, 2, 1, 4), direction="bidirectional")
    assert work(graph) == (5 * 2 * 12 * (3 + 4), 5 * 2 * 4 * 8)


def test_a_plain_recurrence_has_one_gate():
    graph = single("RNN", [f32(5, 1, 3), f32(1, 4, 3), f32(1, 4, 4), f32(1, 8)], f32(5, 1, 1, 4))
    assert work(graph) == (5 * 4 * 7, 5 * 4 * 2)


def test_a_quantized_lstm_with_transposed_weights_counts_like_the_float_one():
    kinds = [f32(5, 2, 3), ("int8", (1, 3, 16)), ("int8", (1, 4, 16)), f32(1, 32)]
    graph = single("DynamicQuantizeLSTM", kinds, f32(5, 1, 2, 4), domain="com.microsoft", weights=3)
    assert work(graph) == (5 * 2 * 16 * 7, 5 * 2 * 4 * 13)


def test_attention_counts_both_products_of_every_head():
    graph = single("Attention", [f32(2, 4, 6, 8), f32(2, 4, 7, 8), f32(2, 4, 7, 16)], f32(2, 4, 6, 16))
    scores = 2 * 4 * 6 * 7
    assert work(graph) == (scores * (8 + 16), scores * 6)


def test_attention_over_merged_heads_counts_the_same():
    graph = single(
        "Attention", [f32(2, 6, 32), f32(2, 7, 32), f32(2, 7, 64)], f32(2, 6, 64), q_num_heads=4, kv_num_heads=4
    )
    assert cost.of(graph).macs == 2 * 4 * 6 * 7 * (8 + 16)


def test_attention_looks_back_at_the_past_keys():
    kinds = [f32(1, 2, 1, 8), f32(1, 2, 1, 8), f32(1, 2, 1, 8), None, f32(1, 2, 9, 8), f32(1, 2, 9, 8)]
    assert cost.of(single("Attention", kinds, f32(1, 2, 1, 8))).macs == 2 * 10 * (8 + 8)


# -- integer kin

INT8_SCALE = [f32(), ("uint8", ())]


def test_a_quantized_convolution_requantizes_every_output():
    kinds = [("uint8", (1, 3, 4, 4)), *INT8_SCALE, ("int8", (8, 3, 1, 1)), *INT8_SCALE, *INT8_SCALE, ("int32", (8,))]
    counted = cost.of(single("QLinearConv", kinds, ("uint8", (1, 8, 4, 4))))
    assert (counted.macs, counted.element_ops) == (8 * 16 * 3, 2 * 8 * 16)
    assert counted.read_bytes == 48 + 24 + 3 * (4 + 1) + 8 * 4
    assert counted.written_bytes == 8 * 16


def test_integer_products_count_like_float_ones_but_move_a_byte_per_element():
    graph = single("MatMulInteger", [("uint8", (3, 4)), ("int8", (4, 5))], ("int32", (3, 5)))
    assert (work(graph), traffic(graph)) == ((60, 0), (12 + 20, 15 * 4))
    convolution = single("ConvInteger", [("uint8", (1, 3, 4, 4)), ("int8", (8, 3, 1, 1))], ("int32", (1, 8, 4, 4)))
    assert work(convolution) == (8 * 16 * 3, 0)
    product = [("uint8", (3, 4)), *INT8_SCALE, ("int8", (4, 5)), *INT8_SCALE, *INT8_SCALE]
    assert work(single("QLinearMatMul", product, ("uint8", (3, 5)))) == (60, 15)


def test_quantize_and_dequantize_are_one_operation_per_element():
    quantize = single("QuantizeLinear", [f32(2, 8), *INT8_SCALE], ("uint8", (2, 8)))
    assert (work(quantize), traffic(quantize)) == ((0, 16), (64 + 5, 16))
    assert work(single("DequantizeLinear", [("int4", (2, 8)), f32()], f32(2, 8))) == (0, 16)


def test_four_bit_weights_take_half_a_byte():
    assert traffic(single("DequantizeLinear", [("int4", (2, 8)), f32()], f32(2, 8))) == (8 + 4, 64)


def test_dynamic_quantization_looks_for_the_range_first():
    assert work(single("DynamicQuantizeLinear", [f32(4, 4)], ("uint8", (4, 4)))) == (0, 3 * 16)


# -- element-wise, normalization, pooling, reductions


@pytest.mark.parametrize("op", ["Relu", "Erf", "Gelu", "HardSwish", "Cast", "Sqrt"])
def test_a_function_of_one_element_counts_once(op):
    assert work(single(op, [f32(2, 3)], f32(2, 3))) == (0, 6)


def test_a_broadcast_operand_is_read_once():
    graph = single("Mul", [f32(1, 8, 4, 4), f32(1, 8, 1, 1)], f32(1, 8, 4, 4))
    assert (work(graph), traffic(graph)) == ((0, 128), (FLOAT * (128 + 8), FLOAT * 128))


def test_a_sum_of_three_tensors_is_two_additions_and_a_mean_divides_too():
    assert work(single("Sum", [f32(4)] * 3, f32(4))) == (0, 8)
    assert work(single("Mean", [f32(4)] * 3, f32(4))) == (0, 12)


def test_where_reads_its_condition_in_bytes():
    assert traffic(single("Where", [("bool", (4,)), f32(4), f32(4)], f32(4))) == (4 + 32, 16)


@pytest.mark.parametrize(
    ("op", "per_element"),
    [("BatchNormalization", 2), ("LayerNormalization", 7), ("GroupNormalization", 7), ("InstanceNormalization", 7),
     ("RMSNormalization", 4), ("Softmax", 5), ("LogSoftmax", 5)],
)  # fmt: skip
def test_a_normalization_passes_over_its_input_several_times(op, per_element):
    assert work(single(op, [f32(2, 6)], f32(2, 6))) == (0, per_element * 12)


def test_a_batch_normalization_stores_four_numbers_per_channel():
    b = GraphBuilder("norm")
    assert cost.of(b.build(b.batch_norm(b.input((1, 5, 2, 2))))).parameters == 20


def test_local_response_normalization_adds_up_its_window():
    assert work(single("LRN", [f32(1, 8, 2, 2)], f32(1, 8, 2, 2), size=5)) == (0, 9 * 32)


def test_pooling_looks_at_every_element_of_the_window():
    b = GraphBuilder("pool")
    assert work(b.build(b.pool("MaxPool", b.input((1, 2, 8, 8)), 3, stride=2, pad=1))) == (0, 2 * 16 * 9)


def test_global_pooling_and_reductions_look_at_the_input_once():
    b = GraphBuilder("pool")
    assert work(b.build(b.global_average_pool(b.input((1, 2, 8, 8))))) == (0, 128)
    assert work(single("ReduceMean", [f32(2, 8)], f32(2, 1))) == (0, 16)
    assert work(single("ReduceL2", [f32(2, 8)], f32(2, 1))) == (0, 32)


def test_top_k_compares_log_k_times():
    assert work(single("TopK", [f32(2, 100), ("int64", (1,))], f32(2, 8), outputs=2)) == (0, 200 * 3)


@pytest.mark.parametrize(("mode", "operations"), [("nearest", 0), ("linear", 4 * 64), ("cubic", 16 * 64)])
def test_resizing_reads_more_neighbours_the_smoother_it_is(mode, operations):
    kinds = [f32(1, 1, 4, 4), None, f32(4)]
    assert work(single("Resize", kinds, f32(1, 1, 8, 8), mode=mode)) == (0, operations)


# -- copies, selections, views


@pytest.mark.parametrize("op", ["Transpose", "Pad", "DepthToSpace"])
def test_a_copy_computes_nothing_and_moves_everything(op):
    graph = single(op, [f32(2, 8)], f32(2, 8))
    assert (work(graph), traffic(graph)) == ((0, 0), (64, 64))


def test_an_embedding_reads_only_the_rows_it_takes_but_stores_them_all():
    b = GraphBuilder("embedding")
    counted = cost.of(b.build(b.embedding(b.input((7,), "int64"), 10_000, 16)))
    assert counted.parameters == 160_000
    assert counted.read_bytes == 7 * 16 * FLOAT + 7 * 8
    assert counted.written_bytes == 7 * 16 * FLOAT


def test_a_slice_reads_what_it_keeps():
    b = GraphBuilder("slice")
    assert traffic(b.build(b.slice(b.input((1, 100)), 1, 0, 10))) == (10 * FLOAT + 3 * 8, 10 * FLOAT)


@pytest.mark.parametrize("op", ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"])
def test_a_view_costs_nothing(op):
    assert dataclasses.astuple(cost.of(single(op, [f32(2, 8)], f32(16)))) == (0, 0, 0, 0, 0)


def test_asking_for_a_shape_reads_no_element():
    assert traffic(single("Shape", [f32(2, 8)], ("int64", (2,)))) == (0, 16)


def test_every_output_of_a_split_is_written():
    b = GraphBuilder("split")
    assert traffic(b.build(*b.split(b.input((1, 8)), [2, 6], axis=1))) == (8 * FLOAT + 16, 8 * FLOAT)


# -- graphs


def test_a_shared_weight_is_stored_once_and_read_twice():
    b = GraphBuilder("shared")
    w = b.weight((4, 4))
    graph = b.build(b.matmul(b.matmul(b.input((1, 4)), w), w))
    assert cost.of(graph).parameters == 16
    assert [c.parameters for c in cost.of_nodes(graph)] == [16, 16]
    assert cost.of(graph).read_bytes == 2 * (4 + 16) * FLOAT


def test_a_dead_branch_counts_until_the_caller_drops_it():
    b = GraphBuilder("dead")
    x = b.input((1, 4, 2, 2))
    b.conv(x, 8)
    graph = b.build(b.relu(x))
    assert cost.of(graph).macs == 8 * 4 * 4
    assert cost.of(graph.live()).macs == 0


def test_a_graph_without_operators_costs_nothing():
    graph = Graph(inputs=(Tensor("x", "float32", (1,)),), outputs=("x",), nodes=())
    assert dataclasses.astuple(cost.of(graph)) == (0, 0, 0, 0, 0)


def test_the_cost_of_one_node_is_its_share_of_the_graph():
    b = GraphBuilder("two")
    graph = b.build(b.relu(b.conv(b.input((1, 3, 4, 4)), 8)))
    assert cost.of_node(graph, graph.nodes[0]) == cost.of_nodes(graph)[0]
    assert cost.of_node(graph, graph.nodes[0]).parameters == 24
    assert cost.of_node(graph, graph.nodes[1]).parameters == 0


def test_a_network_that_onnx_runtime_quantized_has_the_multiply_adds_of_the_float_one(tmp_path):
    graph = lstm.lstm_language_model("lm", layers=1, hidden=16, steps=3, vocabulary=20)
    onnx_io.save(graph, tmp_path / "float.onnx")
    quantization.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    quantized = onnx_io.load(tmp_path / "int8.onnx")
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= {node.op for node in quantized.nodes}
    assert cost.of(quantized).macs == cost.of(graph).macs == 3 * (4 * 16 * 32 + 16 * 20)


# -- what is not known


def test_an_unknown_operator_raises_with_its_name_and_the_nodes():
    graph = single("Teleport", [f32(1)], f32(1))
    with pytest.raises(UnknownOperatorError, match="Teleport 'Teleport_0'"):
        cost.of(graph)
    with pytest.raises(UnknownOperatorError, match="Teleport"):
        cost.of_node(graph, graph.nodes[0])


def test_an_operator_of_another_domain_is_not_taken_for_onnxs_own():
    graph = single("Conv", [f32(1, 1, 1, 1), f32(1, 1, 1, 1)], f32(1, 1, 1, 1), domain="com.example")
    with pytest.raises(UnknownOperatorError, match=r"com\.example\.Conv"):
        cost.of(graph)
    assert cost.unknown_operators(graph) == ("com.example.Conv",)


def test_control_flow_is_unknown_because_its_work_depends_on_data():
    graph = single("If", [("bool", ())], f32(1))
    with pytest.raises(UnknownOperatorError, match="If"):
        cost.of(graph)


def test_unknown_operators_are_listed_once_and_sorted():
    b = GraphBuilder("unknown")
    x = b.input((1,))
    for op in ("Zap", "Relu", "Beam", "Zap"):
        x = b.unary(op, x)
    assert cost.unknown_operators(b.build(x)) == ("Beam", "Zap")


def test_a_tensor_of_unknown_shape_is_an_error_and_not_zero():
    graph = Graph(inputs=(Tensor("x", "float32", (4,)),), outputs=("y",), nodes=(Node("Relu", ("x",), ("y",)),))
    with pytest.raises(InputError, match="shape of tensor 'y' is not known"):
        cost.of(graph)


def test_a_type_that_no_rule_needs_may_be_unknown():
    # ONNX's inference does not know the mask of a Dropout from before opset 12.
    dropout = Node("Dropout", ("x",), ("y", "mask"))
    x, y = (Tensor(name, "float32", (4,)) for name in "xy")
    graph = Graph(inputs=(x,), outputs=("y",), nodes=(dropout,), values=(y,))
    assert cost.of(graph).moved_bytes == 0


def test_a_missing_input_is_an_error_that_names_the_operator():
    with pytest.raises(InputError, match=r"MatMul .* needs input 0"):
        cost.of(single("MatMul", [None, f32(2, 2)], f32(2, 2)))
