import numpy as np
import pytest

from hwprof.integer.numerics import normalize


def normalized(x: np.ndarray, steps: float, is_centred: bool = True, epsilon: int = 0, bias: float = 0.0) -> np.ndarray:
    """steps: of the result in a deviation; the zero point of x is 100."""
    n = x.shape[1]
    multiplier = np.full(n, round(steps * 2 ** normalize.gain_bits(normalize.RESULT_BITS)), np.int32)
    offset = np.full(n, round(bias * 2**normalize.RESULT_BITS), np.int32)
    return normalize.normalized(x, 100, is_centred, epsilon, multiplier, offset)


@pytest.mark.parametrize("is_centred", [False, True])
@pytest.mark.parametrize("spread", [2, 40, 256])
def test_values_are_within_a_step_of_the_real_ones(is_centred, spread):
    x = np.random.default_rng(0).integers(0, spread, (20, 128)).astype(np.uint8)
    distance = x - (x.mean(axis=1, keepdims=True) if is_centred else 100.0)
    real = distance / np.sqrt((distance**2).mean(axis=1, keepdims=True))
    assert np.abs(normalized(x, 30.0, is_centred, bias=7.25) - (30 * real + 7.25)).max() < 0.52


def test_a_row_worked_out_on_paper():
    assert normalized(np.array([[10, 30]], np.uint8), 8.0).tolist() == [[-8, 8]]


def test_a_row_of_one_value_is_nothing_but_its_bias():
    assert normalized(np.full((1, 5), 77, np.uint8), 8.0, bias=3.0).tolist() == [[3] * 5]


def test_epsilon_is_added_to_the_squares():
    # four times the mean square of (10, 30) is 4 * 100; with as much three times over, the root is twice as large
    assert normalized(np.array([[10, 30]], np.uint8), 8.0, epsilon=3 * 400).tolist() == [[-4, 4]]


def test_a_float_is_refused():
    with pytest.raises(TypeError, match="float64"):
        normalized(np.zeros((1, 2)), 8.0)
