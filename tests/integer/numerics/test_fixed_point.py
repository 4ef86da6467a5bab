from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof.errors import InputError
from hwprof.integer.numerics.fixed_point import (
    LARGEST_SHIFT,
    multiplier_and_shift,
    requantize,
    require_integers,
)


def test_a_half_is_the_smallest_multiplier():
    assert multiplier_and_shift(0.5) == (2**30, 31)


def test_a_factor_next_to_a_power_of_two_is_rounded_up_to_it():
    assert multiplier_and_shift(1 - 2.0**-40) == (2**30, 30)


@given(st.floats(2.0**-20, 2.0**20))
def test_a_pair_is_as_near_to_its_factor_as_31_bits_allow(factor):
    multiplier, shift = multiplier_and_shift(factor)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier, 2**shift) / Fraction(factor) - 1) <= Fraction(1, 2**31)


def test_a_tiny_factor_keeps_the_largest_shift():
    assert multiplier_and_shift(2.0**-40) == (2**14, LARGEST_SHIFT)


@pytest.mark.parametrize("factor", [-0.1, float("nan"), float("inf"), 2.0**30])
def test_a_factor_out_of_range_is_refused(factor):
    with pytest.raises(InputError, match="cannot be written as a multiplier"):
        multiplier_and_shift(factor)


@pytest.mark.parametrize(("accumulator", "rounded"), [(3, 2), (-3, -1), (2, 1), (-2, -1), (1, 1), (-1, 0)])
def test_halves_are_rounded_up(accumulator, rounded):
    assert requantize(np.array([accumulator]), *multiplier_and_shift(0.5)) == rounded


def test_a_float_array_is_refused():
    with pytest.raises(TypeError, match="float32 in an integer-only network"):
        require_integers(np.zeros(3, np.uint8), np.zeros(3, np.float32))
