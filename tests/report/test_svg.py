"""Scales and their ticks."""

import numpy as np
import pytest

from hwprof.report.svg import Scale, axis_end, marker, shortened, words_width


def test_a_linear_scale_maps_its_ends_and_its_middle():
    x = Scale(10, 20, 0, 100)
    assert [x(10), x(15), x(20)] == [0, 50, 100]


def test_a_logarithmic_scale_maps_decades_evenly():
    y = Scale(1, 100, 200, 0, log=True)
    assert [y(1), y(10), y(100)] == pytest.approx([200, 100, 0])


def test_a_clamped_value_stays_inside():
    assert Scale(0, 1, 0, 100).clamped(7) == 100


def test_a_scale_of_one_value_maps_it_to_the_middle():
    assert Scale(5, 5, 0, 100)(5) == 50


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 10, 0, 1), [0, 2, 4, 6, 8, 10]),
        (Scale(12.2, 13.3, 0, 1), [12.25, 12.5, 12.75, 13.0, 13.25]),
        (Scale(1, 50, 0, 1, log=True), [1, 3, 10, 30]),
        (Scale(12, 40, 0, 1, log=True), [20, 30, 40]),
        (Scale(1, 1e6, 0, 1, log=True), [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
    ],
)
def test_ticks_are_round_and_inside(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)


def test_eight_markers_have_eight_shapes():
    assert len({marker(i, 0, 0, 5, "k") for i in range(8)}) == 8


def test_words_that_do_not_fit_are_cut_or_left_out():
    assert [shortened("Conv_12345", width) for width in (200, 42, 12)] == ["Conv_12345", "Conv…", ""]


# Advance widths of DejaVu Sans at 1000 units per em, from its table of metrics.
@pytest.mark.parametrize(
    ("words", "units"), [("Conv_103", 4944), ("MatMul", 3642), ("WWW%", 3917), ("HardSwish_1", 6432), ("illicit", 2331)]
)
def test_words_are_not_taken_to_be_narrower_than_the_widest_typeface_sets_them(words, units):
    assert 1.0 <= words_width(words, 1000) / units < 1.15
    assert words_width(words, is_bold=True) > words_width(words)


def test_an_axis_ends_before_outliers_and_after_all_that_is_near():
    near = np.linspace(1.0, 1.2, 30)
    assert axis_end(np.append(near, 20.0)) == pytest.approx(1.2)
    assert axis_end(np.append(near, 1.3)) == pytest.approx(1.2, abs=0.11)
    assert axis_end(np.full(5, 3.0)) == 3.0
    assert axis_end(np.array([2.0])) == 2.0
