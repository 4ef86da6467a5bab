import math

import numpy as np
import pytest

from hwprof.predictors.left_out import left_out_error


def test_the_error_is_relative_to_the_measured_latency():
    error = left_out_error(np.array([math.log(1 / 1.1), math.log(1 / 0.9)]))  # predicted 10 % too much, 10 % too little
    assert error.mape == pytest.approx(10)


def test_the_interval_narrows_with_the_number_of_networks():
    errors = np.tile([0.01, 0.1], 10)
    few, many = left_out_error(errors), left_out_error(np.tile(errors, 25))
    assert few.low < few.mape < few.high
    assert many.high - many.low == pytest.approx((few.high - few.low) / 5, rel=0.1)
