import math

import numpy as np
import pytest

from hwprof.measure import compare
from hwprof.measurement import ProtocolSettings, TimedBlock
from tests.samples import make_measurement, make_process


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.03, 1.08, "slower"),
        (0.90, 0.95, "faster"),
        (0.99, 1.01, "same"),
        (1.00, 1.05, "inconclusive"),
        (0.95, 1.05, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_margin(low: float, high: float, expected: str):
    assert compare.verdict(low, high, margin=0.02) == expected


def test_the_ratio_is_taken_between_neighbouring_blocks_so_that_drift_cancels():
    drift = np.linspace(1, 3, 10)
    a = [make_process(i, 1e6 * drift) for i in range(5)]
    b = [make_process(i, 1.1e6 * drift) for i in range(5)]
    ratio, low, high = compare.ratio_interval(a, b)
    assert ratio == pytest.approx(1.1, rel=1e-6)
    assert low == pytest.approx(1.1, rel=1e-6)
    assert high == pytest.approx(1.1, rel=1e-6)


def test_rounds_that_only_one_of_them_has_do_not_count():
    a = [make_process(i, [1e6] * 4) for i in (0, 1, 2)]
    b = [make_process(i, [2e6] * 4) for i in (1, 2, 3)]
    assert len(compare.log_ratios(a, b)) == 2


def test_a_disturbed_block_takes_its_partner_with_it():
    calm, disturbed = TimedBlock(0, (100,)), TimedBlock(0, (900,), rejected="steal")
    a = make_process(0, [], blocks=(calm, disturbed, calm))
    b = make_process(0, [], blocks=(calm, calm, calm))
    (logs,) = compare.log_ratios([a], [b])
    assert logs.tolist() == [0.0, 0.0]


def test_a_decision_must_stand_in_two_consecutive_rounds():
    settings = ProtocolSettings()
    a = [make_process(i, [1e6] * 5) for i in range(5)]
    b = [make_process(i, [1.2e6] * 5) for i in range(5)]
    assert not compare.is_decided(a[:4], b[:4], settings, 0.02)
    assert compare.is_decided(a, b, settings, 0.02)
    assert not compare.is_decided([*a[:4], make_process(4, [2.4e6] * 5)], b, settings, 0.02)


def test_many_rows_widen_the_intervals_of_those_that_decide():
    rng = np.random.default_rng(0)

    def measured(name: str, level: float):
        return make_measurement(
            [make_process(i, level * (1 + 0.02 * rng.standard_normal(8))) for i in range(6)], model=name
        )

    first, same, slower = measured("a", 1e6), measured("b", 1e6), measured("c", 1.3e6)
    alone = compare.compare(first, slower)
    among = compare.compare_all(first, [same, slower])[1]
    assert among.verdict == "slower"
    assert among.high - among.low > alone.high - alone.low
