"""Numbers for people."""

import math

import pytest

from hwprof.report import quantity


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (1234.0, "1.23 s"), (12.34, "12.3 ms"), (0.01234, "12.3 µs"), (1.5e-6, "1.50 ns"), (0.9996, "1.00 ms"),
        (math.nan, "unknown"),
    ],
)  # fmt: skip
def test_a_duration_has_three_digits_and_the_unit_that_suits_it(ms, words):
    assert quantity.time(ms) == words


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        ((12.312, 12.276, 12.351), ("12.31 ms", "12.28 to 12.35 ms")),
        ((12.3, 11.0, 13.6), ("12.3 ms", "11.0 to 13.6 ms")),
        ((0.1234, 0.1230, 0.1238), ("123.4 µs", "123.0 to 123.8 µs")),
        ((12.3, math.nan, math.nan), ("12.3 ms", "")),
    ],
)
def test_an_estimate_has_the_decimals_that_its_interval_deserves(estimate, words):
    assert quantity.estimate(*estimate) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(300_774_272, "301 MMACs"), (512, "512 MACs"), (0, "0 MACs"), (999_999, "1.00 MMACs"), (None, "unknown")],
)
def test_a_count_has_an_si_prefix_and_none_is_unknown_not_zero(value, words):
    assert quantity.count(value, "MACs") == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.0003, "< 0.1 %"), (0.0123, "1.2 %"), (0.0997, "10 %"), (0.643, "64 %"), (None, "unknown")],
)
def test_a_share_is_written_in_percent(share, words):
    assert quantity.percent(share) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.0213, "2.1%"), (1.0, "100.0%"), (2.8e9, "> 100%"), (math.nan, "unknown")]
)
def test_an_interval_wider_than_its_median_is_not_counted_out(share, words):
    assert quantity.half_width(share) == words


@pytest.mark.parametrize(("ratio", "words"), [(1.052, "+5.2 %"), (0.997, "−0.3 %"), (0.99999, "0 %")])
def test_a_change_is_signed_unless_it_rounds_to_nothing(ratio, words):
    assert quantity.change(ratio) == words


def test_a_noun_follows_its_number():
    assert [quantity.plural(n, "process") for n in (0, 1, 2)] == ["0 processes", "1 process", "2 processes"]


def test_an_interval_that_says_nothing_is_unknown():
    assert quantity.bounds(1.0, 1.25) == "1 .. 1.25"
    assert quantity.bounds(1.0, 1.25, ".2f") == "1.00 .. 1.25"
    for low, high in ((3.6e-07, 1001.0), (float("nan"), float("nan")), (0.0, 1.0)):
        assert quantity.bounds(low, high) == "unknown"
    assert quantity.estimate(1.0, 3.6e-07, 1001.0) == ("1.00 ms", "")
