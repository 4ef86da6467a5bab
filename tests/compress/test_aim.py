import math

import pytest

from hwprof.compress.aim import TOLERANCE, Aim

UNKNOWN = math.nan


def test_a_network_that_was_too_slow_tightens_the_aim_by_wanted_over_measured():
    aim = Aim.at(10.0).tightened(projected_ms=9.0, measured_ms=12.0)
    assert (aim.wanted_ms, aim.within_ms, aim.missed_ms) == (10.0, 9.0 * 10 / 12, 9.0)


def test_an_aim_is_tightened_from_what_was_asked_where_the_table_could_not_get_below_it():
    assert Aim.at(10.0).tightened(projected_ms=14.0, measured_ms=12.5).within_ms == 10.0 * 10 / 12.5


def test_each_round_tightens_further_and_remembers_the_fastest_that_was_too_slow():
    aim = Aim.at(10.0).tightened(9.0, 12.0).tightened(7.0, 11.0)
    assert aim.within_ms == pytest.approx(7.0 * 10 / 11)
    assert aim.missed_ms == 7.0
    assert aim.tightened(8.0, 10.5).missed_ms == 7.0


def test_a_network_that_was_too_fast_loosens_the_aim_by_the_same_ratio():
    assert Aim.at(10.0).loosened(projected_ms=9.0, measured_ms=5.0).within_ms == 18.0


def test_an_aim_is_not_loosened_to_a_network_that_was_too_slow():
    aim = Aim.at(10.0).tightened(9.0, 12.0).loosened(projected_ms=6.0, measured_ms=5.0)
    assert aim.within_ms == 9.0 / TOLERANCE < aim.missed_ms == 9.0


@pytest.mark.parametrize(
    ("measured_ms", "missed", "reached", "overshot"),
    [
        (10.001, True, False, False),
        (10.0, False, True, False),
        (8.5, False, True, False),
        (8.49, False, True, True),
        (math.inf, True, False, False),
        (UNKNOWN, False, False, False),
    ],
)
def test_a_network_is_too_slow_fast_enough_or_too_fast(measured_ms, missed, reached, overshot):
    aim = Aim.at(10.0)
    found = aim.is_missed(measured_ms), aim.is_reached(measured_ms), aim.is_overshot(measured_ms)
    assert found == (missed, reached, overshot)


def test_without_a_wanted_latency_nothing_is_too_slow_or_too_fast():
    aim = Aim(math.nan, 3.0)
    assert not any((aim.is_missed(9.0), aim.is_reached(1.0), aim.is_overshot(1.0)))
