import numpy as np
import pytest

from hwprof.predictors.operator_costs import OperatorCosts

COSTS = np.array([0.05, -0.03, 0.0, 0.02])


def counted(n=40, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (n, 4)).astype(float)


def residuals(counts, noise=0.0):
    found = (counts - 1.5) @ COSTS
    return found + noise * np.random.default_rng(5).standard_normal(len(found))


def test_what_one_more_operator_costs_is_learned():
    costs, _ = OperatorCosts.helpful(counted(), residuals(counted(), noise=0.005))
    new = counted(seed=1)
    assert np.abs(costs.predict(new) - residuals(new)).mean() < 0.1 * np.abs(residuals(new)).mean()


def test_left_out_residuals_are_those_of_a_refit():
    """The ratio of signal to noise is that of all networks, found again from the costs: ridge regression."""
    counts, wanted = counted(20), residuals(counted(20), noise=0.02)
    costs, left_out = OperatorCosts.helpful(counts, wanted)
    points = (counts - counts.mean(axis=0)) / counts.std(axis=0) / 2
    found = costs.costs * counts.std(axis=0) * 2
    ridge = np.median((points.T @ (wanted - points @ found)) / found)
    others = np.arange(20) != 3
    refit = np.linalg.solve(points[others].T @ points[others] + ridge * np.eye(4), points[others].T @ wanted[others])
    assert left_out[3] == pytest.approx(wanted[3] - points[3] @ refit)


def test_costs_that_say_nothing_new_are_not_learned():
    noise = np.random.default_rng(2).standard_normal(40)
    costs, left = OperatorCosts.helpful(counted(), noise)
    assert costs is None
    assert left is noise


@pytest.mark.parametrize("counts", [np.ones((40, 4)), np.empty((40, 0)), counted(10)])
def test_equal_networks_and_few_ones_have_no_costs(counts):
    assert OperatorCosts.helpful(counts, np.linspace(-1, 1, len(counts)))[0] is None


def test_arrays_bring_the_same_costs_back():
    costs, _ = OperatorCosts.helpful(counted(), residuals(counted()))
    again = OperatorCosts.from_arrays(costs.arrays())
    np.testing.assert_array_equal(again.predict(counted(seed=1)), costs.predict(counted(seed=1)))
    assert OperatorCosts.from_arrays({}) is None
