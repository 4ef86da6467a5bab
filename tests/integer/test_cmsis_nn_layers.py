"""Layers with the shapes, parameters and edge cases of CMSIS-NN's unit tests, and numbers of our own.

The truth is ONNX Runtime, which computes the same pairs in float; for an LSTM with a state of 8 bits it is NumPy.
CMSIS-NN rounds twice where this engine and ONNX round once, so that its expected integers are no truth here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.integer.run.library import Library
from tests.integer.layers import LIMITS, X_SCALE, Layer, LayerBuilder, computed, require_nearly_equal

pytestmark = pytest.mark.processor(runtime="onnxruntime")
BYTE, SHORT = LIMITS["int8"], LIMITS["int16"]

# Each line: batch, channels in and out, height x width, kernel, strides, dilations, groups, padding, zero points of x
# and y, bounds of y. Then: x16, w4: bits of x and the weight; free: without a bias; huge: with one that may fill 32
# bits; full: with the largest integers only.
CONVOLUTIONS = """
1 1 1 8x5 4x2 1x1 1x1 1 VALID -128 127 -128 127
1 5 15 15x15 5x5 1x1 1x1 1 VALID -128 0 -128 127 w4
1 1 1 8x5 4x2 1x1 1x1 1 VALID -128 0 -128 127 w4
2 4 3 1x2 1x3 1x1 1x1 1 SAME -128 -60 -127 127
1 4 3 1x2 1x3 2x1 1x1 1 SAME -128 0 -128 127 w4
1 4 3 1x296 1x48 1x2 1x1 1 VALID -128 127 -111 127
1 4 3 1x296 1x48 1x2 1x1 1 VALID -128 0 -128 127 w4 free
1 4 1 1x296 1x48 1x2 1x1 1 SAME -128 -60 -111 127
1 4 1 1x296 1x48 1x2 1x1 1 SAME -128 0 -112 127 w4 free
1 4 4 1x16 1x3 1x2 1x1 1 SAME -128 -17 -88 127
1 4 4 1x16 1x3 1x2 1x1 1 SAME -128 0 -99 127 w4 free
1 4 1 1x17 1x3 1x3 1x1 1 SAME -128 -128 -88 127
1 4 1 1x17 1x3 1x3 1x1 1 SAME -128 0 -109 127 w4 free
1 1 16 1x4 1x8 1x4 1x1 1 SAME -128 61 -125 126
2 20 15 1x148 1x32 1x1 1x1 1 SAME -128 -4 -127 127
2 12 10 1x148 1x48 1x2 1x1 1 SAME -128 24 -127 127
1 2 4 3x6 3x3 1x1 1x1 1 SAME -128 -3 -101 127
1 2 4 3x6 3x3 1x1 1x1 1 SAME -128 0 -119 127 w4 free
1 2 2 10x10 3x3 1x1 2x2 1 VALID -128 -128 -61 107
1 2 2 10x10 3x3 1x1 2x2 1 VALID -128 0 -128 127 w4
1 2 2 5x5 3x3 1x1 2x2 1 SAME -128 115 -61 107
1 2 2 5x5 3x3 1x1 2x2 1 SAME -128 0 -128 127 w4
1 2 2 3x3 3x3 1x1 2x2 1 SAME -128 -68 -61 107
1 2 2 3x3 3x3 1x1 3x2 1 SAME -128 0 -128 127 w4
1 2 2 3x3 3x3 1x1 2x3 1 SAME -128 -7 -61 107
1 2 2 3x3 3x3 1x1 2x3 1 SAME -128 0 -128 127 w4
1 2 2 11x9 3x3 1x1 2x2 1 SAME -128 -26 -61 107
1 5 2 5x5 3x3 1x1 3x3 1 SAME -128 0 -128 127 w4
1 3 1 49x10 10x4 2x1 1x1 1 SAME -128 96 -127 127
1 3 1 49x10 10x4 2x1 1x1 1 SAME -128 0 -128 127 w4 free
3 3 3 5x5 3x2 2x2 1x1 1 VALID -128 -128 -109 127
1 3 3 5x5 3x2 2x2 1x1 1 VALID -128 0 -128 127 w4
1 128 1 1x128 3x3 4x4 1x1 1 SAME -128 127 -88 127
1 128 1 1x128 3x3 4x4 1x1 1 SAME -128 0 -128 127 w4 free
2 1 3 4x6 2x2 1x1 2x3 1 SAME -128 -18 -128 127
1 1 3 4x6 2x2 1x1 2x3 1 SAME -128 0 -128 127 w4 free
1 4 2 3x3 3x3 1x1 1x1 1 SAME -128 -61 -61 107
1 4 2 3x3 3x3 1x1 1x1 1 SAME -128 0 -61 108 w4 free
2 19 7 5x7 1x1 1x1 1x1 1 VALID -128 13 -126 127
1 19 7 5x7 1x1 1x1 1x1 1 VALID -128 0 -128 127 w4
1 60 60 1x1 1x1 1x1 1x1 1 VALID -128 0 -128 127 w4
1 18 47 1x43 1x1 1x1 1x1 1 VALID -128 0 -128 127 w4 huge
2 9 5 4x7 1x1 1x3 1x1 1 VALID -128 98 -126 127
1 9 5 4x7 1x1 1x3 1x1 1 VALID -128 0 -128 127 w4 huge
3 23 15 6x7 1x1 2x2 1x1 1 VALID -128 61 -6 127
1 23 15 6x7 1x1 2x2 1x1 1 VALID -128 0 -6 127 w4
2 5 5 4x4 1x1 2x2 1x1 1 VALID -128 8 -126 127
1 5 5 4x4 1x1 2x2 1x1 1 VALID -128 0 -128 127 w4 free
2 5 5 4x4 1x1 3x3 1x1 1 VALID -128 40 -126 127
1 5 5 4x4 1x1 3x3 1x1 1 VALID -128 0 -128 127 w4 free
1 1 1 7x7 3x3 2x2 1x1 1 SAME -128 -20 -128 127
1 1 1 7x7 3x3 2x2 1x1 1 SAME -128 0 -128 127 w4
1 1 1 7x7 3x3 2x2 1x1 1 SAME -128 127 -128 127
2 2 6 5x5 2x2 1x1 1x1 2 VALID -128 -56 -128 127
1 4 2 3x7 2x1 1x1 1x1 2 VALID -128 127 -128 127
2 2 4 2x3 2x3 2x2 1x1 2 SAME -128 47 -128 127
1 3 6 9x9 2x2 1x1 3x3 3 SAME -128 -62 -128 127
1 55 4 8x10 4x9 1x1 1x1 1 VALID 0 0 -32768 32767 x16
1 55 9 8x10 4x9 1x1 1x1 1 VALID 0 0 -32667 32767 x16 free
1 12 9 8x10 4x9 1x1 1x1 1 VALID 0 0 32667 32767 x16 full
1 8 8 4x4 2x2 1x2 1x1 1 VALID 0 0 -32768 32767 x16 huge
1 2 2 32x32 2x2 1x1 2x2 1 VALID 0 0 -32768 32767 x16 huge
2 3 4 8x7 4x2 1x1 2x2 1 SAME 0 0 -13335 32767 x16
1 3 4 8x7 4x2 1x1 1x2 1 SAME 0 0 -23335 32767 x16
1 8 8 4x4 2x2 1x1 1x1 1 SAME 0 0 -32768 32767 x16 huge
1 2 2 32x32 2x2 1x1 2x2 1 VALID 0 0 -32768 32767 x16
1 3 4 8x7 4x2 1x1 2x2 1 SAME 0 0 -13335 32767 x16
1 3 4 8x7 4x2 1x1 1x2 1 SAME 0 0 -32768 32767 x16
"""
DEPTHWISE = """
1 3 9 5x6 4x3 2x2 1x1 3 SAME -128 15 -73 127
1 1 1 7x7 3x3 1x1 2x2 1 SAME -128 -107 -70 127
1 250 250 5x7 2x2 1x1 1x1 250 SAME -128 8 -128 127
1 22 22 23x1 3x1 1x1 1x1 22 VALID -128 2 -127 127 w4
1 19 19 6x6 5x5 1x1 1x1 19 VALID -128 2 -127 127 w4
1 1 1 2x2 2x2 1x1 1x1 1 VALID -128 2 -127 127 w4
1 3 3 4x4 2x2 2x2 1x1 3 VALID -128 2 -127 127 w4
1 2 8 16x16 8x8 2x2 1x1 2 VALID -128 2 -127 127 w4
1 3 9 9x9 5x6 1x2 1x1 3 SAME -128 -2 -127 127 w4
1 4 8 9x9 5x5 1x1 2x2 4 VALID -128 -2 -127 125 w4
1 1 3 10x12 5x5 2x1 1x1 1 SAME -128 -2 -127 127 w4
1 20 20 21x21 5x5 2x1 2x2 20 VALID -128 -2 -127 125 w4
1 4 12 21x21 3x3 1x1 2x1 4 VALID -128 -2 -127 125 w4
1 5 5 5x4 3x3 2x2 1x1 5 SAME -128 -26 -104 127
1 5 5 5x4 3x3 2x2 1x1 5 SAME -128 60 -104 127 free
2 3 3 5x3 4x2 2x2 1x1 3 SAME -128 -41 -128 127
1 2 2 5x4 2x2 1x1 1x1 2 SAME -128 -40 -128 127 free
1 2 16 5x4 2x2 1x1 1x1 2 SAME -128 -4 -128 127 free
1 3 3 5x6 4x3 2x2 1x1 3 VALID -128 -42 -45 103
1 9 9 5x7 2x2 1x1 1x1 9 VALID -128 28 -128 127
1 9 9 5x7 2x2 1x2 1x1 9 VALID -128 23 -128 127
1 4 8 5x9 4x3 2x3 1x1 4 SAME 0 0 -21111 32767 x16
1 4 8 5x9 4x4 1x1 2x3 4 SAME 0 0 -32700 32767 x16
1 8 8 4x4 2x2 1x1 1x1 8 VALID 0 0 -17000 32767 x16
3 8 8 5x5 3x3 1x1 1x1 8 VALID 0 0 -17000 32767 x16
3 8 8 4x4 2x3 1x1 1x1 8 VALID 0 0 -17000 32767 x16 free
1 8 8 4x4 2x2 1x1 1x1 8 VALID 0 0 -17000 32767 x16 free
3 5 5 4x4 3x3 1x2 1x1 5 SAME 0 0 -30000 32767 x16
3 5 5 4x4 3x3 1x2 1x1 5 SAME 0 0 -30000 32767 x16 free
2 8 8 4x4 2x2 2x2 1x1 8 VALID 0 0 -32768 16000 x16
2 8 8 4x4 2x2 2x2 1x1 8 VALID 0 0 -32768 16000 x16 free
1 8 8 4x4 2x2 1x1 1x1 8 VALID 0 0 -17000 32767 x16 huge
1 2 8 5x4 4x3 2x3 1x1 2 VALID 0 0 -32767 32767 x16
"""
# Rows, depth, columns, zero points of x, the weight and y, bounds of y, and the same at the end.
PRODUCTS = """
3 20 6 -128 0 -102 -128 127
1 16 9 -128 0 -42 -128 127
1 20 4 -128 0 67 -128 127
2 33 5 -128 0 24 -128 127 free
1 10 4 -128 0 127 -70 100
3 20 6 2 15 35 -128 127
1 89 22 -128 0 11 -128 127 rows
1 82 21 3 0 -3 -128 127 w4
1 84 23 -4 0 16 -128 127 w4
1 86 25 1 0 0 -128 127 w4 free
1 85 19 -2 0 0 -128 127 w4 free
1 89 22 120 0 100 -128 127 w4
1 89 22 -127 0 127 -128 127 w4
3 560 11 0 0 0 -32768 32767 x16
2 63 11 0 0 0 -9999 32767 x16
3 700 11 0 0 0 -1444 32767 x16
"""
# Batch, channels, height x width, kernel, strides, padding, bounds, bits.
AVERAGES = """
1 20 12x22 5x6 5x9 SAME -128 127 8
1 3 5x9 5x9 2x1 VALID -128 127 8
1 5 1x12 1x3 2x1 SAME -128 127 8
1 2 1x9 1x1 1x2 VALID -128 127 8
3 2 20x1 3x1 3x1 SAME -128 127 8
1 1 3x3 3x1 1x1 SAME 0 6 8
1 17 4x6 3x2 1x2 SAME -32768 32767 16
3 2 1x9 1x1 1x2 VALID -32768 32767 16
1 20 1x9 1x1 1x2 VALID -32768 32767 16
2 8 12x22 5x6 5x9 SAME -32768 32767 16
"""
MAXIMA = """
2 8 12x22 5x6 5x9 SAME -128 127 8
1 3 5x9 5x9 2x1 VALID -128 127 8
1 5 1x12 1x3 2x1 SAME -128 127 8
1 2 1x9 1x1 1x2 VALID -128 127 8
1 2 20x1 3x1 3x1 SAME -128 127 8
1 20 3x3 1x1 1x1 SAME -128 127 8
1 17 5x1 4x3 3x1 SAME -128 127 8
1 1 2x4 2x2 2x2 VALID 0 6 8
3 2 3x4 2x2 2x2 VALID -32768 32767 16
4 2 1x5 3x3 1x2 SAME -30000 30000 16
1 3 7x7 3x3 1x1 VALID -30000 30000 16
"""
# Batch, channels in and out, height x width, kernel, strides, zero point of y, begin of the padding, size of y.
TRANSPOSED = """
2 9 3 9x9 6x6 2x2 -6 2x2 18x18
1 15 4 12x12 3x3 1x3 13 0x0 14x36
3 7 5 7x1 1x5 5x2 69 0x1 35x2
3 32 5 7x1 3x3 1x3 -3 0x0 9x3
1 32 2 5x3 2x2 1x1 -111 0x0 5x3
1 17 5 1x2 1x1 2x2 31 0x0 2x4
1 17 17 2x2 2x2 2x1 5 0x0 4x2
2 1 1 2x2 3x3 1x2 26 0x0 4x5
"""
# Operator, shapes of both operands, bounds, bits.
PAIRS = """
Add 1x128 1x128 -128 127 8
Add 1x128 1x128 -32768 32767 16
Add 1x105 1x105 -2000 32767 16
Mul 1x160 1x160 -128 127 8
Mul 1x160 1x160 -32768 32767 16
Mul 1x245 1x245 -32768 1000 16
Max 2x21x1x6 1x21x1x6 -128 127 8
Max 2x1x2x4 2x24x2x4 -128 127 8
Max 2x17x1x2 2x17x4x2 -128 127 8
Max 2x19x1x4 2x19x1x1 -128 127 8
Max 2x18x2x3 2x18x2x3 -128 127 8
Max 1x1x1x1 1x19x2x4 -128 127 8
Max 1x19x2x4 1x1x1x1 -128 127 8
Min 2x21x1x6 1x21x1x6 -128 127 8
Min 2x1x2x4 2x24x2x4 -128 127 8
Min 2x17x1x2 2x17x4x2 -128 127 8
Min 2x19x1x4 2x19x1x1 -128 127 8
Min 2x18x2x3 2x18x2x3 -128 127 8
Min 1x1x1x1 1x19x2x4 -128 127 8
Min 1x19x2x4 1x1x1x1 -128 127 8
"""
# Batch, input size, filters, rank, memory, bits of the memory, zero point of x.
SVDF = """
2 3 24 8 8 16 0
3 7 5 1 2 16 0
3 7 10 2 2 16 0
1 20 12 1 2 16 0
1 20 12 1 2 8 0
2 40 26 2 3 8 12
"""
LSTMS = [
    "10 1 22 11 8",
    "9 1 6 7 8",
    "1 3 22 3 8",
    "2 2 6 7 8",
    "10 1 22 11 16",
    "9 1 6 7 16",
    "1 3 22 3 16",
    "2 2 6 7 16",
]
MATRIX_PAIRS = [  # shapes of both operands, and which of them are transposed
    ((3, 3, 32, 16), (3, 3, 16, 24), ""),
    ((3, 3, 32, 16), (1, 1, 24, 16), "b"),
    ((1, 1, 16, 32), (3, 3, 16, 24), "a"),
    ((3, 1, 16, 32), (1, 3, 24, 16), "ab"),
    ((1, 3, 32, 16), (3, 1, 24, 16), "b"),
]
TRANSPOSES = [
    ((5, 4, 20), (0, 2, 1)), ((5, 4, 20), (1, 2, 0)), ((5, 4, 12, 17), (3, 1, 2, 0)), ((4, 3, 3, 22), (3, 2, 1, 0)),
    ((5, 20), (1, 0)), ((4, 9, 3, 19), (0, 3, 1, 2)), ((5, 4, 3, 9), (0, 3, 2, 1)), ((1, 1, 128, 128), (0, 1, 3, 2)),
    ((1, 19, 3, 64), (0, 2, 1, 3)), ((4, 3, 3, 21), (2, 3, 1, 0)),
]  # fmt: skip
PADS = [((0, 1, 0, 1), (0, 2, 0, 2)), ((0, 0, 2, 2), (0, 0, 1, 1))]
SOFTMAXES = [(2, 5, "int8", "int8"), (2, 12, "int8", "int16"), (3, 10, "int16", "int16")]
REFUSED = {  # what the engine does not know, and why
    "MaxPool of 16 bits": 3, "MatMul of two 16-bit tensors": 5, "Softmax with 16 bits": 2,
}  # fmt: skip


def lines(table: str) -> list[str]:
    return table.strip().splitlines()


def numbers(text: str) -> tuple[int, ...]:
    """Of a size such as 3x5."""
    return tuple(int(n) for n in text.split("x"))


def output_size(size: tuple[int, ...], spans: Sequence[int], strides: tuple[int, ...], padding: str) -> tuple[int, ...]:
    """That of windows of `spans` elements, with as much padding as there are inputs for, or none."""
    return tuple(
        -(-n // stride) if padding == "SAME" else (n - span) // stride + 1
        for n, span, stride in zip(size, spans, strides, strict=True)
    )


def require(layer: Layer, kernels: Library, wanted: np.ndarray | None = None, *, is_refused: bool = False) -> None:
    """What the engine knows is computed as wanted; of the rest it says that 16 bits are the reason."""
    if not is_refused:
        require_nearly_equal(layer, kernels, wanted)
        return
    with pytest.raises(InputError, match="16 bits"):
        computed(layer, kernels)


def test_a_small_share_of_the_cases_is_refused():
    tables = (CONVOLUTIONS, DEPTHWISE, PRODUCTS, AVERAGES, MAXIMA, TRANSPOSED, PAIRS, SVDF)
    lists = (LSTMS, MATRIX_PAIRS, MATRIX_PAIRS, TRANSPOSES, PADS, SOFTMAXES)
    count = sum(len(lines(table)) for table in tables) + sum(len(each) for each in lists)
    assert count > 190
    assert sum(REFUSED.values()) < 0.06 * count


# -- products ------------------------------------------------------------------------------------------


def multiplied(x_type: str, depth: int, zero: int) -> tuple[float, float]:
    """The deviation of sums of `depth` products, and the step of a result that has room for most of them."""
    least, most = LIMITS[x_type]
    x = X_SCALE[x_type] * math.hypot((most - least) / math.sqrt(12), (most + least) / 2 - zero)
    deviation = math.sqrt(depth) * x * 0.7
    return deviation, deviation / (13000 if x_type == "int16" else 50)


def convolution(line: str) -> Layer:
    n, c, out, size, kernel, strides, dilations, groups, padding, zero_x, zero_y, low, high, *options = line.split()
    x_type = "int16" if "x16" in options else "int8"
    shape, window = numbers(size), numbers(kernel)
    b = LayerBuilder(line)
    x = b.entered((int(n), int(c), *shape), int(zero_x), x_type, low=32667 if "full" in options else None)
    depth = int(c) // int(groups)
    weight, scales = b.row_weight(
        (int(out), depth, *window), 0, "int4" if "w4" in options else "int8", 100 if "full" in options else None
    )
    deviation, step = multiplied(x_type, depth * math.prod(window), int(zero_x))
    most = 2.0**31 * X_SCALE[x_type] if "huge" in options else deviation
    biases = [] if "free" in options else [b.bias(scales * np.float32(X_SCALE[x_type]), most)]
    spans = [(k - 1) * d + 1 for k, d in zip(window, numbers(dilations), strict=True)]
    steps = numbers(strides)
    result = output_size(shape, spans, steps, padding)
    over = [max(0, (o - 1) * s + span - n) for o, s, span, n in zip(result, steps, spans, shape, strict=True)]
    y = b.node(
        "Conv", [x, weight, *biases], (int(n), int(out), *result), kernel_shape=window, strides=steps,
        dilations=numbers(dilations), group=int(groups), pads=(*(p // 2 for p in over), *(p - p // 2 for p in over)),
    )  # fmt: skip
    return b.left(y, step, int(zero_y), x_type, int(low), int(high))


@pytest.mark.parametrize("line", lines(CONVOLUTIONS))
def test_a_convolution(line, kernels):
    require(convolution(line), kernels)


@pytest.mark.parametrize("line", lines(DEPTHWISE))
def test_a_depthwise_convolution(line, kernels):
    require(convolution(line), kernels)


@pytest.mark.parametrize("line", lines(PRODUCTS))
def test_a_fully_connected_layer(line, kernels):
    rows, depth, columns, zero_x, zero_w, zero_y, low, high, *options = line.split()
    x_type = "int16" if "x16" in options else "int8"
    b = LayerBuilder(line)
    x = b.entered((int(rows), int(depth)), int(zero_x), x_type)
    deviation, step = multiplied(x_type, int(depth), int(zero_x))
    shape = int(columns), int(depth)
    if "rows" in options:
        weight, scales = b.row_weight(shape)
    else:
        kind = "int4" if "w4" in options else "int8"
        scales = np.full(1, 1 / LIMITS[kind][1], np.float32)
        values = b.rng.integers(LIMITS[kind][0], LIMITS[kind][1] + 1, shape)
        weight = b.stored(values, scales, kind, zero=int(zero_w))
    scales = np.broadcast_to(scales, int(columns)) * np.float32(X_SCALE[x_type])
    biases = [] if "free" in options else [b.bias(scales, deviation)]
    y = b.node("Gemm", [x, weight, *biases], (int(rows), int(columns)), transB=1)
    require(b.left(y, step, int(zero_y), x_type, int(low), int(high)), kernels)


@pytest.mark.parametrize("line", lines(TRANSPOSED))
def test_a_transposed_convolution(line, kernels):
    n, c, out, size, kernel, strides, zero_y, begin, result = line.split()
    shape, window, steps, first, last = (numbers(each) for each in (size, kernel, strides, begin, result))
    b = LayerBuilder(line)
    x = b.entered((int(n), int(c), *shape), -128)
    weight, scales = b.row_weight((int(c), int(out), *window), axis=1)
    deviation, step = multiplied(
        "int8", int(c) * math.prod(-(-k // s) for k, s in zip(window, steps, strict=True)), -128
    )
    over = [(i - 1) * s + k - o for i, s, k, o in zip(shape, steps, window, last, strict=True)]
    ends = [max(0, each - at) for each, at in zip(over, first, strict=True)]
    y = b.node(
        "ConvTranspose", [x, weight, b.bias(scales * np.float32(X_SCALE["int8"]), deviation)],
        (int(n), int(out), *last), kernel_shape=window, strides=steps, pads=(*first, *ends),
        output_padding=tuple(max(0, -each) for each in over),
    )  # fmt: skip
    require(b.left(y, step, int(zero_y)), kernels)


def matrix_pair(a_shape: tuple[int, ...], b_shape: tuple[int, ...], turned: str, dtype: str) -> Layer:
    b = LayerBuilder(f"{a_shape} by {b_shape}")
    zero = -128 if dtype == "int8" else 0
    operands = [b.entered(shape, zero, dtype) for shape in (a_shape, b_shape)]
    left, right = (
        b.transpose(x, (0, 1, 3, 2)) if name in turned else x for name, x in zip("ab", operands, strict=True)
    )  # fmt: skip
    x_scale = X_SCALE[dtype] * math.hypot(74, 128) if dtype == "int8" else X_SCALE[dtype] * 18918
    y = b.matmul(left, right)
    return b.left(y, 4 * x_scale**2 / (50 if dtype == "int8" else 13000), zero, dtype)


@pytest.mark.parametrize(("a", "b", "turned"), MATRIX_PAIRS)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_batch_of_matrix_products_of_at_most_8_bits(a, b, turned, dtype, kernels):
    require(matrix_pair(a, b, turned, dtype), kernels, is_refused=dtype == "int16")


# -- elements and windows ------------------------------------------------------------------------------


def pool(op: str, line: str) -> Layer:
    n, c, size, kernel, strides, padding, low, high, bits = line.split()
    dtype = "int16" if bits == "16" else "int8"
    shape, window, steps = (numbers(each) for each in (size, kernel, strides))
    b = LayerBuilder(line)
    x = b.entered((int(n), int(c), *shape), 5 if bits == "8" else 0, dtype)
    y = b.node(
        op, [x], (int(n), int(c), *output_size(shape, window, steps, padding)), kernel_shape=window, strides=steps,
        auto_pad="SAME_UPPER" if padding == "SAME" else "VALID",
    )  # fmt: skip
    return b.left(y, X_SCALE[dtype], 5 if bits == "8" else 0, dtype, int(low), int(high))


@pytest.mark.parametrize("line", lines(AVERAGES))
def test_an_average_pool(line, kernels):
    require(pool("AveragePool", line), kernels)


@pytest.mark.parametrize("line", lines(MAXIMA))
def test_a_max_pool(line, kernels):
    require(pool("MaxPool", line), kernels, is_refused=line.endswith("16"))


@pytest.mark.parametrize("line", lines(PAIRS))
def test_an_operator_of_two_tensors(line, kernels):
    op, first, second, low, high, bits = line.split()
    dtype = "int16" if bits == "16" else "int8"
    zero = -128 if bits == "8" else 0
    b = LayerBuilder(line)
    left, right = (b.entered(numbers(shape), zero, dtype) for shape in (first, second))
    # Not twice the step for a sum: half of the results would be ties.
    step = X_SCALE[dtype] * {"Add": 1.97, "Mul": X_SCALE[dtype] * LIMITS[dtype][1]}.get(op, 1.0)
    require(b.left(b.binary(op, left, right), step, zero, dtype, int(low), int(high)), kernels)


@pytest.mark.parametrize(("shape", "order"), TRANSPOSES)
def test_a_transpose(shape, order, kernels):
    b = LayerBuilder("transpose")
    require(b.left(b.transpose(b.entered(shape), order), X_SCALE["int8"]), kernels)


@pytest.mark.parametrize(("begin", "end"), PADS)
def test_a_pad(begin, end, kernels):
    b = LayerBuilder("pad")
    x, size = (
        b.entered((1, 2, 2, 2), -128),
        tuple(2 + i + j - (n == 0) for n, (i, j) in enumerate(zip(begin, end, strict=True))),
    )
    y = b.node("Pad", [x, b.constant([*begin, *end])], size)
    require(b.left(y, X_SCALE["int8"], -128), kernels)


@pytest.mark.parametrize(("rows", "size", "x", "y"), SOFTMAXES)
def test_a_softmax(rows, size, x, y, kernels):
    b = LayerBuilder("softmax")
    given = b.entered((rows, size), 0, x)
    layer = b.left(b.softmax(given), 1 / 256 if y == "int8" else 1 / 32768, -128 if y == "int8" else 0, y)
    require(layer, kernels, is_refused="int16" in (x, y))


# -- layers with a state -------------------------------------------------------------------------------


@pytest.mark.parametrize("line", lines(SVDF))
def test_a_singular_value_decomposition_filter(line, kernels):
    """Its memory is an input, as it is kept by the caller; the filters over time are a grouped convolution."""
    batch, size, filters, rank, memory, bits, zero = (int(n) for n in line.split())
    b = LayerBuilder(line)
    kind, units = "int16" if bits == 16 else "int8", filters // rank
    x = b.entered((batch, size), zero)
    by_feature, _ = b.row_weight((filters, size))
    deviation, _ = multiplied("int8", size, zero)
    grid = (deviation / (8000 if bits == 16 else 40), 0, kind)
    features = b.q(b.node("Gemm", [x, by_feature], (batch, filters), transB=1), *grid)
    known = b.entered((batch, filters, memory - 1), 0, kind, grid[0])
    whole = b.q(b.concat([known, b.reshape(features, (batch, filters, 1))], 2), *grid)
    by_time, scales = b.row_weight((units, rank, memory))
    summed = deviation * math.sqrt(rank * memory)
    y = b.node(
        "Conv", [whole, by_time, b.bias(scales * np.float32(grid[0]), summed)], (batch, units, 1),
        kernel_shape=(memory,), group=units,
    )  # fmt: skip
    require(b.left(y, summed / 40), kernels)


@pytest.mark.parametrize("line", LSTMS)
def test_an_lstm(line, kernels):
    steps, batch, size, units, bits = (int(n) for n in line.split())
    b = LayerBuilder(line)
    x = b.entered((steps, batch, size), 0, "int16" if bits == 16 else "int8", 2.0**-11 if bits == 16 else 0.02)
    weights, arrays = [], []
    for depth in (size, units):
        values = b.rng.integers(-127, 128, (1, 4 * units, depth))
        scales = np.full(1, 1 / 127 / math.sqrt(depth), np.float32)
        weights.append(b.stored(values, scales, "int8"))
        arrays.append(values[0] * scales[0])
    (states,) = b.nodes("LSTM", [x, *weights], [("float32", (steps, 1, batch, units))], hidden_size=units)
    step = 1 / 128 if bits == 8 else 1 / 32768
    layer = b.left(states, step, 4 if bits == 8 else 0, "int8" if bits == 8 else "int16")
    given = b.inputs[next(iter(b.inputs))]
    wanted = fed_back(given.astype(np.float64), *arrays, step, 4 if bits == 8 else 0)
    if bits == 8:
        require(layer, kernels, wanted)
    else:  # of functions by lines, whose errors add up from step to step
        assert np.abs(computed(layer, kernels)[0] - wanted).max() < 2.0**-9


def fed_back(x: np.ndarray, of_x: np.ndarray, of_h: np.ndarray, step: float, zero: int) -> np.ndarray:
    """x: [steps, batch, size]. Returns [steps, 1, batch, units]: states on the grid on which each is fed back."""
    h = c = np.zeros((x.shape[1], len(of_h) // 4))
    states = []
    for given in x:
        in_, out, forget, fresh = np.split(given @ of_x.T + h @ of_h.T, 4, axis=1)
        in_, out, forget = (1 / (1 + np.exp(-gate)) for gate in (in_, out, forget))
        c = forget * c + in_ * np.tanh(fresh)
        h = (np.clip(np.rint(out * np.tanh(c) / step) + zero, *(BYTE if step > 1e-3 else SHORT)) - zero) * step
        states.append(h[None])
    return np.stack(states)
