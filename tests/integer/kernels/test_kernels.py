"""Every kernel computes what the reference computes, bit for bit, on every instruction set that this machine has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwprof.integer.numerics.grid import LIMITS, HeldType
from hwprof.integer.program import program as ir
from hwprof.integer.program.program import Program, Rescale, Window
from hwprof.integer.run import reference
from tests.integer.programs import drawn_rescale, drawn_weight, of_one, run_kernels

SEEDS = st.integers(0, 2**32 - 1)
THREADS = st.sampled_from([1, 3])
thorough = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip


def integers_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: HeldType) -> np.ndarray:
    """Evenly drawn, or at one of the ends."""
    kind = rng.integers(4)
    if kind < 2:
        return np.full(shape, LIMITS[dtype][kind], dtype)
    return rng.integers(*LIMITS[dtype], shape, dtype=dtype, endpoint=True)


def bytes_of(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """As `integers_of`."""
    return integers_of(rng, shape, "uint8")


def agree(program: Program, rng: np.random.Generator, kernels, instruction_set: str, threads: int = 1) -> None:
    inputs = {e.input: integers_of(rng, e.shape, e.dtype) for e in program.entries}
    wanted = reference.run(program, inputs)
    got = run_kernels(program, inputs, kernels, instruction_set, threads)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)


def window_and_size(
    rng: np.random.Generator, largest: int, widest: int = 7
) -> tuple[Window, tuple[int, int], tuple[int, int]]:
    """A window, an image that it fits into, and the size of the result, which is up to `widest` pixels wide."""
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, n, 2)) for n in (largest + 1, 4, 3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pad = tuple(int(rng.integers(0, k)) for k in kernel)
    out = (int(rng.integers(1, 8)), int(rng.integers(1, widest + 1)))
    # The last window may reach over the end by as much as the first over the beginning.
    size = tuple(
        max(1, (o - 1) * s + r - p - int(rng.integers(0, p + 1)))
        for o, s, r, p in zip(out, stride, reach, pad, strict=True)
    )
    return Window(kernel, stride, dilation, pad), size, out


def convolution(
    rng: np.random.Generator, groups: int, columns: int, channels: int, largest: int, widest: int = 7
) -> Program:
    """columns, channels: of each group."""
    window, size, out = window_and_size(rng, largest, widest)
    batch = int(rng.integers(1, 3))
    weight = drawn_weight(rng, (groups * columns, *window.kernel, channels))
    low, high = sorted(int(v) for v in rng.integers(0, 256, 2)) if rng.random() < 0.3 else (0, 255)
    operation = ir.Convolution(
        "c", (), "x", "y", weight, rng.integers(-(2**20), 2**20, len(weight), dtype=np.int32),
        drawn_rescale(rng, len(weight), low, high), int(rng.integers(256)), window, groups,
    )  # fmt: skip
    shapes = {"x": (batch, *size, groups * channels), "y": (batch, *out, groups * columns)}
    return of_one(operation, shapes)


@thorough
@given(seed=SEEDS, threads=THREADS, columns=st.integers(1, 100), channels=st.integers(1, 40))
def test_a_convolution(kernels, instruction_set, seed, threads, columns, channels):
    rng = np.random.default_rng(seed)
    agree(convolution(rng, 1, columns, channels, 4), rng, kernels, instruction_set, threads)


@thorough
@given(seed=SEEDS, threads=THREADS, columns=st.integers(1, 70), channels=st.integers(1, 9))
def test_a_convolution_with_long_lines(kernels, instruction_set, seed, threads, columns, channels):
    rng = np.random.default_rng(seed)
    agree(convolution(rng, 1, columns, channels, 7, widest=40), rng, kernels, instruction_set, threads)


@thorough
@given(seed=SEEDS, groups=st.integers(2, 5), columns=st.integers(1, 40), channels=st.integers(1, 9))
def test_a_convolution_in_groups(kernels, instruction_set, seed, groups, columns, channels):
    rng = np.random.default_rng(seed)
    agree(convolution(rng, groups, columns, channels, 3), rng, kernels, instruction_set)


@thorough
@given(seed=SEEDS, threads=THREADS, channels=st.integers(2, 200))
def test_a_depthwise_convolution(kernels, instruction_set, seed, threads, channels):
    rng = np.random.default_rng(seed)
    agree(convolution(rng, channels, 1, 1, 5, widest=20), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize("largest", [64, 127])  # -64 to 64 is summed up in 16 bits on AVX2
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_a_depthwise_convolution_of_three_columns(kernels, instruction_set, stride, dilation, largest):
    rng = np.random.default_rng(stride)
    weight = rng.integers(-largest, largest + 1, (75, 3, 3, 1), dtype=np.int8)
    window = Window((3, 3), (1, stride), (2, dilation), (2, 1))
    bias = rng.integers(-(2**15), 2**15, 75, dtype=np.int32)
    operation = ir.Convolution("c", (), "x", "y", weight, bias, drawn_rescale(rng, 75), 7, window, 75)
    width = 8 * stride + 2 * dilation - 1  # of nine windows, with a pixel of padding at either end
    agree(of_one(operation, {"x": (1, 6, width, 75), "y": (1, 6, 9, 75)}), rng, kernels, instruction_set)


@thorough
@given(seed=SEEDS, threads=THREADS, rows=st.integers(1, 70), columns=st.integers(1, 130), depth=st.integers(1, 300))
def test_a_matrix_product(kernels, instruction_set, seed, threads, rows, columns, depth):
    rng = np.random.default_rng(seed)
    weight = drawn_weight(rng, (columns, 1, 1, depth))
    bias = rng.integers(-(2**20), 2**20, columns, dtype=np.int32)
    operation = ir.Convolution("m", (), "x", "y", weight, bias, drawn_rescale(rng, columns), 0)
    shapes = {"x": (1, rows, 1, depth), "y": (1, rows, 1, columns)}
    agree(of_one(operation, shapes), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_that_an_accumulator_holds(kernels, instruction_set, sign):
    depth = 65_000
    weight = np.full((1, 1, 1, depth), 127 * sign, np.int8)
    bias = np.array([sign * (2**31 - 1 - 255 * 127 * depth)], np.int32)
    rescale = Rescale(np.array([2**31 - 1], np.int32), np.array([54], np.int32), 128)
    operation = ir.Convolution("m", (), "x", "y", weight, bias, rescale, 0)
    program = of_one(operation, {"x": (1, 1, 1, depth), "y": (1, 1, 1, 1)})
    inputs = {"x": np.full((1, 1, 1, depth), 255, np.uint8)}
    got = run_kernels(program, inputs, kernels, instruction_set)["y"]
    np.testing.assert_array_equal(got, reference.run(program, inputs)["y"])
    assert got.item() == (255 if sign > 0 else 0)


@pytest.mark.parametrize("dilation", [1, 2])  # with 2, rows are gathered
@pytest.mark.parametrize("groups", [1, 110])
def test_more_rows_than_are_multiplied_at_once(kernels, instruction_set, dilation, groups):
    rng = np.random.default_rng(0)
    columns = 40 if groups == 1 else groups
    weight = rng.integers(-64, 65, (columns, 3, 3, 110 // groups), dtype=np.int8)
    window = Window((3, 3), dilation=(1, dilation), pad=(1, dilation))
    bias = np.zeros(columns, np.int32)
    operation = ir.Convolution("c", (), "x", "y", weight, bias, drawn_rescale(rng, columns), 7, window, groups)
    shapes = {"x": (1, 60, 45, 110), "y": (1, 60, 45, columns)}
    agree(of_one(operation, shapes), rng, kernels, instruction_set, 2)


BROADCASTS = [
    ((2, 3, 4, 5), (2, 3, 4, 5)), ((1, 7, 7, 24), (1, 1, 1, 24)), ((2, 5, 5, 9), (2, 1, 1, 9)), ((3, 8), (1, 1)),
    ((2, 3, 4), (1, 3, 1)), ((4, 6), (4, 1)), ((1,), (1,)), ((1, 300), (1, 300)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), BROADCASTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, threads=THREADS)
def test_an_addition(kernels, instruction_set, a, b, seed, threads):
    rng = np.random.default_rng(seed)
    factors = tuple(int(v) for v in rng.integers(0, 2**15, 2))
    shift = int(rng.integers(1, 23))
    offset = int(rng.integers(-(2**24), 2**24))
    operation = ir.Add("a", (), "a", "b", "y", factors, offset, shift, 3, 250)
    agree(of_one(operation, {"a": a, "b": b, "y": a}), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize(("a", "b"), BROADCASTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, shift=st.integers(1, 54))
def test_a_multiplication(kernels, instruction_set, a, b, seed, shift):
    rng = np.random.default_rng(seed)
    rescale = Rescale(rng.integers(0, 2**31 - 1, 1, dtype=np.int32), np.array([shift], np.int32), 100)
    zeros = (int(v) for v in rng.integers(0, 256, 2))
    operation = ir.Multiply("m", (), "a", "b", "y", *zeros, rescale)
    agree(of_one(operation, {"a": a, "b": b, "y": a}), rng, kernels, instruction_set)


@thorough
@given(seed=SEEDS, n=st.integers(1, 500), threads=THREADS)
def test_a_table(kernels, instruction_set, seed, n, threads):
    rng = np.random.default_rng(seed)
    operation = ir.Table("t", (), "x", "y", rng.integers(0, 256, 256, dtype=np.uint8))
    agree(of_one(operation, {"x": (n,), "y": (n,)}), rng, kernels, instruction_set, threads)


@thorough
@given(seed=SEEDS, channels=st.integers(1, 150), threads=THREADS)
def test_max_pooling(kernels, instruction_set, seed, channels, threads):
    rng = np.random.default_rng(seed)
    window, size, out = window_and_size(rng, 4)
    operation = ir.MaxPool("p", (), "x", "y", window)
    agree(of_one(operation, {"x": (2, *size, channels), "y": (2, *out, channels)}), rng, kernels, instruction_set)


@thorough
@given(seed=SEEDS, channels=st.integers(1, 150), counts_padding=st.booleans(), threads=THREADS)
def test_average_pooling(kernels, instruction_set, seed, channels, counts_padding, threads):
    rng = np.random.default_rng(seed)
    window, size, out = window_and_size(rng, 4)
    n = window.kernel[0] * window.kernel[1] + 1
    rescale = Rescale(rng.integers(2**30, 2**31 - 1, n, dtype=np.int32), np.full(n, 33, np.int32), 100)
    operation = ir.AveragePool("p", (), "x", "y", window, int(rng.integers(256)), rescale, counts_padding)
    agree(of_one(operation, {"x": (2, *size, channels), "y": (2, *out, channels)}), rng, kernels, instruction_set)


MOVED = (2, 3, 4, 5)  # the shape of x
MOVES = (  # and that of y
    (ir.Transpose("t", (), "x", "y", (0, 3, 1, 2)), (2, 5, 3, 4)),
    (ir.Transpose("t", (), "x", "y", (3, 2, 1, 0)), (5, 4, 3, 2)),
    (ir.Reshape("r", (), "x", "y"), (6, 20)),
    (ir.Slice("s", (), "x", "y", (0, 2, 1, 4), (1, -1, 2, -2)), (2, 3, 2, 3)),
)


def test_moving_values(kernels, instruction_set):
    rng = np.random.default_rng(0)
    for operation, y in (*MOVES, (ir.Pad("p", (), "x", "y", (0, 1, 2, 0), 9), (2, 5, 7, 6))):
        agree(of_one(operation, {"x": MOVED, "y": y}), rng, kernels, instruction_set)


@pytest.mark.parametrize(
    ("x", "y"), [((1, 7), (5, 7)), ((3, 1), (2, 3, 4)), ((1, 2, 1, 9), (6, 2, 5, 9)), ((4,), (4,))]
)
def test_repeating_values(kernels, instruction_set, x, y):
    agree(of_one(ir.Expand("e", (), "x", "y"), {"x": x, "y": y}), np.random.default_rng(0), kernels, instruction_set)


def test_joining_values(kernels, instruction_set):
    shapes = {"a": (2, 3, 4), "b": (2, 1, 4), "y": (2, 4, 4)}
    operation = ir.Concatenate("c", (), ("a", "b"), "y", 1)
    agree(of_one(operation, shapes), np.random.default_rng(0), kernels, instruction_set)
