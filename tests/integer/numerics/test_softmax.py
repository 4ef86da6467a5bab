import numpy as np
import pytest

from hwprof.integer.numerics import fixed_point, softmax


@pytest.mark.parametrize(("scale", "step"), [(0.05, 1 / 255), (0.4, 1 / 256), (0.003, 1 / 2000), (1.5, 0.1)])
def test_shares_are_within_a_step_of_the_real_ones(scale, step):
    x = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    real = np.exp(scale * (x.astype(float) - x.max(axis=1, keepdims=True)))
    real /= real.sum(axis=1, keepdims=True)
    ours = softmax.softmax(x, softmax.powers(scale), *fixed_point.multiplier_and_shift(1 / step))
    assert np.abs(ours - real / step).max() < 0.52  # half a step is the rounding


def test_equal_elements_have_equal_shares_worked_out_on_paper():
    x = np.full((1, 4), 9, np.uint8)
    assert softmax.softmax(x, softmax.powers(0.1), *fixed_point.multiplier_and_shift(256.0)).tolist() == [[64] * 4]


def test_a_float_is_refused():
    with pytest.raises(TypeError, match="float64"):
        softmax.softmax(np.zeros((1, 2)), softmax.powers(0.1), 2**30, 20)
