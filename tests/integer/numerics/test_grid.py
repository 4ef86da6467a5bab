import numpy as np
import pytest

from hwprof.integer.numerics.grid import Grid, Stored, held_zero


def test_a_half_step_rounds_to_the_even_integer():
    grid = Grid(scale=0.5, zero=10)
    assert grid.quantized(np.array([0.25, 0.75, -0.25])).tolist() == [10, 12, 10]


def test_values_outside_of_the_grid_are_clipped():
    grid = Grid(scale=1.0, zero=100)
    assert (grid.nearest(-1e9), grid.nearest(float("inf"))) == (0, 255)


@pytest.mark.parametrize("grid", [Grid(0.1, 3), Grid(1e-3, 0, dtype="int16")])
def test_the_real_of_each_integer_is_quantized_to_that_integer(grid: Grid):
    assert grid.quantized(grid.reals()).tolist() == list(range(grid.low, grid.high + 1))


def test_a_weight_has_the_scale_and_zero_point_of_its_channel():
    weight = Stored(np.array([[1, 2], [3, 4]], np.int8), np.array([1.0, 10.0]), np.array([0, 1]), axis=1)
    assert weight.real().tolist() == [[1.0, 10.0], [3.0, 30.0]]
    assert weight.centered().tolist() == [[1, 1], [3, 3]]


def test_a_signed_weight_is_the_same_as_a_held_activation():
    weight = Stored(np.array([-128, 0, 127], np.int8), np.array([0.5]), np.array([-3]), axis=None)
    held, grid = weight.held()
    assert held.tolist() == [0, 128, 255]
    assert grid.zero == held_zero(-3, is_signed=True) == 125
    assert ((held.astype(int) - grid.zero) * grid.scale).tolist() == weight.real().tolist()
