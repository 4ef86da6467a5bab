import math

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.latency_table import Axis, NumericAttribute, Staircase

COUT = NumericAttribute("cout", 8)
POINTS = Axis(COUT, (8.0, 16.0, 24.0))


@pytest.mark.parametrize(
    ("value", "point"), [(1, 8), (8, 8), (8.001, 8), (8.1, 16), (16, 16), (23.9, 24), (24.001, 24)]
)
def test_a_value_stands_for_the_next_multiple_of_the_granule(value, point):
    assert POINTS.grid_point(value) == point


@pytest.mark.parametrize("value", [-1.0, 24.1, math.nan, math.inf])
def test_a_value_out_of_range_is_refused(value):
    with pytest.raises(InputError, match="out of the table's range, 8 to 24"):
        POINTS.grid_point(value)


def test_a_multiple_that_was_not_measured_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="cout=30 rounds to 32, which was not measured; nearest: 24"):
        Axis(COUT, (24.0, 40.0)).grid_point(30)


def test_without_a_granule_the_measured_values_are_the_grid():
    axis = Axis(NumericAttribute("rank"), (2.0, 5.0, 20.0))
    assert [axis.grid_point(v) for v in (2, 3, 5, 6, 20)] == [2, 5, 5, 20, 20]


def test_an_attribute_along_which_latency_falls_rounds_down():
    axis = Axis(NumericAttribute("sparsity", rounds="down"), (0.0, 0.5, 0.9))
    assert [axis.grid_point(v) for v in (0.0, 0.4, 0.5, 0.89, 0.9)] == [0.0, 0.0, 0.5, 0.5, 0.9]


def test_the_step_ends_in_its_point_and_starts_at_the_one_before():
    assert POINTS.neighbour(16.0) == 8.0


def test_the_first_step_borrows_the_slope_of_the_next():
    assert POINTS.neighbour(8.0) == 16.0


def test_an_axis_of_one_value_has_no_slope():
    with pytest.raises(InputError, match="the table holds one value of cout, 8"):
        Axis(COUT, (8.0,)).neighbour(8.0)


def grid():
    """ms = cin * step, steps 1, 3 and 4 ms, but for the point (8, 24)."""
    steps = {8.0: 1.0, 16.0: 3.0, 24.0: 4.0}
    ms = {(cin, cout): cin * step for cin in (4.0, 8.0) for cout, step in steps.items() if (cin, cout) != (8.0, 24.0)}
    return Staircase("Conv(kernel=3)", (Axis(NumericAttribute("cin"), (4.0, 8.0)), POINTS), ms)


def test_the_forward_takes_the_step_on_every_axis():
    assert grid().step_ms((5, 9)) == 24.0  # cin 8, cout 16


def test_the_secants_hold_the_other_axes_at_their_steps():
    assert grid().secants((5, 9)) == (pytest.approx((24 - 12) / 4), pytest.approx((24 - 8) / 8))


def test_a_secant_to_a_point_that_was_not_measured_is_unknown():
    along_cin, along_cout = grid().secants((4, 24))
    assert math.isnan(along_cin)
    assert along_cout == pytest.approx((16 - 12) / 8)


def test_a_point_that_was_not_measured_is_refused_by_name():
    with pytest.raises(InputError, match=r"Conv\(kernel=3\): cin=8, cout=24 was not measured"):
        grid().step_ms((8, 24))


def test_arrays_are_broadcast():
    np.testing.assert_allclose(grid().evaluate([np.array([[4.0], [8.0]]), np.array([8.0, 16.0])]), [[4, 12], [8, 24]])
