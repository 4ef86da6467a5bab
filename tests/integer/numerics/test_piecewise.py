import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprof.errors import InputError
from hwprof.integer.numerics import piecewise


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CASES = {"tanh": (np.tanh, -8.0, 8.0), "sigmoid": (sigmoid, -8.0, 8.0), "exp": (np.exp, -10.0, 0.0)}
# What knots placed by curvature alone reach with 16 and 32 segments.
BY_CURVATURE = {"tanh": (3.4e-3, 8.1e-4), "sigmoid": (1.5e-3, 3.8e-4), "exp": (9.9e-4, 2.5e-4)}


@pytest.mark.parametrize("name", CASES)
def test_adaptive_knots_err_far_less_than_even_ones(name):
    function, low, high = CASES[name]
    for segments, bound in zip((16, 32), BY_CURVATURE[name], strict=True):
        ours = piecewise.largest_error(function, piecewise.adaptive(function, low, high, segments))
        even = piecewise.largest_error(function, piecewise.even(function, low, high, segments))
        assert ours < bound
        assert ours < even / 5


@pytest.mark.parametrize("name", CASES)
def test_twice_the_segments_err_a_quarter(name):
    function, low, high = CASES[name]
    once, twice = (piecewise.largest_error(function, piecewise.adaptive(function, low, high, n)) for n in (16, 32))
    assert once / twice > 3.5


def test_the_largest_error_is_one_on_other_points_too():
    knots = piecewise.adaptive(np.tanh, -8, 8, 16)
    x = np.linspace(-8, 8, 100_003)
    assert np.abs(knots(x) - np.tanh(x)).max() <= 1.02 * piecewise.largest_error(np.tanh, knots)


def test_a_parabola_has_even_knots_and_half_the_error_of_its_chords():
    knots = piecewise.adaptive(lambda x: x**2, 0.0, 1.0, 4)
    np.testing.assert_allclose(knots.x, [0, 0.25, 0.5, 0.75, 1], atol=2e-3)
    assert piecewise.largest_error(lambda x: x**2, knots) == pytest.approx(0.25**2 / 8, rel=0.02)


def test_a_line_needs_no_adaptation():
    assert piecewise.largest_error(lambda x: 3 * x, piecewise.adaptive(lambda x: 3 * x, -1, 2, 5)) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_integers_err_hardly_more(name):
    function, low, high = CASES[name]
    knots = piecewise.adaptive(function, low, high, 32)
    integers = piecewise.in_integers(knots, 2.0**-11, 2.0**-15)
    x = np.arange(round(low * 2**11), round(high * 2**11) + 1)
    values = integers(x)
    assert values.dtype == np.int64
    error = np.abs(values / 2**15 - function(x / 2**11)).max()
    # a knot may move by half a step of x, at a slope of 1, and values and slopes by half a step of theirs
    assert error < piecewise.largest_error(function, knots) + 2**-12 + 2 * 2**-15


@settings(deadline=None, max_examples=20)
@given(st.integers(-(2**31), 2**31 - 1))
def test_beyond_the_knots_the_ends_stay(x):
    tanh = piecewise.in_integers(piecewise.adaptive(np.tanh, -4, 4, 16), 2.0**-12, 2.0**-15)
    inside = int(np.clip(x, -4 * 2**12, 4 * 2**12))
    assert tanh(np.array([x])) == tanh(np.array([inside]))


def test_a_float_is_refused():
    tanh = piecewise.in_integers(piecewise.even(np.tanh, -4, 4, 16), 2.0**-12, 2.0**-15)
    with pytest.raises(TypeError, match="float64"):
        tanh(np.array([0.5]))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((1.0, 1.0, 4), "not a range"),
        ((0.0, np.inf, 4), "not a range"),
        ((0.0, 1.0, 0), "1 to 1024 segments"),
        ((-1.0, 1.0, 4), "not finite everywhere"),
    ],
)
def test_what_cannot_be_approximated_is_refused(arguments, reason):
    with pytest.raises(InputError, match=reason), np.errstate(invalid="ignore"):
        piecewise.adaptive(np.sqrt, *arguments)


def test_knots_that_become_one_integer_are_one():
    lines = piecewise.in_integers(piecewise.even(np.tanh, 0, 4, 64), 2.0**-3, 2.0**-15)
    assert len(lines.bounds) == 4 * 8 + 1
    assert np.abs(lines(np.arange(33)) / 2**15 - np.tanh(np.arange(33) / 8)).max() < 1 / 16  # half a step of x


def test_a_grid_on_which_all_knots_are_one_integer_is_refused():
    with pytest.raises(InputError, match="cannot tell the 5 knots apart"):
        piecewise.in_integers(piecewise.even(np.tanh, 0, 4, 4), 100.0, 2.0**-15)


def test_steep_lines_have_fewer_bits_behind_the_point():
    lines = piecewise.in_integers(piecewise.even(lambda x: 1000 * x, 0, 4, 4), 1.0, 1.0)
    assert lines(np.array([3])) == 3000
    assert np.abs(lines.slopes).max() < 2**31
