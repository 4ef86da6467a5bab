"""The kernels compute what the reference computes on integers of 16 bits, too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof.integer.numerics import piecewise
from hwprof.integer.numerics.grid import LIMITS
from hwprof.integer.program import program as ir
from hwprof.integer.program.program import Rescale
from hwprof.integer.run import reference
from hwprof.integer.run.engine import Engine
from tests.integer.kernels.test_kernels import BROADCASTS, MOVED, MOVES, SEEDS, THREADS, agree, thorough
from tests.integer.programs import of_one, run_kernels

WIDTHS = st.sampled_from(["a", "b", "y", "ab", "ay", "by", "aby"])


def bounds(rng: np.random.Generator, is_wide: bool) -> tuple[int, int]:
    """Of a result: mostly those of its type."""
    limits = LIMITS["int16" if is_wide else "uint8"]
    if rng.random() < 0.7:
        return limits
    low, high = sorted(int(v) for v in rng.integers(*limits, 2, endpoint=True))
    return low, high


@thorough
@given(seed=SEEDS, threads=THREADS, shapes=st.sampled_from(BROADCASTS), wide=WIDTHS)
def test_an_addition(kernels, instruction_set, seed, threads, shapes, wide):
    rng = np.random.default_rng(seed)
    factors = tuple(int(v) for v in rng.integers(0, 2**30, 2))
    offset = int(rng.integers(-(2**40), 2**40))
    low, high = bounds(rng, "y" in wide)
    operation = ir.Add("a", (), "a", "b", "y", factors, offset, int(rng.integers(14, 45)), low, high)
    a, b = shapes
    agree(of_one(operation, {"a": a, "b": b, "y": a}, wide=wide), rng, kernels, instruction_set, threads)


@thorough
@given(seed=SEEDS, threads=THREADS, shapes=st.sampled_from(BROADCASTS), wide=WIDTHS, shift=st.integers(1, 54))
def test_a_multiplication(kernels, instruction_set, seed, threads, shapes, wide, shift):
    rng = np.random.default_rng(seed)
    multiplier, low_and_high = rng.integers(0, 2**31 - 1, 1, dtype=np.int32), bounds(rng, "y" in wide)
    zeros = [0 if name in wide else int(rng.integers(256)) for name in "aby"]
    rescale = Rescale(multiplier, np.array([shift], np.int32), zeros[2], *low_and_high)
    operation = ir.Multiply("m", (), "a", "b", "y", *zeros[:2], rescale)
    a, b = shapes
    agree(of_one(operation, {"a": a, "b": b, "y": a}, wide=wide), rng, kernels, instruction_set, threads)


@thorough
@given(seed=SEEDS, threads=THREADS, n=st.integers(1, 500))
def test_a_table_of_16_bits(kernels, instruction_set, seed, threads, n):
    rng = np.random.default_rng(seed)
    operation = ir.Table("t", (), "x", "y", rng.integers(-(2**15), 2**15, 256, dtype=np.int16))
    agree(of_one(operation, {"x": (n,), "y": (n,)}, wide="y"), rng, kernels, instruction_set, threads)


@thorough
@given(
    seed=SEEDS, threads=THREADS, n=st.integers(1, 500), segments=st.sampled_from([1, 2, 30, 400]),
    spread=st.sampled_from([20, 3000, 2**15]), wide=st.sampled_from(["x", "xy"]),
)  # fmt: skip
def test_lines(kernels, instruction_set, seed, threads, n, segments, spread, wide):
    """Between any knots, many of which may lie in one upper byte, and outside of them."""
    rng = np.random.default_rng(seed)
    x = np.unique(rng.integers(-spread, spread, segments + 1))
    if len(x) < 2:
        x = np.array([-spread, spread])
    y = rng.integers(-(2**15), 2**15, len(x)).astype(np.float64)
    drawn = piecewise.in_integers(piecewise.Knots(x.astype(np.float64), y), 1.0, 1.0 if "y" in wide else 128.0, 3)
    operation = ir.Lines("l", (), "x", "y", drawn, *bounds(rng, "y" in wide))
    agree(of_one(operation, {"x": (n,), "y": (n,)}, wide=wide), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize("segments", [1, 64])
def test_lines_at_every_integer(kernels, instruction_set, segments):
    drawn = piecewise.in_integers(piecewise.adaptive(np.tanh, -8, 8, segments), 8 / 2**15, 1 / 2**15)
    every = np.arange(-(2**15), 2**15, dtype=np.int16)
    operation = ir.Lines("l", (), "x", "y", drawn, *LIMITS["int16"])
    program = of_one(operation, {"x": every.shape, "y": every.shape}, wide="xy")
    engine = Engine(program, {"x": every}, kernels, instruction_set, 1)
    engine.run()
    got = engine.outputs()["y"]
    engine.close()
    np.testing.assert_array_equal(got, np.clip(drawn(every), *LIMITS["int16"]))


@thorough
@given(
    seed=SEEDS, threads=THREADS, rows=st.integers(1, 9), n=st.integers(1, 300), is_centred=st.booleans(),
    wide=st.sampled_from(["x", "y", "xy"]),
)  # fmt: skip
def test_a_normalization(kernels, instruction_set, seed, threads, rows, n, is_centred, wide):
    rng = np.random.default_rng(seed)
    multiplier = rng.integers(-(2**31), 2**31 - 1, n, dtype=np.int32) >> int(rng.integers(0, 10))
    bias = rng.integers(-(2**18), 2**18, n, dtype=np.int32)
    epsilon = int(rng.choice([0, 1, 2**20, 2**44, 2**58] if "x" in wide else [0, 1, 2**44]))
    operation = ir.Normalization(
        "n", (), "x", "y", multiplier, bias, epsilon, 0, is_centred, *bounds(rng, "y" in wide),
        2 if "y" in wide else 10,
    )  # fmt: skip
    agree(of_one(operation, {"x": (rows, n), "y": (rows, n)}, wide=wide), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize("is_centred", [False, True])
@pytest.mark.parametrize("epsilon", [0, 2**58])
def test_a_normalization_of_the_longest_row(kernels, instruction_set, is_centred, epsilon):
    n = 16_384
    multiplier, bias = np.full(n, 2**18, np.int32), np.full(n, 9, np.int32)
    operation = ir.Normalization(
        "n", (), "x", "y", multiplier, bias, epsilon, 0, is_centred, *LIMITS["int16"], 2
    )  # fmt: skip
    program = of_one(operation, {"x": (3, n), "y": (3, n)}, wide="xy")
    extremes = np.full((3, n), -(2**15), np.int16)
    extremes[1, : n // 2] = extremes[2, 0] = 2**15 - 1
    wanted = reference.run(program, {"x": extremes})["y"]
    assert wanted.any()
    np.testing.assert_array_equal(run_kernels(program, {"x": extremes}, kernels, instruction_set)["y"], wanted)


def test_moving_values(kernels, instruction_set):
    rng = np.random.default_rng(0)
    for operation, y in MOVES:
        agree(of_one(operation, {"x": MOVED, "y": y}, wide="xy"), rng, kernels, instruction_set)
    shapes = {"a": (2, 3, 4), "b": (2, 1, 4), "y": (2, 4, 4)}
    agree(of_one(ir.Concatenate("c", (), ("a", "b"), "y", 1), shapes, wide="aby"), rng, kernels, instruction_set)
