"""Which networks become programs, which are refused, and that programs compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.program import program as ir
from hwprof.integer.run import reference
from hwprof.variants.quantize import quantize
from hwprof.variants.weights import load_weights
from hwprof.workloads import build
from tests.integer.programs import Quantized, small_network
from tests.onnx_oracle import unoptimized


def lowered(graph: Graph) -> ir.Program:
    return lowering.lower(graph, load_weights(graph))


def both(graph: Graph) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], ir.Program]:
    """The outputs of the reference and of ONNX Runtime, and the program."""
    inputs = onnx_io.random_inputs(graph, seed=3)
    program = lowered(graph)
    theirs = unoptimized(onnx_io.materialize(graph), inputs)
    return reference.run(program, inputs), dict(zip(graph.outputs, theirs, strict=True)), program


def steps_apart(graph: Graph) -> int:
    """By how many steps of its grid the worst output is off ONNX Runtime's."""
    ours, theirs, program = both(graph)
    return max(
        round(float(np.abs(ours[e.output].astype(np.float64) - theirs[e.output]).max() / (e.scale or 1)))
        for e in program.exits
    )


def kinds(program: ir.Program) -> list[str]:
    return [type(operation).__name__ for operation in program.operations]


def test_a_small_network_is_one_operation_for_each_of_its_operators():
    assert kinds(lowered(small_network())) == [
        "Convolution", "Convolution", "Add", "AveragePool", "Reshape", "Reshape", "Convolution", "Reshape",
    ]  # fmt: skip


def test_a_small_network_computes_what_onnx_runtime_computes():
    assert steps_apart(small_network()) <= 1


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_networks_of_convolutions_become_programs_whole(name):
    program = lowered(quantize(build(name)))
    assert all(value.dtype == "uint8" for value in program.values.values())


def test_the_padding_of_a_convolution_is_its_zero_point():
    b = Quantized("edge")
    x = b.q(b.input((1, 2, 5, 5)), zero=200)
    assert steps_apart(b.build(b.q(b.convolved(x, 4)))) <= 1


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_onnx_works_out(auto_pad):
    b = Quantized("auto-pad")
    x = b.q(b.input((1, 2, 7, 8)))
    size = (1, 4, 4, 4) if auto_pad.startswith("SAME") else (1, 4, 3, 3)
    y = b.node(
        "Conv", [x, b.w((4, 2, 3, 4))], size, kernel_shape=(3, 4), strides=(2, 2), auto_pad=auto_pad
    )  # fmt: skip
    assert steps_apart(b.build(b.q(y))) <= 1


def test_a_batch_normalization_behind_a_sum_is_a_filter_of_one_pixel():
    b = Quantized("norm")
    x = b.q(b.input((1, 5, 4, 4)), zero=100)
    statistics = [
        b.constant([0.5, -2.0, 0.0, 1.0, 3.0], "float32"),
        b.constant([0.1, -0.2, 0.3, 0.0, 1.0], "float32"),
        b.constant([0.0, 1.0, -1.0, 0.2, 0.5], "float32"),
        b.constant([1.0, 0.25, 4.0, 2.0, 0.5], "float32"),
    ]
    graph = b.build(b.q(b.relu(b.node("BatchNormalization", [x, *statistics], (1, 5, 4, 4)))))
    assert kinds(lowered(graph)) == ["Convolution"]
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_matrix_product_and_the_addition_behind_it_are_one_operation(dtype):
    b = Quantized("linear")
    zero = 128 if dtype == "uint8" else -3
    x = b.q(b.input((2, 5, 8)), zero=zero, dtype=dtype)
    y = b.add(b.matmul(x, b.w((8, 6))), b.weight((6,)))
    graph = b.build(b.q(y, zero=zero, dtype=dtype))
    assert kinds(lowered(graph)) == ["Reshape", "Convolution", "Reshape"]
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu", "Neg", "Gelu"])
def test_a_function_of_one_variable_is_a_table(op):
    b = Quantized("unary", opset=20)
    graph = b.build(b.q(b.unary(op, b.q(b.input((3, 50)), scale=0.03))))
    assert kinds(lowered(graph)) == ["Table"]
    assert steps_apart(graph) == 0


def test_a_function_of_several_operators_is_one_table():
    b = Quantized("gelu")
    x = b.q(b.input((3, 50)), scale=0.03)
    graph = b.build(b.q(b.gelu(x)))
    assert kinds(lowered(graph)) == ["Table"]
    assert steps_apart(graph) == 0


def test_another_scale_behind_a_scale_is_a_table():
    b = Quantized("again")
    graph = b.build(b.q(b.q(b.input((4, 9)), scale=0.1), scale=0.03, zero=7))
    assert kinds(lowered(graph)) == ["Table"]
    assert steps_apart(graph) == 0


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("shape", [(1, 4, 3, 3), (1, 4, 1, 1), (3,)])
def test_two_operands_are_rescaled(op, shape):
    b = Quantized("two")
    left = b.q(b.input((1, 4, 3, 3)), scale=0.03, zero=10)
    right = b.q(b.input(shape), scale=0.11, zero=77)
    assert steps_apart(b.build(b.q(b.binary(op, left, right)))) <= 1


def test_operands_with_two_scales_are_joined_on_one():
    b = Quantized("join")
    left, right = b.q(b.input((1, 2, 3, 3)), scale=0.02), b.q(b.input((1, 5, 3, 3)), scale=0.07)
    graph = b.build(b.q(b.concat([left, right])))
    assert kinds(lowered(graph)) == ["Table", "Table", "Concatenate"]
    assert steps_apart(graph) == 0


@pytest.mark.parametrize("counts", [0, 1])
def test_an_average_counts_the_padding_or_not(counts):
    b = Quantized("average")
    x = b.q(b.input((1, 3, 6, 6)), zero=30)
    y = b.node(
        "AveragePool", [x], (1, 3, 3, 3), kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1),
        count_include_pad=counts,
    )  # fmt: skip
    assert steps_apart(b.build(b.q(y))) <= 1


def test_values_are_moved_without_a_scale_of_their_own():
    b = Quantized("move")
    x = b.q(b.input((1, 4, 6, 6)))
    y = b.pool("MaxPool", x, 2, 2)
    y = b.transpose(b.slice(y, 1, 1, 3), (0, 2, 3, 1))
    left, right = b.split(b.flatten(y), (8, 10), axis=1)
    graph = b.build(left, right)
    assert steps_apart(graph) == 0


@pytest.mark.parametrize(("indices", "shape"), [(2, (2, 4, 3)), (-1, (2, 4, 3)), ([1], (2, 1, 4, 3))])
@pytest.mark.parametrize("is_image", [False, True])
def test_one_step_of_a_sequence_is_a_slice_of_it(indices, shape, is_image):
    b = Quantized("step")
    x = b.q(b.input((2, 5, 4, 3) if is_image else (2, 5, 12)), scale=0.03)
    if not is_image:
        x = b.reshape(x, (2, 5, 4, 3))
    places = b.constant(np.ravel(indices).tolist(), scalar=np.ndim(indices) == 0)
    graph = b.build(b.node("Gather", [x, places], shape, axis=1))
    assert "Slice" in kinds(lowered(graph))
    assert steps_apart(graph) == 0


def test_several_steps_of_a_sequence_at_once_are_picked():
    b = Quantized("steps")
    graph = b.build(b.node("Gather", [b.q(b.input((4, 3))), b.constant([0, 2])], (2, 3), axis=0))
    assert kinds(lowered(graph)) == ["Pick"]
    assert steps_apart(graph) == 0


def test_a_loop_that_is_not_written_out_is_refused():
    b = Quantized("scan")
    step = GraphBuilder("step")
    body = step.build(step.unary("Tanh", step.input((3,))))
    y = b.node("Scan", [b.q(b.input((4, 3)))], (4, 3), body=body, num_scan_inputs=1)
    text = refusal(b.build(b.q(y)))
    assert text.startswith("operator Scan")
    assert "unroll loops" in text


def test_an_image_is_flattened_in_onnx_s_order():
    b = Quantized("flatten")
    x = b.q(b.convolved(b.q(b.input((1, 2, 4, 4))), 3))
    graph = b.build(b.q(b.matmul(b.flatten(x), b.w((48, 5)))))
    assert "Transpose" in kinds(lowered(graph))
    assert steps_apart(graph) <= 1


def test_bounds_in_front_of_a_scale_are_part_of_the_operation():
    b = Quantized("bounds")
    y = b.clip(b.convolved(b.q(b.input((1, 2, 4, 4))), 3), -0.5, 1.0)
    graph = b.build(b.q(y))
    operation = lowered(graph).operations[-1]
    assert (operation.rescale.low, operation.rescale.high) == (118, 148)
    assert steps_apart(graph) <= 1


def test_inputs_and_outputs_of_eight_bits_stay_what_they_are():
    b = Quantized("bytes")
    grid = [b.constant([0.1], "float32", scalar=True), b.constant([5], "int8", scalar=True)]
    (x,) = b.nodes("DequantizeLinear", [b.input((2, 7), "int8"), *grid], [("float32", (2, 7))])
    (y,) = b.nodes("QuantizeLinear", [b.unary("Tanh", x), *grid], [("int8", (2, 7))])
    graph = b.build(y)
    ours, theirs, _ = both(graph)
    assert ours[y].dtype == np.int8
    np.testing.assert_array_equal(ours[y], theirs[y])


def refusal(graph: Graph) -> str:
    with pytest.raises(InputError) as error:
        lowered(graph)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_float_operator_is_refused_by_name():
    b = Quantized("float")
    x = b.convolved(b.q(b.input((1, 2, 4, 4))), 3)
    assert "Softmax 'Softmax_" in refusal(b.build(b.q(b.softmax(x))))


def test_a_float_operand_is_refused_with_what_made_it():
    b = Quantized("float")
    x = b.convolved(b.q(b.input((1, 2, 4, 4))), 3, bias=False)
    y = b.convolved(x, 3, bias=False)
    text = refusal(b.build(b.q(y)))
    assert text.startswith(f"operator Conv {x!r}")
    assert f"the quantizer left it in float: its result {x!r} is not quantized" in text
    assert f"reads {x!r} in float" in text


def test_a_float_output_is_refused():
    b = Quantized("float")
    x = b.convolved(b.q(b.input((1, 2, 4, 4))), 3)
    assert "is an output of the network but is not quantized" in refusal(b.build(x))


def test_a_weight_of_minus_128_is_a_sum_of_two():
    b = Quantized("weight")
    graph = b.build(b.q(b.matmul(b.q(b.input((7, 2))), b.w((2, 1), values=[-128, 5]))))
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize(("values", "zero", "copies"), [([100, 140], 120, 1), ([3, 255], 100, 2), ([0, 1], 255, 3)])
def test_a_weight_with_a_zero_point_is_a_sum_of_weights_without(values, zero, copies):
    b = Quantized("asymmetric")
    y = b.matmul(b.q(b.input((3, 2))), b.w((2, 1), values=values, dtype="uint8", zero=zero))
    graph = b.build(b.q(y, scale=0.1))
    assert steps_apart(graph) <= 1
    (product,) = (op for op in lowered(graph).operations if isinstance(op, ir.Convolution))
    assert product.weight.shape == (1, 1, 1, 2 * copies)


@pytest.mark.parametrize("per_group", [1, 2])
def test_a_wide_weight_in_groups_is_a_sum_of_several(per_group):
    b = Quantized("groups")
    x = b.q(b.input((1, 2 * per_group, 4, 4)))
    weight = b.w((2, per_group, 1, 1), values=[0, 255, 90, 7][: 2 * per_group], dtype="uint8", zero=3)
    graph = b.build(b.q(b.node("Conv", [x, weight], (1, 2, 4, 4), kernel_shape=(1, 1), group=2), scale=0.2))
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize(("lowest", "stored"), [(-7, "int4"), (-8, "dictionary-16")])
def test_a_weight_of_four_bits_keeps_them(lowest, stored):
    b = Quantized("int4", opset=21)
    values = np.resize(np.arange(lowest, 8), 8 * 6).tolist()
    graph = b.build(b.q(b.matmul(b.q(b.input((3, 8))), b.w((8, 6), values=values, dtype="int4"))))
    assert steps_apart(graph) <= 1
    (product,) = (op for op in lowered(graph).operations if isinstance(op, ir.Convolution))
    assert product.weight_format == stored


def test_scales_that_do_not_fit_are_refused():
    b = Quantized("scales")
    y = b.matmul(b.q(b.input((1, 2)), scale=10.0), b.w((2, 1), scale=10.0))
    assert "the scales do not fit" in refusal(b.build(b.q(y, scale=1e-7)))


def test_sums_of_more_than_32_bits_are_refused():
    b = Quantized("sums")
    y = b.matmul(b.q(b.input((1, 70_000))), b.w((70_000, 1), values=[127] * 70_000))
    assert "do not fit into 32 bits" in refusal(b.build(b.q(y, scale=10.0)))


def test_a_function_that_is_not_a_number_is_refused():
    b = Quantized("nan")
    assert "is not a number" in refusal(b.build(b.q(b.unary("Sqrt", b.q(b.input((1, 4)))))))
