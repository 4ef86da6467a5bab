import pytest

from hwprof.errors import InputError
from hwprof.time_unit import ms_per


@pytest.mark.parametrize(
    ("unit", "ms"),
    [("s", 1000.0), ("ms", 1.0), ("us", 1e-3), ("ns", 1e-6), ("cycles@200MHz", 5e-6), ("cycles@1GHz", 1e-6)],
)
def test_a_unit_is_worth_its_milliseconds(unit, ms):
    assert ms_per(unit) == pytest.approx(ms)


@pytest.mark.parametrize("unit", ["", "cycles", "cycles@0MHz", "microseconds (ms)"])
def test_an_unknown_unit_is_refused_with_the_known_ones(unit):
    with pytest.raises(InputError, match="known: s, ms, us, ns"):
        ms_per(unit)
