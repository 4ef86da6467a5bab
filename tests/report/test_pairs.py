"""Figure of paired ratios."""

from dataclasses import replace

import pytest

from hwprof.measurement.pairing import round_ratios
from hwprof.report import pairs


def test_pairs_are_neighbouring_blocks_that_both_count(comparison):
    found = round_ratios(comparison.a.processes, comparison.b.processes)
    assert list(found) == [0, 1, 2, 3, 4]
    assert [len(r) for r in found.values()] == [10, 9, 9, 9, 10]
    assert found[0] == pytest.approx(7.4 / 12.3, rel=0.02)


def test_each_round_has_a_row_and_the_estimate_a_whisker(comparison, image):
    drawn = image(pairs.draw(comparison, "fp32", "int8"))
    assert sum(t.startswith("round ") for t in drawn.tips) == 5
    assert len(drawn.marks("whisker")) == 1
    assert "0.602 (0.598 to 0.607)" in drawn.words


def test_a_comparison_without_an_interval_has_no_whisker(comparison, image):
    without = replace(comparison, low=float("nan"), high=float("nan"), verdict="inconclusive")
    drawn = image(pairs.draw(without, "a", "b"))
    assert drawn.marks("whisker") == []
    assert "0.602, no interval" in drawn.words


def test_a_comparison_without_a_ratio_has_no_figure(comparison):
    assert pairs.draw(replace(comparison, ratio=float("nan")), "a", "b") is None
