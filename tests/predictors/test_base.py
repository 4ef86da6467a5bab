import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.predictors.base import checked_latencies, conformal_quantile, fold_numbers


@pytest.mark.parametrize(
    ("latencies", "reason"),
    [
        ([], "nothing to learn from"),
        ([1.0, 2.0], "2 samples are too few for this predictor; it needs at least 5"),
        ([1.0, 2.0, float("nan"), 1.0, 1.0], "latency nan of row 2"),
        ([1.0, 0.0, 1.0, 1.0, 1.0], r"latency 0\.0 of row 1"),
        ([1.0, 1.0, 1.0, 1.0, -3.0], r"latency -3\.0 of row 4"),
        ([2.0] * 5, r"all 5 latencies are 2\.0 ms"),
    ],
)
def test_latencies_that_cannot_be_learned_from_are_refused(latencies, reason):
    with pytest.raises(InputError, match=reason):
        checked_latencies([None] * len(latencies), latencies)


def test_as_many_latencies_as_networks_are_wanted():
    with pytest.raises(InputError, match="2 networks need as many latencies"):
        checked_latencies([None, None], [1.0])


def test_the_quantile_of_nine_errors_for_90_percent_is_the_largest():
    assert conformal_quantile(np.arange(1.0, 10.0), 0.9) == 9


def test_the_quantile_counts_the_new_network_as_one_more():
    assert conformal_quantile(np.arange(1.0, 20.0), 0.9) == 18  # the 18th of 19: 18 / 20


def test_coverage_beyond_the_sample_widens_the_interval():
    errors = np.arange(1.0, 10.0)
    assert conformal_quantile(errors, 0.99) > conformal_quantile(errors, 0.95) > 9


def test_a_coverage_that_is_no_share_is_refused():
    with pytest.raises(InputError, match="between 0 and 1, not 90"):
        conformal_quantile(np.ones(5), 90)


def test_folds_are_balanced_and_repeatable():
    folds = fold_numbers(23, seed=1)
    assert sorted(np.bincount(folds)) == [2] * 7 + [3] * 3
    assert np.array_equal(folds, fold_numbers(23, seed=1))
