import numpy as np
import pytest

from hwprof.predictors.drift import drift


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(0, 0.02, 400)


def test_errors_in_random_order_do_not_drift(noise):
    assert drift(noise) is None


def test_a_device_that_was_slow_for_a_while_is_told_with_what_is_left_without_it(noise):
    slow = np.where((np.arange(400) // 80) % 2 == 0, 0.0, 0.1)
    found = drift(noise + slow - slow.mean())
    assert found.correlation > 0.5
    assert found.mape == pytest.approx(5, rel=0.1)
    assert found.mape_without == pytest.approx(2, rel=0.3)


def test_a_few_rows_do_not_tell():
    assert drift(np.linspace(-1, 1, 29)) is None


def test_single_outliers_are_no_drift(noise):
    noise[::50] += 5
    assert drift(noise) is None
