"""Convolutions of 16-bit values, picked rows and spread images: the kernels compute what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof.integer.program import program as ir
from hwprof.integer.program.program import Rescale
from hwprof.integer.run.library import Step
from tests.integer.kernels.test_kernels import BROADCASTS, MOVED, SEEDS, THREADS, agree, thorough, window_and_size
from tests.integer.kernels.test_wide_kernels import bounds
from tests.integer.programs import of_one

LARGEST_SUM = 2**46


def rescale(rng: np.random.Generator, n: int, is_wide: bool) -> Rescale:
    shift = rng.integers(34, 55, n, dtype=np.int32)
    multiplier = rng.integers(0, 2**31 - 1, n, dtype=np.int32)
    return Rescale(multiplier, shift, 0 if is_wide else int(rng.integers(256)), *bounds(rng, is_wide))


@thorough
@given(seed=SEEDS, threads=THREADS, wide=st.sampled_from(["x", "xy"]), groups=st.integers(1, 3))
def test_a_convolution(kernels, instruction_set, seed, threads, wide, groups):
    rng = np.random.default_rng(seed)
    window, size, out = window_and_size(rng, 3)
    inputs, outputs = (int(v) * groups for v in rng.integers(1, 30, 2))
    weight = rng.integers(-128, 128, (outputs, *window.kernel, inputs // groups)).astype(np.int8)
    largest = 2**45 if rng.random() < 0.3 else 2**20
    bias = rng.integers(-largest, largest, outputs)
    n = outputs if rng.random() < 0.7 else 1
    operation = ir.WideConvolution("c", (), "x", "y", weight, bias, rescale(rng, n, "y" in wide), window, groups)
    program = of_one(operation, {"x": (2, *size, inputs), "y": (2, *out, outputs)}, wide=wide)
    agree(program, rng, kernels, instruction_set, threads)


def test_sums_that_leave_32_bits(kernels, instruction_set):
    """Of 3,000 products, of the largest values of either sign."""
    weight = np.full((2, 1, 1, 3000), [[[[-128]]], [[[127]]]], np.int8)
    scale = Rescale(np.full(1, 2**30, np.int32), np.full(1, 50, np.int32), 0, -(2**15), 2**15 - 1)
    operation = ir.WideConvolution("c", (), "x", "y", weight, np.array([2**44, -(2**44)]), scale)
    program = of_one(operation, {"x": (1, 5, 4, 3000), "y": (1, 5, 4, 2)}, wide="xy")
    agree(program, np.random.default_rng(0), kernels, instruction_set)


@pytest.mark.parametrize("field", ["x_bytes", "y_bytes", "weight_bytes", "constants", "groups"])
def test_a_step_that_does_not_fit_is_refused(kernels, field):
    arrays = [np.zeros(64, np.int64) for _ in range(6)]
    arrays[4][:] = 1 << 32 | 1  # shifts
    pointers = dict(
        zip(("x", "y", "weight", "table", "multiplier", "shift"), (a.ctypes.data for a in arrays), strict=True)
    )
    sizes = dict.fromkeys(("batch", "height", "width", "out_height", "out_width", "kernel_h", "kernel_w"), 1)
    sizes |= dict.fromkeys(("stride_h", "stride_w", "dilation_h", "dilation_w", "groups"), 1)
    shift = np.full(4, 40, np.int32)
    step = Step(
        kind=17, channels=4, out_channels=4, wide=1, x_bytes=8, y_bytes=4, weight_bytes=32, constants=4, high=255,
        **{**pointers, "shift": shift.ctypes.data}, **sizes,
    )  # fmt: skip
    assert kernels.check(step) == ""
    setattr(step, field, 3)
    assert kernels.check(step)


@thorough
@given(seed=SEEDS, threads=THREADS, shapes=st.sampled_from(BROADCASTS), wide=st.sampled_from(["", "ab", "aby"]))
def test_a_difference(kernels, instruction_set, seed, threads, shapes, wide):
    """An addition with factors of either sign."""
    rng = np.random.default_rng(seed)
    most = 2**30 if wide else 2**15
    factors = tuple(int(v) for v in rng.integers(1 - most, most, 2))
    offset, shift = int(rng.integers(-(2**20), 2**20)), int(rng.integers(1, 23))
    operation = ir.Add("a", (), "a", "b", "y", factors, offset, shift, *bounds(rng, "y" in wide))
    a, b = shapes
    agree(of_one(operation, {"a": a, "b": b, "y": a}, wide=wide), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize("wide", ["", "xy"])
@pytest.mark.parametrize("width", [1, 5, 20])
def test_picked_rows(kernels, instruction_set, wide, width):
    rng = np.random.default_rng(width)
    rows = rng.integers(0, 120 // width, 17).astype(np.int32)
    operation = ir.Pick("p", (), "x", "y", rows, width)
    agree(of_one(operation, {"x": MOVED, "y": (17, width)}, wide=wide), rng, kernels, instruction_set)


@pytest.mark.parametrize("wide", ["", "xy"])
def test_a_spread_image(kernels, instruction_set, wide):
    operation = ir.Pad("p", (), "x", "y", (0, 1, 2, 0), 0 if wide else 9, (1, 3, 2, 1))
    program = of_one(operation, {"x": MOVED, "y": (2, 9, 11, 5)}, wide=wide)
    agree(program, np.random.default_rng(0), kernels, instruction_set)
