"""Where a quantized network loses."""

import json
from dataclasses import replace

import pytest

from hwprof import plugins, workloads
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measurement import OperatorTime
from hwprof.report.explanation import Kind, explain, rows
from hwprof.variants.quantize import quantize


def gated() -> Graph:
    """A convolution, a Tanh between it and the next."""
    b = GraphBuilder("gated")
    x = b.conv(b.input((1, 4, 8, 8)), 8, 3)
    return b.build(b.conv(b.unary("Tanh", x), 8, 3))


def plain() -> Graph:
    b = GraphBuilder("plain")
    return b.build(b.conv(b.relu(b.conv(b.input((1, 4, 8, 8)), 8, 3)), 8, 3))


def found(graph: Graph, kind: Kind, *times: OperatorTime, before: Graph | None = None) -> list[tuple[str, str]]:
    explanation = explain(before or graph, graph, (), times)
    return [(f.op, f.node) for f in explanation.findings if f.kind is kind]


# -- from the graphs alone -----------------------------------------------------------------------------


def test_a_network_quantized_throughout_has_no_finding():
    assert explain(plain(), quantize(plain())).findings == ()


def test_an_operator_without_integer_kernel_is_left_in_float():
    (finding,) = explain(gated(), quantize(gated())).findings
    assert (finding.kind, finding.op, finding.ns) == (Kind.FLOAT, "Tanh", None)
    assert finding.message == "the runtime has no integer kernel for Tanh"


def test_float_operators_at_the_ends_of_the_network_are_not_between_quantized_ones():
    b = GraphBuilder("net")
    x = b.unary("Tanh", b.input((1, 4, 8, 8)))
    graph = quantize(b.build(b.unary("Tanh", b.conv(x, 4))))
    assert "Tanh" in {n.op for n in graph.nodes}
    assert found(graph, Kind.FLOAT) == []


def without(graph: Graph, tensor: str) -> Graph:
    """The graph with the Q/DQ pair of a tensor taken out."""
    pair = {f"{tensor}_QuantizeLinear", f"{tensor}_DequantizeLinear"}
    bare = {f"{tensor}_DequantizeLinear_Output": tensor}
    nodes = [replace(n, inputs=tuple(bare.get(i, i) for i in n.inputs)) for n in graph.nodes if n.name not in pair]
    return replace(graph, nodes=tuple(nodes))


def test_a_missing_pair_leaves_the_operators_on_both_sides_in_float():
    b = GraphBuilder("net")
    x = b.conv(b.conv(b.conv(b.input((1, 4, 8, 8)), 4), 4), 4)
    graph = without(quantize(b.build(b.conv(x, 4))), "Conv_1")
    assert found(graph, Kind.FLOAT) == [("Conv", "Conv_1"), ("Conv", "Conv_2")]
    messages = [f.message for f in explain(graph, graph).findings if f.kind is Kind.UNFUSED]
    assert messages == [
        "Q/DQ around Conv cannot be fused: its output 'Conv_1' is not quantized",
        "Q/DQ around Conv cannot be fused: its input 'Conv_1' is not quantized",
    ]


def test_a_matrix_product_needs_no_pair_behind_it():
    b = GraphBuilder("net")
    y = b.linear(b.input((4, 8)), 8, bias=False)
    assert found(without(quantize(b.build(b.linear(y, 8, bias=False))), "MatMul_0"), Kind.UNFUSED) == [
        ("MatMul", "MatMul_1")
    ]


@pytest.mark.parametrize(
    ("types", "slow"), [(("uint8", "int8"), 0), (("int8", "int8"), 2), (("uint8", "uint8"), 2), (("int8", "uint8"), 0)]
)
def test_slow_combinations_of_types_on_x86(types, slow):
    assert len(found(quantize(plain(), *types), Kind.SLOW_TYPES)) == slow


def test_on_arm_signed_activations_are_fine():
    assert explain(plain(), quantize(plain(), "int8"), machine="aarch64").findings == ()


def test_the_product_of_two_activations_is_named():
    b = GraphBuilder("net")
    x = b.input((1, 4, 8))
    graph = quantize(b.build(b.matmul(x, b.transpose(x, (0, 2, 1)))))
    assert found(graph, Kind.SLOW_TYPES) == [("MatMul", "MatMul_1")]


def test_the_types_of_an_operator_without_pairs_are_read_too():
    b = GraphBuilder("net")
    x = b.input((1, 4, 8, 8), "int8")
    scale, zero = b.constant([0.1], "float32", scalar=True), b.constant([0], "int8", scalar=True)
    y = b.node("QLinearConv", [x, scale, zero, b.weight((4, 4, 1, 1), "int8"), scale, zero, scale, zero], (1, 4, 8, 8))
    assert found(b.build(y), Kind.SLOW_TYPES) == [("QLinearConv", "QLinearConv_0")]


# -- with the kernels that ran -------------------------------------------------------------------------


def test_conversions_that_ran_are_named_with_the_operator_that_wants_them():
    graph = quantize(gated())
    explanation = explain(
        gated(),
        graph,
        (),
        [
            OperatorTime("Conv_0", "QLinearConv", 500.0, ("Conv_0",)),
            OperatorTime("Conv_0_DequantizeLinear", "DequantizeLinear", 100.0, ("Conv_0_DequantizeLinear",)),
            OperatorTime("Tanh_1", "Tanh", 300.0, ("Tanh_1",)),
            OperatorTime("Tanh_1_QuantizeLinear", "QuantizeLinear", 50.0, ("Tanh_1_QuantizeLinear",)),
            OperatorTime("Conv_2", "QLinearConv", 50.0, ("Conv_2",)),
        ],
    )
    assert explanation.after_ns == 1000
    assert [(f.kind, f.op, f.ns, f.share) for f in explanation.findings] == [
        (Kind.FLOAT, "Tanh", 300.0, 0.3),
        (Kind.UNFUSED, "DequantizeLinear", 100.0, 0.1),
        (Kind.UNFUSED, "QuantizeLinear", 50.0, 0.05),
    ]
    assert explanation.findings[1].message == "dequantizes for Tanh 'Tanh_1', which computes in float"
    assert explanation.findings[2].message == "quantizes the float result of Tanh 'Tanh_1'"


@pytest.mark.parametrize(("ns", "count"), [(5.0, 0), (100.0, 1)])
def test_conversion_at_the_edge_counts_from_a_hundredth_on(ns, count):
    kernels = [
        OperatorTime("q", "QuantizeLinear", ns, ("input0_QuantizeLinear",)),
        OperatorTime("Conv_0", "QLinearConv", 1000.0, ("Conv_0",)),
    ]
    assert len(found(quantize(plain()), Kind.UNFUSED, *kernels)) == count


def test_a_float_kernel_between_pairs_is_found_by_what_ran():
    kernels = [OperatorTime("Conv_0", "FusedConv", 10.0, ("Conv_0",)), OperatorTime("Conv_2", "QLinearConv", 10.0)]
    (finding,) = [f for f in explain(plain(), quantize(plain()), (), kernels).findings if f.kind is Kind.FLOAT]
    assert finding.node == "Conv_0"
    assert finding.message == "the runtime kept the float kernel in spite of the Q/DQ pairs around it"


def test_a_kernel_slower_than_before_costs_the_difference():
    before = [OperatorTime("Conv_0", "Conv", 1000.0, ("Conv_0", "Relu_1")), OperatorTime("Conv_2", "Conv", 100.0)]
    after = [OperatorTime("Conv_0", "QLinearConv", 3500.0, ("Conv_0",)), OperatorTime("Conv_2", "QLinearConv", 105.0)]
    (finding,) = explain(plain(), quantize(plain()), before, after).findings
    assert (finding.kind, finding.node, finding.ns) == (Kind.SLOWER, "Conv_0", 2500.0)
    assert finding.share == pytest.approx(2500 / 3605)
    assert finding.message == "QLinearConv takes 3.5 us, 3.50 times its float counterpart"


def merged() -> Graph:
    """An Identity that the runtime merges into the convolution after it."""
    b = GraphBuilder("merged")
    return b.build(b.conv(b.unary("Identity", b.input((1, 4, 8, 8))), 8, 3))


def test_a_kernel_with_a_merged_identity_is_reported_under_its_convolution():
    before = [OperatorTime("Conv_1", "Conv", 100.0, ("Identity_0", "Conv_1"))]
    after = [OperatorTime("Conv_1", "QLinearConv", 600.0, ("Identity_0", "Conv_1"))]
    (finding,) = explain(merged(), merged(), before, after).findings
    assert (finding.node, finding.op, finding.ns) == ("Conv_1", "Conv", 500.0)


def test_a_merged_identity_without_its_convolution_is_named_by_its_kernel():
    before = [OperatorTime("Identity_0", "Identity", 100.0, ("Identity_0",))]
    after = [OperatorTime("other", "QLinearConv", 600.0, ("Identity_0", "other"))]
    (finding,) = explain(merged(), merged(), before, after).findings
    assert (finding.node, finding.op) == ("other", "QLinearConv")


def test_with_a_limit_of_0_a_faster_kernel_is_found_too():
    before, after = [OperatorTime("Conv_0", "Conv", 1000.0)], [OperatorTime("Conv_0", "QLinearConv", 400.0)]
    (finding,) = explain(plain(), plain(), before, after, slower_from=0.0).findings
    assert (finding.kind, finding.ns) == (Kind.SLOWER, -600.0)


def test_operators_in_one_kernel_are_told_once():
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 4, 8, 8)), 4)
    graph = quantize(b.build(b.conv(b.unary("Erf", b.unary("Tanh", x)), 4)))
    fused = OperatorTime("Tanh_1", "FusedTanhErf", 10.0, ("Tanh_1", "Erf_2"))
    assert found(graph, Kind.FLOAT, fused) == [("Tanh", "Tanh_1")]


def test_an_operator_left_in_float_costs_the_difference_and_is_found_once():
    before = [OperatorTime("Tanh_1", "Tanh", 100.0)]
    (finding,) = explain(gated(), quantize(gated()), before, [OperatorTime("Tanh_1", "Tanh", 300.0)]).findings
    assert (finding.kind, finding.node, finding.ns) == (Kind.FLOAT, "Tanh_1", 200.0)


def test_a_product_of_slow_types_is_found_once():
    before = [OperatorTime("Conv_0", "Conv", 100.0)]
    after = [OperatorTime("Conv_0", "QLinearConv", 300.0)]
    (finding, other) = explain(plain(), quantize(plain(), "int8"), before, after).findings
    assert (finding.kind, finding.node, finding.ns) == (Kind.SLOW_TYPES, "Conv_0", 200.0)
    assert (other.kind, other.node) == (Kind.SLOW_TYPES, "Conv_2")


def test_rows_are_ready_for_json():
    table = rows(explain(gated(), quantize(gated()), (), [OperatorTime("Tanh_1", "Tanh", 1234.0)]))
    assert json.loads(json.dumps(table)) == [
        {
            "finding": "left in float",
            "operator": "Tanh_1",
            "op": "Tanh",
            "us": 1.234,
            "share": 1.0,
            "why": "the runtime has no integer kernel for Tanh",
        }
    ]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "bert_tiny"])
def test_on_onnx_runtime_what_the_graph_shows_is_what_ran(name):
    graph = workloads.build(name)
    quantized = quantize(graph)
    backend = plugins.load("backend", "onnxruntime")
    with backend.open(quantized, Device.load("cpu-1t")) as timer:
        kernels = timer.operators(2)
    guessed = {f.node for f in explain(graph, quantized).findings if f.kind is Kind.FLOAT}
    ran = [f for f in explain(graph, quantized, (), kernels).findings if f.kind is Kind.FLOAT]
    assert {f.node for f in ran} == guessed
    assert all(f.ns and f.ns > 0 for f in ran)
