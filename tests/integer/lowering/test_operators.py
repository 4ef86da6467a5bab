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
    "add", "averagepool", "batchnorm_example", "col2im", "conv_", "convtranspose_1d", "convtranspose_pad",
    "depthtospace", "div", "gather", "gemm", "globalmaxpool", "gru", "hardswish", "instancenorm", "lppool", "lrn",
    "lstm_b", "lstm_d", "lstm_r", "matmul_2d", "max_", "maxpool_1d", "maxpool_3d", "min_", "pow", "prelu",
    "reduce_l2_d", "reduce_max", "reduce_mean", "reduce_prod", "resize_downsample_scales_l",
    "resize_downsample_scales_n", "resize_upsample_scales_l", "resize_upsample_scales_n", "rms_norm",
    "scatter_elements", "scatternd", "simple_rnn", "slice", "softmax", "spacetodepth", "sub", "sum", "tile", "where",
)  # fmt: skip
REFUSED = (
    "lstm_with_peepholes", "lppool_1d_default", "lppool_2d_default", "lppool_2d_pads", "lppool_2d_same_lower",
    "lppool_3d_default", "scatter_elements_with_reduction_mul", "scatternd_multiply",
)  # fmt: skip


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


def of_integers(op: str, x: np.ndarray, size: tuple[int, ...], *more: list[int], **attributes) -> np.ndarray:
    """The result of an operator on whole numbers, on a grid of whole numbers. more: stored integers."""
    b = Quantized(op, opset=18)
    given = b.q(b.input(x.shape), scale=1.0)
    y = b.node(op, [given, *(b.constant(numbers) for numbers in more)], size, **attributes)
    (result,) = reference.run(lowered(b.build(b.q(y, scale=1.0))), {"input0": x.astype(np.float32)}).values()
    return result


def test_a_product_of_elements_keeps_its_sign_and_its_zeros():
    rows = np.array([[-2, 3, 1], [0, 5, -9], [-1, -4, 5], [-1, -2, -3], [7, 0, 0]])
    np.testing.assert_array_equal(of_integers("ReduceProd", rows, (5, 1), [1]).ravel(), [-6, 0, 20, -6, 0])


def test_a_product_of_more_elements_than_can_be_counted_is_refused():
    b = Quantized("long")
    y = b.node("ReduceProd", [b.q(b.input((1, 128)))], (1, 1), axes=(1,))
    assert "it multiplies 128 elements; at most 127 are supported" in refusal(b.build(b.q(y)))


def test_overlapping_columns_of_an_image_add_up():
    """Windows of two pixels beside each other over an image of three: the middle one has both."""
    columns = np.array([[[1, 10], [2, 20]]])  # [n, taps, windows]
    image = of_integers("Col2Im", columns, (1, 1, 1, 3), [1, 3], [1, 2])
    np.testing.assert_array_equal(image.ravel(), [1, 12, 20])


def test_a_power_by_a_row_of_exponents():
    x = np.array([[-3, 4, 5], [2, -1, 3]])
    np.testing.assert_array_equal(of_integers("Pow", x, (2, 3), [3, 2, 1]), x ** [3, 2, 1])


def test_a_norm_of_windows_by_a_power_that_16_bits_cannot_hold_is_refused():
    b = Quantized("norm")
    y = b.node("LpPool", [b.q(b.input((1, 1, 4)))], (1, 1, 3), kernel_shape=(2,), p=3)
    assert "its p is 3" in refusal(b.build(b.q(y)))


def test_a_mean_of_16_bits_leaves_its_padding_out():
    b = Quantized("mean", opset=21)
    x = b.q(b.input((1, 1, 1, 3)), scale=0.001, zero=0, dtype="int16")
    y = b.node("AveragePool", [x], (1, 1, 1, 3), kernel_shape=(1, 3), pads=(0, 1, 0, 1))
    program = lowered(b.build(b.q(y, scale=0.001, zero=0, dtype="int16")))
    given = np.array([1.0, 2.0, 6.0], np.float32).reshape(1, 1, 1, 3)
    (means,) = reference.run(program, {"input0": given}).values()
    np.testing.assert_allclose(means.ravel(), [1.5, 3.0, 4.0], atol=0.001)


def test_a_bias_that_fills_32_bits_takes_the_result_to_the_end_of_its_grid():
    b = Quantized("bias")
    x, weight = b.q(b.input((1, 2))), b.w((3, 2), values=[1, 2, 3, 4, 5, 6])
    bias = b.w((3,), scale=0.05 * 0.01, values=[2**31 - 1, -(2**31), 0], dtype="int32")
    program = lowered(b.build(b.q(b.node("Gemm", [x, weight, bias], (1, 3), transB=1), scale=0.1)))
    (y,) = reference.run(program, {"input0": np.zeros((1, 2), np.float32)}).values()
    np.testing.assert_allclose(y.ravel(), [12.7, -12.8, 0], atol=1e-5)


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
