from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.backends import onnx_file, onnxruntime
from hwprof.backends import openvino as backend
from hwprof.backends.openvino import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.variants.spec import change

DEVICE = Device("d", "openvino")


def property_of(graph, device, name):
    with backend._compiled(graph, device) as (compiled, _):
        return compiled.get_property(name)


def test_float32_is_computed_in_float32_whatever_the_cpu_prefers(tiny_graph):
    assert property_of(tiny_graph, DEVICE, "INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_one_stream_runs_with_the_threads_of_the_device(tiny_graph):
    assert property_of(tiny_graph, DEVICE, "INFERENCE_NUM_THREADS") == 1
    assert property_of(tiny_graph, DEVICE, "NUM_STREAMS") == 1


def test_an_unknown_precision_is_refused_with_the_known_ones(tiny_graph):
    with (
        pytest.raises(InputError, match="computes in float32, float16, bfloat16; for int8"),
        BACKEND.open(tiny_graph, replace(DEVICE, precision="int8")),
    ):
        pass


def test_threads_that_the_runtime_does_not_grant_are_refused(tiny_graph):
    with pytest.raises(EnvironmentUnfitError, match="asks for 4096 threads, but openvino uses"):
        property_of(tiny_graph, replace(DEVICE, threads=4096), "NUM_STREAMS")


def test_the_import_reports_nothing_to_the_vendor():
    probe = "import hwprof.backends.openvino, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_an_operator_that_is_not_implemented_is_named_in_one_line():
    b = GraphBuilder("custom")
    (y,) = b.nodes("Frobnicate", [b.input((1, 4))], [("float32", (1, 4))], domain="my.domain")
    graph = replace(b.build(y), opsets=(("", 17), ("my.domain", 1)))
    with (
        pytest.raises(InputError, match=r"cannot run 'custom': operator my\.domain\.Frobnicate is not implemented$"),
        BACKEND.open(graph, DEVICE),
    ):
        pass


def test_weights_too_large_for_one_message_go_through_a_file(tiny_graph, monkeypatch):
    with BACKEND.open(tiny_graph, DEVICE) as timer:
        usual = timer.outputs()
    monkeypatch.setattr(onnx_file, "PROTOBUF_LIMIT_BYTES", 0)
    with BACKEND.open(tiny_graph, DEVICE) as timer:
        for name, value in timer.outputs().items():
            np.testing.assert_array_equal(value, usual[name])


def test_a_dynamic_file_takes_the_shape_of_the_graph(tmp_path):
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, 4]) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "dynamic.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    with BACKEND.open(onnx_io.load(path, {"x": (3, 4)}), DEVICE) as timer:
        assert timer.outputs()["y"].shape == (3, 4)


def test_a_file_whose_open_dimension_hides_a_rank_runs_with_the_shapes_of_the_graph(tmp_path):
    """As PyTorch exports squeeze: a branch decides by the size of an open dimension."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 16]>
        squeezed (float[1, 3, m] x) => (float[1, 3, 1] y) {
            size = Shape <start: int = 2> (x)
            one = Constant <value: tensor = int64[1] {1}> ()
            is_one = Equal (size, one)
            w = Constant <value: tensor = float[3, 1, 1] {1.0, 1.0, 1.0}> ()
            axis = Constant <value: tensor = int64[1] {2}> ()
            h = If (is_one) <
                then_branch = then () => (float[a, b] t) { t = Squeeze (x, axis) },
                else_branch = other () => (float[c, d, e] o) { o = Identity (x) }
            >
            image = Unsqueeze (h, axis)
            y = Conv <group: int = 3> (image, w)
        }""")
    onnx.save(model, tmp_path / "squeezed.onnx")
    with BACKEND.open(onnx_io.load(tmp_path / "squeezed.onnx", {"x": (1, 3, 1)}), DEVICE) as timer:
        assert timer.outputs()["y"].shape == (1, 3, 1)


def test_a_condition_may_have_any_number_of_dimensions_around_its_one_element(tmp_path):
    """As converters write it: the comparison of a matrix of one element, here within a branch, too."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 16]>
        gated (float[1, 1] x) => (float[1, 1] y) {
            zero = Constant <value: tensor = float[1, 1] {0.0}> ()
            is_positive = Greater (x, zero)
            y = If (is_positive) <
                then_branch = then () => (float[1, 1] t) {
                    one = Constant <value: tensor = float[1, 1] {1.0}> ()
                    is_large = Greater (x, one)
                    t = If (is_large) <
                        then_branch = large () => (float[1, 1] a) { a = Identity (one) },
                        else_branch = small () => (float[1, 1] c) { c = Identity (x) }
                    >
                },
                else_branch = other () => (float[1, 1] o) { o = Neg (x) }
            >
        }""")
    onnx.save(model, tmp_path / "gated.onnx")
    graph = onnx_io.load(tmp_path / "gated.onnx")
    for value, result in ((-3.0, 3.0), (0.5, 0.5), (2.0, 1.0)):
        with BACKEND.open(replace(graph, given=(("x", str(value)),)), DEVICE) as timer:
            assert timer.outputs()["y"] == result


def test_a_quantized_tensor_may_be_padded_along_one_axis_and_reshaped():
    """As a converter from TensorFlow writes it, whose images have their channels last."""
    b = GraphBuilder("padded")
    x = b.input((1, 6, 5, 1))
    y = b.node("Pad", [x, b.constant((0, 0, 1, 0, 0, 0, 1, 0))], (1, 6, 7, 1), mode="constant")
    graph = change("int8:reduced")(b.build(b.conv(b.reshape(y, (1, 1, 6, 7)), 4, 3, pad=0)))
    with BACKEND.open(graph, DEVICE) as timer:
        found = timer.outputs()
    with onnxruntime.BACKEND.open(graph, Device("c", "onnxruntime")) as timer:
        for name, value in timer.outputs().items():
            step = 8 / 255  # of the grid on which the result is quantized
            np.testing.assert_allclose(found[name], value, atol=1.01 * step)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Exception from src/core.cpp:117:\nException from src/config.cpp:505:\nShapes do not fit.\n\n\n",
         "Shapes do not fit."),
        ("Exception from src/a.cpp:1:\nCheck 'x' failed at src/b.hpp:2:\nWhile validating node 'Subtract_486 (a, b)':\n"
         "Argument shapes are inconsistent.\n",
         "While validating node 'Subtract_486 (a, b)'; Argument shapes are inconsistent."),
        ("Exception from src/a.cpp:1:\nModel wasn't fully converted. Failed operations detailed log:\n"
         "-- If-13 with a message:\nRank of If condition input must be 0 or 1\n\nSummary:\n"
         "-- Conversion is failed for: If-13\n",
         "-- If-13 with a message; Rank of If condition input must be 0 or 1"),
        ("Exception from src/a.cpp:1:", "Exception from src/a.cpp:1:"),
    ],
)  # fmt: skip
def test_of_the_runtimes_stack_the_operator_and_the_reason_reach_the_user(tiny_graph, text, reason):
    with pytest.raises(InputError) as caught, backend._plain_errors(tiny_graph):
        raise RuntimeError(text)
    assert str(caught.value) == f"openvino cannot run 'tiny': {reason}"


@pytest.fixture
def wide():
    """A bottleneck so large that no kernel of it is faster than the microsecond that the runtime counts in."""
    b = GraphBuilder("wide")
    x = b.relu(b.conv(b.input((1, 16, 64, 64)), 64, 3))
    return b.build(b.add(x, b.batch_norm(b.conv(b.relu(b.conv(x, 64, 3)), 64, 3))))


def test_convolutions_keep_what_was_fused_into_them(wide):
    with BACKEND.open(wide, DEVICE) as timer:
        members = [k.members for k in timer.operators(5)]
    assert [m for m in members if m] == [
        ("Conv_0", "Relu_1"),
        ("Conv_2", "Relu_3"),
        ("Conv_4", "BatchNormalization_5", "Add_6"),
    ]


def test_it_says_what_it_executes_without_running_it(wide):
    executed = [kernel.nodes for kernel in BACKEND.executed(wide, DEVICE) if kernel.nodes]
    assert executed == [(0, 1), (2, 3), (4, 5, 6)]


def test_it_says_how_it_implements_a_kernel_and_what_one_moves_that_it_inserted(wide):
    kernels = BACKEND.executed(wide, DEVICE)
    how = [k.how for k in kernels if k.op == "Convolution"]
    assert len(how) == 3
    assert all(how)
    assert not any(name.endswith("32") for name in how)
    shapes = {wide.shape(k.moved) for k in kernels if k.op == "Reorder" and k.moved}
    assert (1, 64, 64, 64) in shapes


def test_a_quantized_network_runs_on_the_integer_kernels(quantized):
    with BACKEND.open(quantized, DEVICE) as timer:
        convolutions = [k for k in timer.operators(5) if "Conv_3" in k.members]
    assert [k.op.endswith("_I8") for k in convolutions] == [True]


@pytest.mark.parametrize(
    ("average", "warm_average", "expected"),
    [(20.0, 20.0, 20.5), (10.0, 40.0, (110 * 10.5 - 10 * 40.5) / 100), (1.0, 30.0, 0.5)],
)
def test_the_slow_first_runs_are_taken_out_of_the_average(average, warm_average, expected):
    assert backend._mean_us(average, warm_average, 100) == pytest.approx(expected)
