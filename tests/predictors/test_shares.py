import numpy as np
import pytest

from hwprof.predictors import shares


def quantities(n, seed=0):
    return np.random.default_rng(seed).integers(1, 10, (n, 3)).astype(float)


FREE = np.array([False, False, False])


def test_costs_without_noise_are_found_exactly():
    counts = quantities(20)
    latencies = 5 + counts @ [1.0, 0.0, 3.0]
    best = max(shares.fit(counts, FREE, latencies), key=lambda fit: fit.log_evidence)
    assert best.intercept_ms == pytest.approx(5, rel=0.01)
    assert best.coefficients == pytest.approx([1, 0, 3], abs=0.01)


def test_costs_are_never_negative():
    counts = quantities(20)
    latencies = 50 + counts @ [1.0, -2.0, 3.0]
    assert all((fit.coefficients >= 0).all() for fit in shares.fit(counts, FREE, latencies))


def test_the_right_design_has_the_higher_evidence():
    right, wrong = quantities(15), quantities(15, seed=1)
    noise = 1 + 0.05 * np.random.default_rng(2).standard_normal(15)
    latencies = (5 + right @ [1.0, 2.0, 3.0]) * noise
    evidence = [max(fit.log_evidence for fit in shares.fit(q, FREE, latencies)) for q in (right, wrong)]
    assert evidence[0] > evidence[1] + 5


def test_one_wild_latency_does_not_move_the_costs():
    counts = quantities(30)
    latencies = 5 + counts @ [1.0, 2.0, 3.0]
    latencies[7] *= 4
    best = max(shares.fit(counts, FREE, latencies), key=lambda fit: fit.log_evidence)
    assert 5 + best.coefficients @ [5, 5, 5] == pytest.approx(35, rel=0.03)


def test_a_quantity_that_is_the_same_everywhere_goes_to_the_intercept():
    counts = quantities(20)
    counts[:, 1] = 4
    best = max(shares.fit(counts, FREE, 5 + counts @ [1.0, 2.0, 3.0]), key=lambda fit: fit.log_evidence)
    assert best.coefficients[1] == 0
    assert best.intercept_ms == pytest.approx(13, rel=0.01)
