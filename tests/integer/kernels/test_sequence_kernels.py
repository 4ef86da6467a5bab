"""The kernels of attention and of sequences compute what the reference computes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof.errors import InputError
from hwprof.integer.numerics import softmax
from hwprof.integer.program import program as ir
from hwprof.integer.program.program import Entry, Exit, Gates, Program, Rescale, Value
from hwprof.integer.run import reference
from tests.integer.kernels.test_kernels import SEEDS, THREADS, agree, bytes_of, thorough
from tests.integer.programs import drawn_rescale, drawn_weight, of_one, run_kernels


def product(rng: np.random.Generator, a: tuple[int, ...], b: tuple[int, ...]) -> Program:
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    zeros = (int(v) for v in rng.integers(0, 256, 2))
    operation = ir.Product("p", (), "a", "b", "y", *zeros, drawn_rescale(rng, 1))
    return of_one(operation, {"a": a, "b": b, "y": (*batch, a[-2], b[-1])})


@thorough
@given(
    seed=SEEDS, threads=THREADS, rows=st.integers(1, 40), depth=st.integers(1, 150), columns=st.integers(1, 100),
    batch=st.integers(1, 3),
)  # fmt: skip
def test_a_product_of_activations(kernels, instruction_set, seed, threads, rows, depth, columns, batch):
    rng = np.random.default_rng(seed)
    program = product(rng, (batch, rows, depth), (batch, depth, columns))
    agree(program, rng, kernels, instruction_set, threads)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 5, 8), (2, 3, 8, 40)), ((2, 3, 5, 8), (1, 1, 8, 40)), ((1, 3, 5, 7), (2, 3, 7, 4)),
        ((4, 1, 5, 8), (1, 3, 8, 33)), ((5, 8), (8, 6)), ((2, 2, 2, 3, 5), (2, 2, 2, 5, 3)),
    ],
)  # fmt: skip
def test_a_product_of_batches_that_are_broadcast(kernels, instruction_set, a, b):
    rng = np.random.default_rng(0)
    agree(product(rng, a, b), rng, kernels, instruction_set, threads=3)


@pytest.mark.parametrize("a", [0, 255])
@pytest.mark.parametrize("b", [0, 255])
@pytest.mark.parametrize("zeros", [(0, 0), (255, 255), (0, 255), (128, 128)])
def test_the_largest_sums_of_a_product(kernels, instruction_set, a, b, zeros):
    """A byte of 0 in the second operand is a weight of -128, which the pairwise products of AVX2 cannot hold."""
    depth = 16_384
    rescale = Rescale(np.array([2**31 - 1], np.int32), np.array([54], np.int32), 100)
    operation = ir.Product("p", (), "a", "b", "y", *zeros, rescale)
    program = of_one(operation, {"a": (2, depth), "b": (depth, 3), "y": (2, 3)})
    inputs = {"a": np.full((2, depth), a, np.uint8), "b": np.full((depth, 3), b, np.uint8)}
    got = run_kernels(program, inputs, kernels, instruction_set)["y"]
    np.testing.assert_array_equal(got, reference.run(program, inputs)["y"])


@thorough
@given(
    seed=SEEDS, threads=THREADS, rows=st.integers(1, 9), n=st.integers(1, 300), scale=st.floats(1e-4, 2.0),
    shift=st.integers(16, 54),
)  # fmt: skip
def test_a_softmax(kernels, instruction_set, seed, threads, rows, n, scale, shift):
    rng = np.random.default_rng(seed)
    rescale = Rescale(rng.integers(2**30, 2**31 - 1, 1, dtype=np.int32), np.array([shift], np.int32), 10, 3, 250)
    operation = ir.Softmax("s", (), "x", "y", softmax.powers(scale), rescale)
    agree(of_one(operation, {"x": (rows, n), "y": (rows, n)}), rng, kernels, instruction_set, threads)


def test_a_softmax_of_the_longest_row(kernels, instruction_set):
    rescale = Rescale(np.array([2**30], np.int32), np.array([16], np.int32), 0)
    operation = ir.Softmax("s", (), "x", "y", softmax.powers(0.01), rescale)
    shapes = {"x": (1, softmax.LONGEST_ROW), "y": (1, softmax.LONGEST_ROW)}
    agree(of_one(operation, shapes), np.random.default_rng(0), kernels, instruction_set)


@thorough
@given(
    seed=SEEDS, threads=THREADS, rows=st.integers(1, 9), n=st.integers(1, 300), is_centred=st.booleans(),
)  # fmt: skip
def test_a_normalization(kernels, instruction_set, seed, threads, rows, n, is_centred):
    rng = np.random.default_rng(seed)
    multiplier = rng.integers(-(2**31), 2**31 - 1, n, dtype=np.int32) >> int(rng.integers(0, 10))
    bias = rng.integers(-(2**18), 2**18, n, dtype=np.int32)
    epsilon = int(rng.choice([0, 1, 2**20, 2**44]))
    zero = int(rng.integers(256))
    operation = ir.Normalization("n", (), "x", "y", multiplier, bias, epsilon, zero, is_centred, 2, 251)
    agree(of_one(operation, {"x": (rows, n), "y": (rows, n)}), rng, kernels, instruction_set, threads)


@pytest.mark.parametrize("is_centred", [False, True])
def test_a_normalization_of_the_longest_row(kernels, instruction_set, is_centred):
    rng, n = np.random.default_rng(0), 16_384
    multiplier, bias = np.full(n, 2**26, np.int32), np.full(n, 128 << 10, np.int32)
    operation = ir.Normalization("n", (), "x", "y", multiplier, bias, 2**44, 255, is_centred)
    program = of_one(operation, {"x": (3, n), "y": (3, n)})
    extremes = np.zeros((3, n), np.uint8)
    extremes[1, : n // 2] = extremes[2, 0] = 255
    got = run_kernels(program, {"x": extremes}, kernels, instruction_set)["y"]
    np.testing.assert_array_equal(got, reference.run(program, {"x": extremes})["y"])
    agree(program, rng, kernels, instruction_set)


def embedding(rows: int, width: int, n: int) -> Program:
    table = np.random.default_rng(0).integers(0, 256, (rows, width), dtype=np.uint8)
    return Program(
        "e",
        (Entry("x", (n,), "x", None, 0, is_image=False, rows=rows),),
        (Exit("y", (n, width), "y", None, 0, is_image=False),),
        (ir.Embedding("e", (), "x", "y", table),),
        {"x": Value("x", (n,), "int32"), "y": Value("y", (n, width))},
        {},
    )


def test_rows_of_a_table(kernels, instruction_set):
    program = embedding(rows=70, width=37, n=20)
    inputs = {"x": np.array([0, 69, *range(18)])}
    got = run_kernels(program, inputs, kernels, instruction_set, threads=3)["y"]
    np.testing.assert_array_equal(got, reference.run(program, inputs)["y"])
    np.testing.assert_array_equal(got[1], program.operations[0].table[69])


@pytest.mark.parametrize("index", [-1, 70])
def test_an_index_outside_of_the_table_is_refused(kernels, index):
    program = embedding(rows=70, width=4, n=2)
    inputs = {"x": np.array([0, index])}
    with pytest.raises(InputError, match=f"input 'x' holds {index}; it takes integers from 0 to 69"):
        reference.run(program, inputs)
    with pytest.raises(InputError, match=f"holds {index}"):
        run_kernels(program, inputs, kernels, "scalar")


@pytest.mark.parametrize(("units", "depth", "batch"), [(32, 16, 1), (37, 9, 3), (8, 5, 14), (130, 64, 1)])
@pytest.mark.parametrize("resets_behind", [False, True])
def test_gated_units(kernels, instruction_set, units, depth, batch, resets_behind):
    rng = np.random.default_rng(units)

    def gates(columns: int) -> Gates:
        weight = drawn_weight(rng, (3 * units, columns))
        bias = rng.integers(-(2**16), 2**16, 3 * units, dtype=np.int32)
        multiplier = rng.integers(2**30, 2**31 - 1, 3 * units, dtype=np.int32)
        return Gates(weight, bias, multiplier, rng.integers(31, 34, 3 * units, dtype=np.int32))

    operation = ir.Gru("g", (), "x", "y", gates(depth), gates(units), 7, 128, 127, 1 << 21, 15, resets_behind)
    program = of_one(operation, {"x": (6, batch, depth), "y": (6, batch, units)})
    inputs = {"x": bytes_of(np.random.default_rng(5), (6, batch, depth))}
    got = run_kernels(program, inputs, kernels, instruction_set, threads=2)["y"]
    np.testing.assert_array_equal(got, reference.run(program, inputs)["y"])
    assert len(np.unique(got)) > 30


LAYERS = {"lstm": (ir.Lstm, 4, {}), "gru": (ir.Gru, 3, {"resets_behind": True}),
          "gru, reset in front": (ir.Gru, 3, {"resets_behind": False})}  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
@thorough
@given(seed=SEEDS, units=st.integers(1, 140), depth=st.integers(1, 70), batch=st.integers(1, 20))
def test_a_recurrent_layer(kernels, instruction_set, layer, seed, units, depth, batch):
    """With constants over their whole range, so that gates, states and results reach their ends, too."""
    rng = np.random.default_rng(seed)
    kind, count, more = LAYERS[layer]
    least_shift = int(rng.choice([28, 32, 47]))

    def gates(columns: int) -> Gates:
        n = count * units
        weight = drawn_weight(rng, (n, columns))
        bias = rng.integers(-(2**26), 2**26, n, dtype=np.int32) >> int(rng.integers(27))
        multiplier = rng.integers(2**30, 2**31 - 1, n, dtype=np.int32)
        return Gates(weight, bias, multiplier, rng.integers(least_shift, least_shift + 4, n, dtype=np.int32))

    places = int(rng.integers(1, 23))
    zeros = (int(v) for v in rng.integers(0, 256, 2))
    state = int(rng.integers(2**15)), int(rng.integers(2**30)) >> int(rng.integers(31)), places
    operation = kind("r", (), "x", "y", gates(depth), gates(units), *zeros, *state, **more)
    agree(of_one(operation, {"x": (3, batch, depth), "y": (3, batch, units)}), rng, kernels, instruction_set)
