"""Every weight format gives what the reference gives, which knows nothing of formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwprof.errors import InputError
from hwprof.integer.program import program as ir
from hwprof.integer.program import weight_formats
from hwprof.integer.program.weight_formats import FORMATS
from hwprof.integer.run import packing
from hwprof.integer.run.packing import Arithmetic
from tests.integer.kernels.test_kernels import SEEDS, agree, window_and_size
from tests.integer.programs import drawn_rescale, of_one

VALUES = {
    "int8": np.arange(-127, 128), "int4": np.arange(-7, 8), "dictionary-16": np.array([-127, *range(-7, 8)]),
    "dictionary-4": np.array([-127, 0, 127]), "dictionary-2": np.array([-127, 5]), "signs": np.array([-1, 1]),
    "sparse-32x4": np.arange(-127, 128),
}  # fmt: skip
# Powers of two, as LUT-Q has them.
POWERS = np.array([-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64])


def drawn(rng: np.random.Generator, shape: tuple[int, ...], weight_format: str) -> np.ndarray:
    """int8; of the sparse format with about half of the blocks empty."""
    values = POWERS if weight_format == "dictionary-16" and rng.random() < 0.5 else VALUES[weight_format]
    weight = rng.choice(values, shape).astype(np.int8)
    if weight_format == "sparse-32x4":
        flat = weight.reshape(len(weight), -1)
        for column in range(0, flat.shape[0], 32):
            for depth in range(0, flat.shape[1], 4):
                if rng.random() < 0.5:
                    flat[column : column + 32, depth : depth + 4] = 0
    return weight


def product(rng: np.random.Generator, weight: np.ndarray, weight_format: str, **more) -> ir.Convolution:
    """Of one group, or as `more` says; a bias that int4 can hold."""
    bias = rng.integers(-(2**20), 2**20, len(weight), dtype=np.int32)
    sign_at = int(rng.integers(256)) if weight_format == "signs" else None
    zero_x = int(rng.integers(256))
    return ir.Convolution(
        "c", (), "x", "y", weight, bias, drawn_rescale(rng, len(weight)), zero_x, weight_format=weight_format,
        sign_at=sign_at, **more,
    )  # fmt: skip


@pytest.mark.parametrize("weight_format", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, rows=st.integers(1, 9), columns=st.integers(1, 130), depth=st.integers(1, 200))
def test_a_matrix_product(kernels, instruction_set, weight_format, seed, rows, columns, depth):
    rng = np.random.default_rng(seed)
    operation = product(rng, drawn(rng, (columns, 1, 1, depth), weight_format), weight_format)
    shapes = {"x": (1, rows, 1, depth), "y": (1, rows, 1, columns)}
    agree(of_one(operation, shapes), rng, kernels, instruction_set, threads=int(rng.integers(1, 4)))


@pytest.mark.parametrize("weight_format", FORMATS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, groups=st.integers(1, 3), columns=st.integers(1, 70), channels=st.integers(2, 20))
def test_a_convolution(kernels, instruction_set, weight_format, seed, groups, columns, channels):
    rng = np.random.default_rng(seed)
    window, size, out = window_and_size(rng, 3)
    weight = drawn(rng, (groups * columns, *window.kernel, channels), weight_format)
    operation = product(rng, weight, weight_format, window=window, groups=groups)
    agree(
        of_one(operation, {"x": (1, *size, groups * channels), "y": (1, *out, groups * columns)}),
        rng, kernels, instruction_set,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([-1, 1], "dictionary-2"), ([-90, 0, 90], "dictionary-4"), (range(-7, 8), "int4"),
        (POWERS, "dictionary-16"), (range(-127, 128), "int8"),
    ],
)  # fmt: skip
def test_the_smallest_format_is_chosen_by_the_values(values, wanted):
    rng = np.random.default_rng(0)
    weight = np.resize(np.array(values, np.int8), (32, 1, 1, 64))
    assert weight_formats.smallest(product(rng, weight, "int8")) == wanted


def test_blocks_of_zeros_are_left_out_from_a_half_on():
    rng = np.random.default_rng(0)
    weight = np.resize(np.arange(-127, 128, dtype=np.int8), (64, 1, 1, 64))
    weight[:32, ..., :60] = 0
    operation = product(rng, weight, "int8")
    assert weight_formats.empty_share(operation) == 15 / 32
    assert weight_formats.smallest(operation) == "int8"
    weight[32:, ..., :4] = 0
    assert weight_formats.smallest(operation) == "sparse-32x4"


def test_a_weight_that_does_not_fit_its_format_is_refused():
    rng = np.random.default_rng(0)
    operation = product(rng, np.full((32, 1, 1, 64), 8, np.int8), "int4")
    with pytest.raises(InputError, match="does not fit the format 'int4'"):
        packing.pack(operation, Arithmetic(is_signed=False))


@pytest.mark.parametrize(
    ("weight_format", "share"),
    [
        ("int8", 1),
        ("int4", 1 / 2),
        ("dictionary-16", 1 / 2),
        ("dictionary-4", 1 / 4),
        ("dictionary-2", 1 / 8),
        ("signs", 1 / 8),
    ],
)
def test_a_format_takes_its_share_of_the_bytes(weight_format, share):
    rng = np.random.default_rng(0)
    operation = product(rng, drawn(rng, (96, 1, 1, 256), weight_format), weight_format)
    assert packing.pack(operation, Arithmetic(is_signed=False)).weight.nbytes == 96 * 256 * share


def test_a_depthwise_convolution_keeps_eight_bits():
    rng = np.random.default_rng(0)
    operation = product(rng, np.ones((8, 3, 3, 1), np.int8), "int8", groups=8)
    assert weight_formats.smallest(operation) == "int8"
    assert not weight_formats.fits(replace(operation, weight_format="int4"), "int4")
