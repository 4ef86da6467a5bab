import math
from dataclasses import replace

import numpy as np
import pytest

from hwprof.measure import compare
from hwprof.measurement import FAST, ProtocolSettings, TimedBlock
from tests.samples import make_measurement, make_process
from tests.simulated import TRUE_NS, simulated


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


def rounds_of(*ratios: float):
    """Processes of two networks, of which each round has one of the ratios."""
    a = [make_process(i, [1e6] * 5) for i in range(len(ratios))]
    return a, [make_process(i, [1e6 * ratio] * 5) for i, ratio in enumerate(ratios)]


def test_a_comparison_that_only_one_of_few_rounds_keeps_open_goes_on():
    fast = replace(FAST, min_processes=4)
    hanging, clear, open_ = (1.79, 1.28, 1.8, 1.78), (1.79, 1.8, 1.8, 1.78), (1.0, 1.1, 1.3, 0.9)
    found = [compare.hang_on_one_round(rounds_of(*ratios), fast, 0.02, 0.1) for ratios in (hanging, clear, open_)]
    assert found == [True, False, False]
    assert not compare.hang_on_one_round(rounds_of(*hanging, 1.79, 1.8, 1.78, 1.79), fast, 0.02, 0.1)


def test_one_round_of_eight_that_is_far_off_decides_nothing():
    ratios = (1.79, 1.28, 1.8, 1.78, 1.79, 1.8, 1.78, 1.79)
    assert len(ratios) == compare.ROUNDS_AGAINST_ONE
    first_four = compare.ratio_interval(*rounds_of(*ratios[:4]))
    assert compare.gate(*first_four[1:], limit=0.1) == "inconclusive"
    for n in (7, 8):
        _, low, _ = compare.ratio_interval(*rounds_of(*ratios[:n]))
        assert low > 1.7
    assert compare.is_decided(*rounds_of(*ratios), FAST, 0.02, limit=0.1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.11, 1.2, "failed"),
        (0.9, 1.1, "passed"),
        (1.05, 1.15, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_the_gate_asks_for_the_limit_alone(low: float, high: float, expected: str):
    assert compare.gate(low, high, limit=0.1) == expected


def test_with_a_limit_the_gate_decides_when_to_stop():
    """The verdict on the first ratios is open, since they may be the same; that on the second ones is clear."""
    passes, open_ = (1.0, 1.01, 1.02, 1.03, 1.04, 1.02), (1.05, 1.09, 1.1, 1.11, 1.12, 1.1)
    settings = ProtocolSettings()
    assert compare.is_decided(*rounds_of(*passes), settings, 0.02, limit=0.1)
    assert not compare.is_decided(*rounds_of(*passes), settings, 0.02)
    assert compare.is_decided(*rounds_of(*open_), settings, 0.02)
    assert not compare.is_decided(*rounds_of(*open_), settings, 0.02, limit=0.1)


def pair(seed: int, n: int, ratio: float = 1.0, cpu_share: float = 1.0):
    rng = np.random.default_rng(seed)
    made = [[simulated(rng, i, cpu_share, TRUE_NS * level) for level in (1.0, ratio)] for i in range(n)]
    return tuple(make_measurement(processes) for processes in zip(*made, strict=True))


@pytest.mark.parametrize("n", [4, 6])
@pytest.mark.parametrize("cpu_share", [1.0, 0.2])
def test_a_network_is_not_called_different_from_itself(n: int, cpu_share: float):
    verdicts = [compare.compare(*pair(seed, n, 1.0, cpu_share)).verdict for seed in range(40)]
    assert verdicts.count("faster") + verdicts.count("slower") == 0


@pytest.mark.parametrize("cpu_share", [1.0, 0.2])
def test_a_network_that_takes_5_percent_longer_is_found(cpu_share: float):
    verdicts = [compare.compare(*pair(seed, 20, 1.05, cpu_share)).verdict for seed in range(10)]
    assert verdicts.count("slower") >= 8


def test_three_rounds_are_too_few_for_a_verdict():
    a, b = ([make_process(i, [level] * 5) for i in range(4)] for level in (1e6, 1.2e6))
    assert compare.compare(make_measurement(a[:3]), make_measurement(b[:3])).verdict == "inconclusive"
    assert compare.compare(make_measurement(a), make_measurement(b)).verdict == "slower"


def test_rounds_whose_blocks_were_all_rejected_give_no_verdict():
    block = TimedBlock(0, (1_000_000,), rejected="preempted")
    slower = TimedBlock(0, (1_200_000,), rejected="preempted")
    a, b = ([make_process(i, [], blocks=(of,) * 5) for i in range(6)] for of in (block, slower))
    found = compare.compare(make_measurement(a), make_measurement(b))
    assert (found.verdict, found.pairs) == ("inconclusive", 0)
    assert math.isnan(found.ratio)


def test_a_verdict_that_only_the_last_round_gave_is_inconclusive():
    levels = (1.0, 1.0, 1.0, 1.0, 1.0, 1.05)  # the interval of the first five is that of equal networks
    a = [make_process(i, [1e6] * 5) for i in range(6)]
    b = [make_process(i, [1e6 * level] * 5) for i, level in enumerate(levels)]
    assert compare.compare(make_measurement(a[:5]), make_measurement(b[:5])).verdict == "same"
    assert compare.verdict(*compare.ratio_interval(a, b)[1:], margin=0.02) != "same"
    assert compare.compare(make_measurement(a), make_measurement(b)).verdict == "inconclusive"
