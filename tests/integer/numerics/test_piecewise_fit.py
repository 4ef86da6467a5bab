import numpy as np

from hwprof.integer.numerics import piecewise_fit
from hwprof.integer.numerics.grid import Grid

X = Grid(8 / 2**15, 0, dtype="int16")


def test_a_line_takes_one_segment():
    y = Grid(2 * X.scale, 0, dtype="int16")
    lines = piecewise_fit.of_function(X.reals() / 2, X, y)
    assert lines is not None
    assert len(lines.slopes) == 3  # the segment, and a constant at each end
    assert lines(np.array([-40, 0, 8])).tolist() == [-10, 0, 2]


def test_a_smooth_function_is_fitted_to_a_hundredth_of_its_range():
    y = Grid(1 / 2**15, 0, dtype="int16")
    lines = piecewise_fit.of_function(np.tanh(X.reals()), X, y)
    assert lines is not None
    held = np.clip(lines(np.arange(X.low, X.high + 1)), y.low, y.high)
    assert np.abs(held * y.scale - np.tanh(X.reals())).max() < 0.02


def test_a_function_that_jumps_is_not_fitted():
    square_wave = np.where(np.arange(2**16) // 100 % 2, 1.0, -1.0).astype(np.float32)
    assert piecewise_fit.of_function(square_wave, X, Grid(1 / 2**15, 0, dtype="int16")) is None


def test_rescaling_is_one_line():
    lines = piecewise_fit.of_rescaling(X, Grid(4 * X.scale, 7, dtype="int16"))
    assert lines(np.array([-8, 0, 400])).tolist() == [5, 7, 107]
