import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.latency_table import Correction, Pattern
from hwprof.latency_table.correction import fit


def test_a_straight_line_is_found_exactly():
    found = fit([1.0, 2.0, 4.0, 8.0, 16.0], [1.2, 2.0, 3.6, 6.8, 13.2])  # 0.4 + 0.8 * sum
    assert (found.a_ms, found.b) == (pytest.approx(0.4), pytest.approx(0.8))
    assert found.mape == pytest.approx(0.0, abs=1e-9)
    assert found.raw_mape == pytest.approx(np.mean([0.2 / 1.2, 0.0, 0.4 / 3.6, 1.2 / 6.8, 2.8 / 13.2]))


def test_a_pair_of_operators_that_fuses_gets_its_residual():
    rng = np.random.default_rng(0)
    sums, counts = rng.uniform(2, 8, 30), rng.integers(0, 5, 30)
    found = fit(sums, 1 + sums - 0.1 * counts, [{("Conv", "Relu"): int(c)} for c in counts])
    assert found.patterns[0].ms == pytest.approx(-0.1, abs=0.01)


def test_patterns_count_in_the_end_to_end_latency():
    correction = Correction(1.0, 2.0, (Pattern("Conv", "Relu", -0.5),))
    assert correction.end_to_end_ms(3.0, {("Conv", "Relu"): 2, ("Relu", "Conv"): 9}) == 6.0


def test_quantiles_cover_what_they_say_on_fresh_networks():
    rng = np.random.default_rng(1)
    sums = rng.uniform(2, 8, 400)
    true = (1 + sums) * rng.lognormal(0, 0.05, 400)
    found = fit(sums[:200], true[:200])
    below = [
        t <= found.end_to_end_ms(s) * (1 + found.residual(0.9)) for s, t in zip(sums[200:], true[200:], strict=True)
    ]
    assert 0.84 <= np.mean(below) <= 0.96


def test_a_quantile_that_few_networks_cannot_vouch_for_is_unknown():
    found = fit([1, 2, 3, 4, 5, 6, 7, 8], [1.1, 2, 3.1, 4, 5.2, 6, 7, 8.1])
    with pytest.raises(InputError, match=r"residual at confidence 0\.95 is unknown"):
        found.residual(0.95)


def test_fewer_than_four_networks_are_refused():
    with pytest.raises(InputError, match="at least 4 networks, 3 were given"):
        fit([1, 2, 3], [1, 2, 3])


def test_a_measured_latency_that_is_not_positive_is_refused():
    with pytest.raises(InputError, match="positive"):
        fit([1, 2, 3, 4], [1, 2, float("nan"), 4])


def test_a_correction_far_from_its_networks_gives_no_negative_latency():
    with pytest.raises(InputError, match="fit it to networks like this one"):
        Correction(a_ms=-2.0, b=1.0).end_to_end_ms(1.0)
