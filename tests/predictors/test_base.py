import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.predictors.base import (
    SCORE,
    LatencyPredictor,
    Regressor,
    checked_latencies,
    checked_targets,
    conformal_quantile,
    fold_numbers,
    left_out_errors,
)


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


def test_scores_may_be_zero_or_negative_but_are_finite():
    assert checked_targets([None] * 5, [0.0, -1.0, 2.0, 3.0, 4.0], SCORE).min() == -1
    with pytest.raises(InputError, match="score inf of row 1 is not a finite number; leave the network out"):
        checked_targets([None] * 5, [0.0, float("inf"), 2.0, 3.0, 4.0], SCORE)


class Halves:
    """Predicts 8 for each network; its errors on the target's scale are 0.5, with either sign."""

    takes = "arch"
    errors_ = np.array([0.5, -0.5] * 10)

    def predict(self, X):
        return np.full(len(X), 8.0)


class OfScores(Halves, Regressor):
    pass


class OfLatencies(Halves, LatencyPredictor):
    pass


def test_the_interval_of_a_score_is_a_difference_and_that_of_a_latency_a_ratio():
    assert np.ravel(OfScores().predict_interval([()])).tolist() == [7.5, 8.5]
    assert np.ravel(OfLatencies().predict_interval([()])) == pytest.approx([8 / np.exp(0.5), 8 * np.exp(0.5)])


def test_errors_left_out_come_from_fits_without_the_row():
    scaled = np.array([1.0, 2.0, 6.0])
    errors = left_out_errors(lambda train, test: np.full(test.sum(), scaled[train].mean()), scaled, np.arange(3))
    assert errors.tolist() == [-3.0, -1.5, 4.5]


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
