import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprof.errors import InputError
from hwprof.variants import grids

reals = st.floats(-1e6, 1e6, width=32)


@given(reals, reals)
def test_a_grid_holds_its_range_and_zero(a, b):
    grid = grids.of_range(min(a, b), max(a, b))
    ends = grid.scale * (np.array([0, 255]) - grid.zero)
    slack = 0.51 * grid.scale  # the zero point is whole
    assert ends[0] - slack <= min(a, b, 0)
    assert max(a, b, 0) <= ends[1] + slack
    assert grid.nearest(0.0) == grid.zero


def test_a_range_of_nothing_but_zero_has_a_scale():
    assert grids.of_range(0.0, 0.0).scale == 1.0


@pytest.mark.parametrize(("low", "high"), [(np.nan, 1.0), (0.0, np.inf), (1.0, 0.0)])
def test_what_is_no_range_is_refused(low, high):
    with pytest.raises(InputError, match="have no scale"):
        grids.of_range(low, high)


def test_a_row_s_largest_weight_is_127_steps():
    rows = np.array([[0.5, -1.27], [2.54, 0.0]], np.float32)
    scales = grids.weight_scales(rows)
    np.testing.assert_allclose(scales, [0.01, 0.02], rtol=1e-6)
    np.testing.assert_array_equal(grids.weight_integers(rows, scales), [[50, -127], [127, 0]])


def test_a_reduced_weight_has_at_most_64_steps():
    rows = np.array([[0.5, -0.64], [1.28, 0.0]], np.float32)
    scales = grids.weight_scales(rows, largest=grids.REDUCED_WEIGHT)
    np.testing.assert_allclose(scales, [0.01, 0.02], rtol=1e-6)
    np.testing.assert_array_equal(grids.weight_integers(rows, scales, grids.REDUCED_WEIGHT), [[50, -64], [64, 0]])


def test_a_row_of_zeros_has_a_scale():
    assert (grids.weight_scales(np.zeros((2, 3))) > 0).all()
    assert grids.weight_scales(np.array([[0.0], [1.0]]))[0] == np.float32(1 / 127 / 1024)


def test_a_bias_that_dwarfs_its_row_coarsens_the_scale_until_it_fits():
    rows, bias = np.full((1, 4), 1e-9), np.array([100.0])
    (scale,) = grids.weight_scales(rows, bias, x_scale=0.01)
    assert bias / (0.01 * scale) <= 2**26 * (1 + 1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused(bad):
    with pytest.raises(InputError, match="not finite"):
        grids.weight_scales(np.array([[bad]]))
    with pytest.raises(InputError, match="not finite"):
        grids.weight_scales(np.array([[1.0]]), np.array([bad]))


@given(reals, reals)
def test_a_grid_of_16_bits_holds_its_range(a, b):
    grid = grids.of_wide_range(min(a, b), max(a, b))
    assert (grid.zero, grid.dtype) == (0, "int16")
    assert max(abs(a), abs(b)) <= 32_767.01 * grid.scale
    with pytest.raises(InputError, match="have no scale"):
        grids.of_wide_range(np.nan, 1.0)
