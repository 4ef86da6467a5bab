import numpy as np
import pytest

from hwprof import metrics
from hwprof.errors import InputError


def test_errors_are_relative_to_the_measured_value():
    measured, predicted = np.array([10.0, 20.0]), np.array([11.0, 14.0])
    assert metrics.mape(measured, predicted) == pytest.approx(20)
    assert metrics.within(measured, predicted, 15) == 50


def test_the_border_counts_as_within():
    assert metrics.within(np.array([8.0]), np.array([9.0]), 12.5) == 100


def test_coverage_is_the_share_inside_of_the_intervals():
    assert metrics.coverage(np.array([1.0, 2, 3, 4]), np.array([0.0, 2, 4, 4]), np.array([2.0, 2, 5, 5])) == 75


def test_kendalls_tau_counts_ordered_against_swapped_pairs():
    assert metrics.kendall(np.array([1, 2, 3]), np.array([1, 3, 2])) == pytest.approx(1 / 3)
    assert metrics.kendall(np.array([1, 2, 3, 4]), np.array([4, 3, 2, 1])) == -1


def test_kendalls_tau_leaves_ties_out_of_the_scale():
    # of 3 pairs one is tied in b: (2 - 0) / sqrt(3 * 2)
    assert metrics.kendall(np.array([1, 2, 3]), np.array([1, 1, 2])) == pytest.approx(2 / np.sqrt(6))


def test_spearmans_rho_correlates_ranks():
    assert metrics.spearman(np.array([1, 10, 100]), np.array([1, 2, 3])) == pytest.approx(1)
    assert metrics.spearman(np.array([1, 2, 3]), np.array([1, 3, 2])) == pytest.approx(0.5)


def test_a_constant_ranks_nothing():
    assert np.isnan(metrics.kendall(np.ones(3), np.arange(3)))
    assert np.isnan(metrics.spearman(np.ones(3), np.arange(3)))


def test_the_noise_floor_is_the_error_of_the_group_means():
    # group a: mean 10 of 8 and 12, errors 25 % and 16.7 %; b stands alone
    assert metrics.noise_floor(np.array([8.0, 12.0, 5.0]), ["a", "a", "b"]) == pytest.approx((25 + 100 / 6) / 2)
    assert np.isnan(metrics.noise_floor(np.array([8.0, 12.0]), ["a", "b"]))


@pytest.mark.parametrize(
    ("measured", "predicted"),
    [([], []), ([1.0], [1.0, 2.0]), ([1.0, 0.0], [1.0, 1.0])],
    ids=["none", "lengths", "zero"],
)
def test_what_has_no_relative_error_is_refused(measured, predicted):
    with pytest.raises(InputError, match="needs"):
        metrics.mape(np.array(measured), np.array(predicted))


def test_the_weighted_median_is_where_half_of_the_weight_is_reached():
    values, weights = np.array([[3.0, 1, 2], [3, 1, 2]]), np.array([[1.0, 1, 1], [5, 1, 1]])
    assert metrics.weighted_median(values, weights).tolist() == [2, 3]
    assert metrics.weighted_median(np.arange(4.0), np.ones(4)) == 1.5


def test_the_scatter_of_blocks_is_counted_once():
    """Processes with one block each, and the same medians amid scattered blocks, are known equally well."""
    medians = np.linspace(0.98, 1.02, 8)
    alone = metrics.bootstrap_interval([np.array([m]) for m in medians])
    assert metrics.bootstrap_interval([np.array([m - 0.5, m, m + 0.5]) for m in medians]) == pytest.approx(alone)


def test_more_coverage_takes_a_wider_interval():
    """Also where so few processes have no other quantile: Student's t for 3 degrees of freedom, 5.841 over 3.182."""
    processes = [np.array([m]) for m in (0.98, 1.0, 1.0, 1.02)]
    usual, wide = (metrics.bootstrap_interval(processes, coverage) for coverage in (0.95, 0.99))
    assert (wide[1] - 1) / (usual[1] - 1) == pytest.approx(5.841 / 3.182, rel=0.1)


def test_with_equal_weights_the_weighted_interval_is_that_of_the_plain_median():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(loc=shift, size=30) for shift in rng.normal(size=12)]
    plain = metrics.bootstrap_interval(blocks)
    weighted = metrics.weighted_bootstrap_interval(blocks, [np.full(30, 2.0)] * 12)
    assert weighted == pytest.approx(plain, abs=0.25 * (plain[1] - plain[0]))


def test_blocks_of_no_weight_do_not_widen_the_interval():
    quiet, disturbed = np.array([1.0, 1.1]), np.array([50.0])
    blocks, weights = [np.concatenate([quiet, disturbed])] * 4, [np.array([1.0, 1.0, 1e-9])] * 4
    low, high = metrics.weighted_bootstrap_interval(blocks, weights)
    assert 0.5 < low <= high < 2
    assert np.isnan(metrics.weighted_bootstrap_interval(blocks[:1], weights[:1])).all()
