"""Every operator alone, on drawn shapes and scales, and ONNX's own cases of operators on floats between Q/DQ pairs."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights
from tests.integer import wrapped_cases
from tests.integer.lowering.test_lowering import kinds, lowered, refusal, steps_apart
from tests.integer.programs import Quantized, run_kernels
from tests.integer.random_networks import OPERATORS, Drawn

# Groups of ONNX's cases, by the beginning of their names, that must all be computed.
COMPUTED = (
    "add", "averagepool_1d", "averagepool_2d", "batchnorm_example", "conv_", "convtranspose_1d", "convtranspose_pad",
    "depthtospace", "div", "gather", "gemm", "globalmaxpool", "gru", "hardswish", "instancenorm", "lstm_b", "lstm_d",
    "lstm_r", "matmul_2d", "max_", "maxpool_1d", "maxpool_3d", "min_", "prelu", "reduce_l2_d", "reduce_max",
    "reduce_mean", "resize_downsample_scales_l", "resize_downsample_scales_n", "resize_upsample_scales_l",
    "resize_upsample_scales_n", "rms_norm", "scatternd", "simple_rnn", "slice", "softmax", "spacetodepth", "sub", "sum",
    "tile", "where",
)  # fmt: skip
REFUSED = ("lstm_with_peepholes", "scatternd_")


@pytest.mark.processor(runtime="onnxruntime")
@pytest.mark.parametrize("operator", dict.fromkeys(OPERATORS), ids=lambda operator: operator.__name__)
def test_an_operator_is_within_a_step_of_onnx_runtime(operator):
    for seed in range(2):
        assert steps_apart(Drawn(seed, 0).with_operator(operator)) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_random_networks_are_the_same_on_every_instruction_set(kernels, seed):
    graph = Drawn(seed, operators=6).graph()
    program, inputs = lowering.lower(graph, load_weights(graph)), onnx_io.random_inputs(graph, seed)
    wanted = reference.run(program, inputs)
    for name in kernels.available():
        for output, array in run_kernels(program, inputs, kernels, name, threads=2).items():
            np.testing.assert_array_equal(array, wanted[output])


@pytest.mark.parametrize("group", COMPUTED)
def test_onnx_s_cases_are_within_a_step_of_its_reference(group, tmp_path):
    found = {name: verdict for name, _, verdict in wrapped_cases.verdicts(tmp_path, f"^{group}")}
    kept = {name: verdict for name, verdict in found.items() if not name.startswith(REFUSED)}
    assert kept
    assert {name: verdict for name, verdict in kept.items() if verdict.kind != "equal"} == {}


# -- what fits no rule ---------------------------------------------------------------------------------


def test_a_channel_of_zeros_may_have_any_scale():
    b = Quantized("zeros")
    x = b.q(b.input((1, 2, 4, 4)))
    values = b.constant([5, -7, 0, 0], "int8", shape=(2, 2, 1, 1))
    scales, zeros = b.constant([0.01, 1.0], "float32"), b.constant([0, 0], "int8")
    (weight,) = b.nodes("DequantizeLinear", [values, scales, zeros], [("float32", (2, 2, 1, 1))], axis=0)
    bias = b.constant([0.3, -0.7], "float32")
    graph = b.build(b.q(b.node("Conv", [x, weight, bias], (1, 2, 4, 4), kernel_shape=(1, 1)), scale=0.01))
    assert steps_apart(graph) <= 1


def test_an_average_at_a_tie_is_rounded_up():
    b = Quantized("ties")
    x = b.q(b.input((1, 1, 1, 6)), scale=1.0, zero=100)
    graph = b.build(b.q(b.node("AveragePool", [x], (1, 1, 1, 1), kernel_shape=(1, 6)), scale=1.0, zero=100))
    program = lowered(graph)
    for sum_of_six in (-9, -3, 3, 9):
        x = np.array([sum_of_six, 0, 0, 0, 0, 0], np.float32).reshape(1, 1, 1, 6)
        (y,) = reference.run(program, dict.fromkeys((e.input for e in program.entries), x)).values()
        assert y.item() == np.floor(sum_of_six / 6 + 0.5)


def test_the_square_of_a_16_bit_tensor_is_exact():
    b = Quantized("square", opset=21)
    x = b.q(b.input((1, 50)), 1e-4, 0, "int16")
    graph = b.build(b.q(b.mul(x, x), 1e-4, 0, "int16"))
    assert "Multiply" in kinds(lowered(graph))
    assert steps_apart(graph) <= 1


def test_a_normalization_of_two_elements():
    """A single step between both is small beside epsilon, which must not be lost."""
    b = Quantized("two", opset=17)
    x = b.q(b.input((40, 2)), scale=0.004)
    y = b.node("LayerNormalization", [x, b.constant([1.0, 1.0], "float32")], (40, 2), axis=-1, epsilon=1e-5)
    assert steps_apart(b.build(b.q(y, scale=1 / 127))) <= 1


def test_a_dropout_that_trains_is_refused():
    b = Quantized("dropout")
    settings = [b.constant([0.5], "float32", scalar=True), b.constant([1], "bool", scalar=True)]
    y = b.node("Dropout", [b.q(b.input((2, 3))), *settings], (2, 3))
    assert "drops elements at random" in refusal(b.build(b.q(y)))


def test_a_recurrent_layer_that_was_left_in_float_is_named():
    b = Quantized("float")
    x = b.q(b.input((4, 1, 3)))
    (y,) = b.nodes("LSTM", [x, b.weight((1, 8, 3)), b.weight((1, 8, 2))], [("float32", (4, 1, 1, 2))], hidden_size=2)
    text = refusal(b.build(b.q(b.add(b.reshape(y, (4, 1, 2)), b.q(b.input((4, 1, 2)))))))
    assert text.startswith("operator LSTM")
    assert "the quantizer left it in float" in text
    assert "--variant integer quantizes all operators" in text


def test_a_fault_of_a_rule_is_an_error_that_names_the_operator(monkeypatch):
    def fails(*_: object) -> None:
        raise KeyError("axis")

    monkeypatch.setitem(lowering.rules._RULES, "Softmax", fails)
    b = Quantized("fault")
    text = refusal(b.build(b.q(b.softmax(b.q(b.input((2, 3)))))))
    assert text.startswith("operator Softmax")
    assert "KeyError" in text


def test_a_tensor_without_elements_is_refused():
    b = Quantized("empty")
    y = b.node("Slice", [b.q(b.input((4, 3))), b.constant([2]), b.constant([2])], (0, 3))
    assert "has no element" in refusal(b.build(y))


def test_a_transposed_convolution_is_one_of_a_spread_image():
    b = Quantized("transposed")
    x = b.q(b.input((1, 2, 3, 3)))
    y = b.node("ConvTranspose", [x, b.w((2, 4, 2, 2))], (1, 4, 6, 6), kernel_shape=(2, 2), strides=(2, 2))
    graph = b.build(b.q(y))
    assert [k for k in kinds(lowered(graph)) if k != "Reshape"] == ["Pad", "Convolution"]
    assert steps_apart(graph) <= 1
