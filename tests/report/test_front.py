"""Figure: metric against measured latency."""

import math

import pytest

from hwprof.report import front, results
from tests.results import compared, make_result, measured


def drawn(image, *found, width: float = 800.0):
    (only,) = results.fronts(results.found_in(found))
    return image(front.draw(only, width, 400.0))


def test_the_filling_says_whether_the_target_is_met(image):
    seen = drawn(image, make_result(3.0, 4.0), make_result(5.0, 4.0), make_result(6.0, None))
    legend = 1
    assert len(seen.marks("hollow")) == 1
    assert len(seen.marks("method")) == 2 + legend
    assert len(seen.marks("soft")) == 1


def test_what_cannot_be_told_is_half_filled(image):
    seen = drawn(image, make_result(5.0, 5.0))
    (ring,) = seen.marks("hollow")
    half = next(m for m in seen.marks("method") if m.tag.endswith("polygon"))
    xs = [float(p.split(",")[0]) for p in half.get("points").split()]
    assert max(xs) == pytest.approx(float(ring.get("cx")), abs=0.06)
    assert min(xs) < float(ring.get("cx")) - 4


@pytest.mark.parametrize("methods", [[f"m{i}" for i in range(10)]])
def test_every_method_has_a_line_in_the_legend(image, methods):
    seen = drawn(image, *(make_result(3.0 + i, 3.0 + i, method=m) for i, m in enumerate(methods)))
    assert {*methods} <= {*seen.words}


def test_the_baseline_and_the_front_are_drawn(image):
    seen = drawn(image, make_result(3.0), make_result(5.0, metric=98.0))
    assert "baseline" in seen.words
    assert len(seen.marks("front")) == 1


def test_the_figure_says_which_metrics_are_better(image):
    assert any("smaller is better" in words for words in drawn(image, make_result(higher_is_better=False)).words)
    assert any("larger is better" in words for words in drawn(image, make_result()).words)


def test_each_target_is_drawn_once(image):
    seen = drawn(image, make_result(3.0, 4.0), make_result(3.5, 4.0), make_result(5.0, 6.0))
    assert len(seen.marks("target")) == 2
    assert {"≤ 4 ms", "≤ 6 ms"} <= {*seen.words}


def test_the_words_of_targets_do_not_hide_each_other(image):
    seen = drawn(image, *(make_result(3.0, 4.0 + i / 100) for i in range(20)))
    assert len(seen.marks("target")) == 20
    assert sum(w.startswith("≤") for w in seen.words) == 1


def test_a_mark_tells_its_number_method_latency_and_metric(image):
    assert "1, prune: 5.00 ms, 97.00, target met: yes" in drawn(image, make_result()).tips


def test_without_a_metric_or_a_latency_there_is_nothing_to_draw():
    for result in (make_result(metric=math.nan), make_result(measured={})):
        (only,) = results.fronts(results.found_in([result]))
        assert front.draw(only, 800.0, 400.0) is None


@pytest.mark.parametrize("ms", [0.004, 4000.0])
def test_extremes_are_drawn(image, ms):
    assert len(drawn(image, make_result(ms, ms, measured={"d": compared(ms, 2 * ms)})).marks("hollow")) == 1


def test_one_process_and_no_baseline_metric_are_drawn(image):
    pair = compared(5.0)
    alone = type(pair)(
        measured(10.0, processes=1), measured(5.0, processes=1), "same", 0.5, math.nan, math.nan, 1, 0.02
    )
    seen = drawn(image, make_result(measured={"d": alone}, baseline_metric=math.nan))
    assert len(seen.marks("baseline")) == 0
    assert len(seen.marks("hollow")) == 1
