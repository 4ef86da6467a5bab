"""Layers with the shapes and parameters of Deeploy's integer kernels, and numbers of our own, against ONNX Runtime.

Deeploy's own operators stand here as those of ONNX that they compute in integers: iSoftmax as Softmax, RequantShift as
the pair after an operator, or as a product with stored factors where it has one for each row.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.integer.layers import X_SCALE, Layer, LayerBuilder, require_nearly_equal

pytestmark = pytest.mark.processor(runtime="onnxruntime")
STEP = X_SCALE["int8"]

# Channels in and out, size, kernel, strides, padding at each end, groups.
CONVOLUTIONS = """
2 2 32 8 4 1 2
2 2 64x32 8x8 2x4 1 2
5 5 16x16 3x3 1x1 1 5
40 40 10x10 3x3 1x1 1 40
2 2 10x10 3x3 1x1 1 2
128 128 8x8 1x1 1x1 0 1
1024 32 6x6 1x1 1x1 0 1
500 17 10x10 1x1 1x1 0 1
2 4 32 8 4 1 1
8 16 32 3 1 1 1
2 4 64x32 8x8 2x4 1 1
2 4 64x32 8x8 1x1 1 1
40 4 10x10 3x3 1x1 1 1
36 4 10x10 3x3 1x1 1 1
3 2 5x5 3x3 2x2 0 1
"""
# Shape of x, columns of the stored weight, whether it is transposed, alpha, beta, and what is added: a row or a matrix.
PRODUCTS = [
    ((32, 32), 32, True, 1.0, 1.0, "matrix"), ((20, 1024), 10, True, 1.0, 1.0, "row"),
    ((32, 48), 64, False, 2.0, 3.0, "matrix"), ((32, 123), 4, True, 1.0, 1.0, "matrix"),
]  # fmt: skip
MATRIX_PAIRS = [((4, 1, 4, 8), (4, 1, 8, 4)), ((1, 2, 32, 48), (1, 2, 48, 64))]
SUMS = [("Add", (1, 1, 128, 128)), ("Add", (1, 5, 5, 5)), ("Add", (1, 128, 128)), ("Sub", (1, 8, 16)), ("Add", (1, 16))]


@pytest.mark.parametrize("line", CONVOLUTIONS.strip().splitlines())
def test_a_convolution(line, kernels):
    c, out, size, kernel, strides, pad, groups = line.split()
    shape, window, steps = (tuple(int(n) for n in each.split("x")) for each in (size, kernel, strides))
    b = LayerBuilder(line)
    depth, ends = int(c) // int(groups), 2 * int(pad)
    x, (weight, _) = b.entered((1, int(c), *shape)), b.row_weight((int(out), depth, *window))
    result = [(n + ends - k) // s + 1 for n, k, s in zip(shape, window, steps, strict=True)]
    y = b.node(
        "Conv", [x, weight], (1, int(out), *result), kernel_shape=window, strides=steps, group=int(groups),
        pads=(int(pad),) * 2 * len(shape),
    )  # fmt: skip
    require_nearly_equal(b.left(y, STEP * math.sqrt(depth * math.prod(window))), kernels)


@pytest.mark.parametrize(("shape", "columns", "is_turned", "alpha", "beta", "added"), PRODUCTS)
def test_a_matrix_product(shape, columns, is_turned, alpha, beta, added, kernels):
    b = LayerBuilder(f"{shape} by {columns}")
    x = b.entered(shape)
    weight, _ = b.row_weight(
        (columns, shape[1]) if is_turned else (shape[1], columns), 0 if is_turned else 1
    )  # fmt: skip
    size = (columns,) if added == "row" else (shape[0], columns)
    more = b.constant(b.rng.uniform(-20, 20, math.prod(size)).tolist(), "float32", shape=size)
    y = b.node("Gemm", [x, weight, more], (shape[0], columns), transB=int(is_turned), alpha=alpha, beta=beta)
    require_nearly_equal(b.left(y, STEP * alpha * math.sqrt(shape[1])), kernels)


def test_a_product_with_a_factor_for_each_row(kernels):
    b = LayerBuilder("rows")
    x, (weight, _) = b.entered((32, 48)), b.row_weight((48, 64), axis=1)
    product = b.q(b.matmul(x, weight), STEP / 32, 0, "int16")
    factors = b.constant(b.rng.uniform(0.2, 2, 32).tolist(), "float32", shape=(32, 1))
    require_nearly_equal(b.left(b.mul(product, factors), STEP * 7), kernels)


@pytest.mark.parametrize("batch", [(32,), (2, 2)])
def test_a_product_to_which_a_stored_tensor_is_added(batch, kernels):
    b = LayerBuilder(f"added {batch}")
    x, (weight, _) = b.entered((*batch, 48)), b.row_weight((48, 64), axis=1)
    rows = (*batch, 64) if batch == (32,) else (64,)
    product = b.matmul(x, weight)
    if len(rows) > 1:
        product = b.q(product, STEP / 32, 0, "int16")
    more = b.constant(b.rng.uniform(-20, 20, math.prod(rows)).tolist(), "float32", shape=rows)
    require_nearly_equal(b.left(b.add(product, more), STEP * 7), kernels)


@pytest.mark.parametrize(("first", "second"), MATRIX_PAIRS)
def test_a_product_of_two_tensors(first, second, kernels):
    b = LayerBuilder(f"{first} by {second}")
    y = b.matmul(b.entered(first, 7), b.entered(second, -9))
    require_nearly_equal(b.left(y, 70 * STEP**2 * math.sqrt(first[-1]), 3), kernels)


@pytest.mark.parametrize(("op", "shape"), SUMS)
def test_a_sum(op, shape, kernels):
    b = LayerBuilder(f"{op} {shape}")
    y = b.binary(op, b.entered(shape, 3), b.entered(shape, -4, scale=0.03))
    require_nearly_equal(b.left(y, 1.5 * STEP), kernels)


def test_two_sums_of_two_tensors_each(kernels):
    b = LayerBuilder("sums")
    w, x, y, z = (b.entered((1, 5, 5, 5)) for _ in range(4))
    first = b.q(b.add(w, x), 1.9 * STEP, 0, "int8")
    require_nearly_equal(b.left(b.add(first, b.q(b.add(y, z), 1.9 * STEP, 0, "int8")), 3 * STEP), kernels)


def identities(kind: str) -> Layer:
    b = LayerBuilder(kind)
    x = b.entered((1, 16))
    if kind == "before":
        x = b.unary("Identity", x)
    y = b.add(x, b.entered((1, 16)))
    return b.left(b.unary("Identity", b.q(y, 1.9 * STEP, 0, "int8")) if kind == "after" else y, 1.9 * STEP)


@pytest.mark.parametrize("kind", ["before", "after"])
def test_a_sum_beside_an_identity(kind, kernels):
    require_nearly_equal(identities(kind), kernels)


def test_a_concatenation(kernels):
    b = LayerBuilder("concat")
    y = b.concat([b.entered((1, 16, 16, 64)), b.entered((1, 16, 8, 64))], 2)
    require_nearly_equal(b.left(y, STEP), kernels)


@pytest.mark.parametrize(("shape", "kernel", "strides"), [((1, 128, 64), (3,), (2,)), ((1, 2, 64, 32), (8, 8), (2, 4))])
def test_a_max_pool(shape, kernel, strides, kernels):
    b = LayerBuilder(f"pool {shape}")
    result = [(n - k) // s + 1 for n, k, s in zip(shape[2:], kernel, strides, strict=True)]
    y = b.node("MaxPool", [b.entered(shape)], (*shape[:2], *result), kernel_shape=kernel, strides=strides)
    require_nearly_equal(b.left(y, STEP), kernels)


@pytest.mark.parametrize("shape", [(1, 2, 32), (1, 2, 64, 32)])
def test_a_pad(shape, kernels):
    b = LayerBuilder(f"pad {shape}")
    ends = [0, 0, *[1] * (len(shape) - 2)]
    y = b.node("Pad", [b.entered(shape, 5), b.constant(ends * 2)], (*shape[:2], *(n + 2 for n in shape[2:])))
    require_nearly_equal(b.left(y, STEP, 5), kernels)


@pytest.mark.parametrize(("op", "shape"), [("ReduceMean", (1, 32, 48, 32)), ("ReduceSum", (1, 32, 48, 64))])
def test_a_reduction(op, shape, kernels):
    b = LayerBuilder(op)
    y = b.node(op, [b.entered(shape, 9), b.constant([1])], (1, *shape[2:]), keepdims=0)
    require_nearly_equal(b.left(y, STEP / 3 if op == "ReduceMean" else STEP * 10), kernels)


def test_slices_along_two_axes(kernels):
    b = LayerBuilder("slices")
    y = b.slice(b.slice(b.entered((1, 8, 8, 8)), 1, 2, 5), 2, 0, 7)
    require_nearly_equal(b.left(y, STEP), kernels)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 4, 128, 128)])
def test_a_softmax(shape, kernels):
    b = LayerBuilder(f"softmax {shape}")
    require_nearly_equal(b.left(b.softmax(b.entered(shape, scale=0.02)), 1 / 256, -128), kernels)


def test_a_hard_swish(kernels):
    b = LayerBuilder("swish")
    require_nearly_equal(b.left(b.unary("HardSwish", b.entered((1, 1, 10, 100))), STEP, -100), kernels)


def test_a_quotient(kernels):
    b = LayerBuilder("quotient")
    y = b.binary("Div", b.entered((1, 16, 64)), b.entered((1, 16, 1), -128, low=20))
    require_nearly_equal(b.left(y, 1 / 100), kernels)


def test_a_linear_function_of_each_element(kernels):
    """iNoNorm: a normalization with neither mean nor deviation."""
    b = LayerBuilder("no norm")
    gain = b.constant(b.rng.uniform(0.5, 2, 128 * 128).tolist(), "float32", shape=(128, 128))
    scaled = b.q(b.mul(b.entered((1, 128, 128)), gain), STEP / 64, 0, "int16")
    more = b.constant(b.rng.uniform(-1, 1, 128).tolist(), "float32")
    require_nearly_equal(b.left(b.add(scaled, more), 2 * STEP), kernels)


def test_a_normalization_by_the_root_of_the_mean_square(kernels):
    b = LayerBuilder("rms", opset=23)
    gain = b.rng.uniform(0.5, 2, 64).astype(np.float32)
    x = b.entered((1, 16, 64))
    y = b.node("RMSNormalization", [x, b.constant(gain.tolist(), "float32")], (1, 16, 64), axis=-1, epsilon=1e-5)
    layer = b.left(y, 1 / 32)
    (given,) = (reals.astype(np.float64) for reals in layer.inputs.values())
    exact = given / np.sqrt(np.square(given).mean(axis=-1, keepdims=True) + 1e-5) * gain
    require_nearly_equal(layer, kernels, np.clip(np.rint(exact * 32), -128, 127) / 32)


def test_an_encoder_layer(kernels):
    """Attention with eight heads over 16 positions, and two products after it. A step of one tensor may be several of
    the next."""
    b = LayerBuilder("encoder")
    x = b.entered((1, 16, 64))

    def product(of: str, columns: int, step: float) -> str:
        weight, _ = b.row_weight((b.shape(of)[-1], columns), axis=1)
        return b.q(b.matmul(of, weight), step, 0, "int8")

    query, key, value = (
        b.transpose(b.reshape(product(x, 64, 6 * STEP), (1, 16, 8, 8)), order)
        for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
    )
    shares = b.q(b.softmax(b.q(b.matmul(query, key), 2.0, 0, "int8")), 1 / 256, -128, "int8")
    joined = b.reshape(b.transpose(b.q(b.matmul(shares, value), 6 * STEP, 0, "int8"), (0, 2, 1, 3)), (1, 16, 64))
    y = b.q(b.add(product(joined, 64, 40 * STEP), x), 40 * STEP, 0, "int8")
    inner = b.q(b.relu(product(y, 128, 200 * STEP)), 100 * STEP, -128, "int8")
    require_nearly_equal(b.left(b.add(product(inner, 64, 900 * STEP), y), 900 * STEP), kernels, most_steps=3)
