from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwprof import onnx_io
from hwprof.backends import onnx_file
from hwprof.backends import onnxruntime as backend
from hwprof.backends.onnxruntime import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.graph import Graph, Node, Tensor
from hwprof.interfaces import MonitoredTimer
from hwprof.measurement import DeviceState, Evidence

DEVICE = Device("d", "onnxruntime")
BLOCKED = pytest.mark.skipif(platform.machine() != "x86_64", reason="the blocked layout of channels is for x86")


def kernels(graph, **options):
    with BACKEND.open(graph, DEVICE.with_options(**options)) as timer:
        return [(k.op, k.members) for k in timer.operators(3)]


# -- what is executed --------------------------------------------------------------------------------


@BLOCKED
def test_it_says_what_it_executes_and_what_it_inserts_without_running_it():
    b = GraphBuilder("bottleneck")
    x = b.relu(b.conv(b.input((1, 16, 16, 16)), 16, 3))
    graph = b.build(b.relu(b.add(x, b.batch_norm(b.conv(x, 16, 3)))))
    executed = BACKEND.executed(graph, DEVICE)
    assert [kernel.nodes for kernel in executed if kernel.nodes] == [(0, 1), (2, 3, 4, 5)]
    inserted = [(kernel.op, kernel.moved) for kernel in executed if not kernel.nodes]
    assert inserted == [("ReorderInput", graph.inputs[0].name), ("ReorderOutput", graph.outputs[0])]


def test_without_optimization_it_executes_every_operator():
    b = GraphBuilder("plain")
    graph = b.build(b.relu(b.conv(b.input((1, 16, 16, 16)), 16, 3)))
    executed = BACKEND.executed(graph, DEVICE.with_options(graph_optimization_level="disabled"))
    assert [(kernel.op, kernel.nodes) for kernel in executed] == [("Conv", (0,)), ("Relu", (1,))]


# -- settings ----------------------------------------------------------------------------------------


def session_options(device):
    return backend._session_options(backend._settings(device), {})


def test_no_thread_count_is_left_to_the_runtime():
    made = session_options(replace(DEVICE, threads=2))
    assert (made.intra_op_num_threads, made.inter_op_num_threads) == (2, 1)
    made = session_options(replace(DEVICE, threads=0))
    assert made.intra_op_num_threads == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("threads", "options", "spins"), [(1, {}, "0"), (2, {}, "1"), (2, {"spinning": False}, "0")])
def test_one_thread_does_not_spin_and_several_do_unless_told(threads, options, spins):
    made = session_options(replace(DEVICE, threads=threads).with_options(**options))
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == spins


def test_an_unknown_optimization_level_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="disabled, basic, extended, layout, all, not 'most'"):
        session_options(DEVICE.with_options(graph_optimization_level="most"))


def test_options_of_the_provider_pass_through():
    settings = backend._settings(DEVICE.with_options(**{"provider_options.arena_extend_strategy": 1}))
    assert settings.provider_options == (("arena_extend_strategy", "1"),)


def test_a_provider_that_is_not_installed_is_refused_and_not_replaced(tiny_graph):
    device = DEVICE.with_options(provider="NoSuchExecutionProvider")
    with pytest.raises(EnvironmentUnfitError, match=r"it has .*CPUExecutionProvider"), BACKEND.open(tiny_graph, device):
        pass


def test_telemetry_is_off_before_the_runtime_is_imported():
    probe = "import os, sys, hwprof.backends.onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "1"


def test_times_count_as_measured_and_name_the_version():
    assert BACKEND.evidence is Evidence.MEASURED
    assert set(BACKEND.versions()) == {"onnxruntime"}


# -- models ------------------------------------------------------------------------------------------


@pytest.fixture
def dynamic_file(tmp_path):
    """y = relu(x) with x: [n, 4], and the same with a dimension that has no name."""

    def write(dimension):
        x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [dimension, 4]) for n in "xy")
        graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
        path = tmp_path / "dynamic.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return write


@pytest.mark.parametrize("dimension", ["n", None])
def test_dynamic_dimensions_take_the_sizes_of_the_graph(dynamic_file, dimension):
    graph = onnx_io.load(dynamic_file(dimension), {"x": (3, 4)})
    with BACKEND.open(graph, DEVICE) as timer:
        assert timer.outputs()["y"].shape == (3, 4)


def test_a_file_runs_with_its_own_weights_from_where_they_lie(tmp_path):
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 512]) for n in "xy")
    weight = onnx.numpy_helper.from_array(np.full((1, 512), 7.0, np.float32), "w")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    loaded = onnx_io.load(path)
    with BACKEND.open(loaded, DEVICE) as timer:
        np.testing.assert_allclose(timer.outputs()["y"], 7 * onnx_io.random_inputs(loaded)["x"], rtol=1e-6)
        assert [k.members for k in timer.operators(2)] == [("y",)]


def test_weights_too_large_for_one_message_go_through_a_file(bottleneck, monkeypatch):
    with BACKEND.open(bottleneck, DEVICE) as timer:
        usual, executed = timer.outputs(), timer.operators(2)
    monkeypatch.setattr(onnx_file, "PROTOBUF_LIMIT_BYTES", 0)
    with BACKEND.open(bottleneck, DEVICE) as timer:
        for name, value in timer.outputs().items():
            np.testing.assert_array_equal(value, usual[name])
        assert [k.members for k in timer.operators(2)] == [k.members for k in executed]


def test_a_file_that_has_gone_is_named(dynamic_file):
    path = dynamic_file("n")
    graph = onnx_io.load(path, {"x": (3, 4)})
    path.unlink()
    with pytest.raises(InputError, match=r"dynamic\.onnx"), BACKEND.open(graph, DEVICE):
        pass


def test_a_network_that_does_not_fit_is_refused_with_both_figures_before_it_is_loaded():
    huge = Tensor("w", "float32", (10**7, 10**7))
    graph = Graph((Tensor("x", "float32", (1, 10**7)),), ("x",), (), weights=(huge,), name="huge")
    with (
        pytest.raises(EnvironmentUnfitError, match=r"'huge' needs about 800000\.0 GB .* has \d+\.\d GB left"),
        BACKEND.open(graph, DEVICE),
    ):
        pass


def test_an_operator_that_is_not_implemented_is_named_in_one_line():
    b = GraphBuilder("custom")
    (y,) = b.nodes("Frobnicate", [b.input((1, 4))], [("float32", (1, 4))], domain="my.domain")
    graph = replace(b.build(y), opsets=(("", 17), ("my.domain", 1)))
    with pytest.raises(InputError) as caught, BACKEND.open(graph, DEVICE):
        pass
    assert "cannot run 'custom': " in str(caught.value)
    assert "my.domain:Frobnicate" in str(caught.value)
    assert "\n" not in str(caught.value)


# -- operators ---------------------------------------------------------------------------------------


@BLOCKED
def test_convolutions_keep_what_was_fused_into_them_before_and_behind(bottleneck):
    assert kernels(bottleneck) == [
        ("Conv", ("Conv_0", "Relu_1")),
        ("Conv", ("Conv_2", "BatchNormalization_3", "Clip_4")),
        ("Conv", ("Conv_5", "BatchNormalization_6", "Add_7")),
        ("GlobalAveragePool", ("GlobalAveragePool_8",)),
        ("ReorderOutput", ()),
    ]


def test_without_the_layout_pass_the_addition_is_a_kernel_of_its_own(bottleneck):
    assert kernels(bottleneck, graph_optimization_level="extended")[-2:] == [
        ("Add", ("Add_7",)),
        ("GlobalAveragePool", ("GlobalAveragePool_8",)),
    ]


def test_without_optimization_every_node_is_a_kernel(bottleneck):
    executed = kernels(bottleneck, graph_optimization_level="disabled")
    assert [members for _, members in executed] == [(node.name,) for node in bottleneck.nodes]


def test_a_quantized_convolution_holds_its_conversions_but_not_those_of_its_weights(quantized):
    computing = [k for k in kernels(quantized) if k[0] != "Transpose"]
    assert computing == [
        ("QuantizeLinear", ("QuantizeLinear_0",)),
        ("QLinearConv", ("DequantizeLinear_2", "Conv_3", "QuantizeLinear_4")),
        ("DequantizeLinear", ("DequantizeLinear_5",)),
    ]


def test_a_bias_that_became_part_of_a_product_is_its_member():
    b = GraphBuilder("linear")
    executed = kernels(b.build(b.softmax(b.linear(b.input((2, 6, 16)), 4))))
    assert ("Gemm", ("MatMul_0", "Add_1")) in executed
    assert all(members == () for op, members in executed if op == "Reshape")


@BLOCKED
def test_an_inserted_kernel_is_called_after_what_it_reads(bottleneck):
    with BACKEND.open(bottleneck, DEVICE) as timer:
        assert [k.name for k in timer.operators(3)][-2:] == [
            "GlobalAveragePool_8",
            "ReorderOutput(GlobalAveragePool_8)",
        ]


def test_the_time_inside_a_control_flow_body_is_counted_once():
    body = Graph((), ("y",), (Node("Exp", ("x",), ("y",)),), values=(Tensor("y", "float32", (4,)),))
    b = GraphBuilder("choice")
    b.input((4,), name="x")
    condition = b.input((), "bool", name="condition")
    (out,) = b.nodes("If", [condition], [("float32", (4,))], then_branch=body, else_branch=body)
    assert kernels(b.build(b.relu(out))) == [("If", ("If_0",)), ("Relu", ("Relu_1",))]


def test_profiling_leaves_no_file_behind(bottleneck, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    kernels(bottleneck)
    assert list(tmp_path.iterdir()) == []


def test_a_timer_on_a_gpu_shows_its_sensors_and_no_times_of_launches(tiny_graph):
    settings = backend._settings(DEVICE)  # its class is what counts here; it runs on any provider
    model = onnx_io.materialize(tiny_graph).SerializeToString()
    session = backend._session(model, backend._session_options(settings, {}), settings)
    timer = backend.GpuTimer(session, tiny_graph, settings, lambda: DeviceState(power_w=431.0))
    assert isinstance(timer, MonitoredTimer)
    assert timer.state() == DeviceState(power_w=431.0)
    assert not hasattr(timer, "operators")


# -- models of other people ----------------------------------------------------------------------------


def written(folder, nodes, inputs, stored=(), functions=(), opsets=(("", 17),), outputs=("y",)):
    """An .onnx file: inputs by name, element type and shape; outputs of no stated shape."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(array, name) for name, array in stored],
    )  # fmt: skip
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*o) for o in opsets], functions=functions, ir_version=9
    )
    onnx.save(made, folder / "net.onnx")
    return folder / "net.onnx"


def test_the_operators_of_a_local_function_are_timed_one_by_one(tmp_path):
    inner = [helper.make_node("Exp", ["a"], ["t"]), helper.make_node("Cos", ["t"], ["b"])]
    function = helper.make_function("own", "Wave", ["a"], ["b"], inner, [helper.make_opsetid("", 17)])
    calls = [helper.make_node("Wave", [a], [b], domain="own") for a, b in (("x", "h"), ("h", "y"))]
    path = written(
        tmp_path, calls, [("x", TensorProto.FLOAT, (64,))], functions=[function], opsets=(("", 17), ("own", 1))
    )
    graph = onnx_io.load(path)
    assert kernels(graph) == [(n.op, (n.label,)) for n in graph.nodes]


@pytest.mark.parametrize("symbol", ["?", "n"])
def test_a_symbol_of_several_sizes_binds_the_inputs(tmp_path, symbol):
    path = written(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], [("x", TensorProto.FLOAT, (1, symbol, symbol))])
    with BACKEND.open(onnx_io.load(path, {"x": (1, 3, 5)}), DEVICE) as timer:
        assert timer.outputs()["y"].shape == (1, 3, 5)
        assert [k.op for k in timer.operators(3)] == ["Relu"]


def test_a_branch_that_is_not_taken_need_not_fit_the_shapes(tmp_path):
    """Two convolutions for two sampling rates, of which only one fits the input."""

    def branch(name):
        conv = helper.make_node("MatMul", ["x", name], [f"{name}_y"])
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        return helper.make_graph([conv], name, [], [out])

    nodes = [
        helper.make_node("Equal", ["rate", "high"], ["is_high"]),
        helper.make_node("If", ["is_high"], ["y"], then_branch=branch("wide"), else_branch=branch("narrow")),
    ]
    stored = [
        ("high", np.int64(16000)), ("wide", np.ones((8, 3), np.float32)), ("narrow", np.ones((4, 3), np.float32)),
    ]  # fmt: skip
    inputs = [("x", TensorProto.FLOAT, ("batch", None)), ("rate", TensorProto.INT64, ())]
    path = written(tmp_path, nodes, inputs, stored)
    for width, rate in ((8, "16000"), (4, "8000")):
        graph = onnx_io.with_values(onnx_io.load(path, {"x": (1, width)}), {"rate": rate})
        with BACKEND.open(graph, DEVICE) as timer:
            assert timer.outputs()["y"].tolist()[0][0] == pytest.approx(sum(onnx_io.random_inputs(graph)["x"][0]))
            assert "If" in [k.op for k in timer.operators(3)]


def test_a_past_of_length_0_runs(tmp_path):
    nodes = [helper.make_node("Concat", ["past", "x"], ["y"], axis=1)]
    path = written(tmp_path, nodes, [("past", TensorProto.FLOAT, (1, 0, 4)), ("x", TensorProto.FLOAT, (1, 2, 4))])
    with BACKEND.open(onnx_io.load(path), DEVICE) as timer:
        assert timer.outputs()["y"].shape == (1, 2, 4)


@pytest.mark.parametrize("kind", ["bfloat16", "int4"])
def test_inputs_of_types_that_numpy_lacks_arrive_as_they_are(tmp_path, kind):
    code = {"bfloat16": TensorProto.BFLOAT16, "int4": TensorProto.INT4}[kind]
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    graph = onnx_io.load(written(tmp_path, nodes, [("x", code, (3, 4))], opsets=(("", 21),)))
    with BACKEND.open(onnx_io.with_values(graph, {"x": "-3"}), DEVICE) as timer:
        assert (timer.outputs()["y"] == -3).all()
