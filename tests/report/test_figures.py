"""Each figure shows what it is about, and survives measurements at the edge."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from hwprof.report import distribution, intervals, operators, pairs, roofline, strips, timeline, warmup


def parsed(drawn):
    """The image, which must be well-formed and hold no coordinate that is not a number."""
    assert "nan" not in drawn
    assert "inf" not in drawn.replace("inference", "")
    return ET.fromstring(drawn)


def by_class(image, class_):
    return [e for e in image.iter() if class_ in e.get("class", "").split()]


def test_the_bars_of_the_distribution_hold_every_sample(measurement):
    m = measurement()
    image = parsed(distribution.draw([m]))
    bars = [int(e.find("title").text.split(": ")[1].split()[0]) for e in by_class(image, "bar")]
    tail = [int(e.find("title").text.split()[0]) for e in by_class(image, "tail")]
    assert sum(bars) + sum(tail) == m.samples


def test_the_strips_hold_every_block_and_mark_the_rejected_with_their_cause(measurement):
    m = measurement()
    image = parsed(strips.draw(m))
    tips = [e.text for e in image.iter("title")]
    assert sum(", block " in t for t in tips) == 50
    assert sorted(t.split("rejected: ")[1] for t in tips if "rejected" in t) == ["preempted", "preempted", "steal"]
    assert [e.text for e in image.iter("text") if e.text.startswith(("preempted", "steal"))] == [
        "preempted 2",
        "steal 1",
    ]


def test_causes_of_rejection_differ_in_shape_not_in_colour_alone(measurement):
    shapes = {e.get("points").split()[0] for e in by_class(parsed(strips.draw(measurement())), "rejected")}
    assert len(shapes) > 1


def test_the_timeline_has_a_lane_for_the_network_and_one_for_each_anchor(measurement):
    image = parsed(timeline.draw(measurement()))
    names = [e.text for e in by_class(image, "name")]
    assert names[:3] == [
        "this network, against its median",
        "anchor compute, against its baseline",
        "anchor copy-1024k, against its baseline",
    ]
    assert len(by_class(image, "rejected")) == 3 * 3


def test_slowdowns_are_anchors_over_their_baselines(measurement):
    found = timeline.slowdowns(measurement())
    assert found["compute"].max() == pytest.approx(1.06, abs=0.02)
    assert np.median(found["compute"]) == pytest.approx(1.0, abs=0.01)


def test_the_warm_up_starts_with_the_cold_run_of_each_process(measurement):
    m = measurement()
    image = parsed(warmup.draw(m))
    assert len(by_class(image, "cold")) == len(by_class(image, "warm")) == 5
    assert warmup.courses(m) == {"flat": 2, "warm-up": 3}


def test_the_roofline_has_a_mark_for_each_kernel_with_multiply_adds(measurement, graph, peaks):
    image = parsed(roofline.draw(operators.of_measurement(measurement(), graph, peaks), peaks))
    tips = [e.text.split(":")[0] for e in image.iter("title")]
    assert sorted(tips) == ["Conv_0", "Gemm_3"]
    assert len(by_class(image, "roof")) == 1


def test_without_peaks_the_roofline_has_no_roof(measurement, graph, peaks):
    breakdown = operators.of_measurement(measurement(), graph, None)
    assert by_class(parsed(roofline.draw(breakdown, None)), "roof") == []
    unknown = replace(peaks, bytes_per_s=float("nan"))
    assert by_class(parsed(roofline.draw(breakdown, unknown)), "roof") == []


def test_without_known_work_there_is_no_roofline(measurement):
    assert roofline.draw(operators.of_measurement(measurement(), None, None), None) is None


def test_intervals_stand_fastest_first_and_hollow_where_not_converged(measurement):
    made = [measurement(9.0, model="b"), measurement(1.0, model="a", status="budget")]
    image = parsed(intervals.draw(made))
    names = [e.text for e in image.iter("text") if e.text in ("a", "b")]
    assert names == ["a", "b"]
    assert len(by_class(image, "hollow")) == 1


def test_pairs_are_neighbouring_blocks_that_both_count(comparison):
    found = pairs.round_ratios(comparison)
    assert list(found) == [0, 1, 2, 3, 4]
    assert [len(r) for r in found.values()] == [10, 9, 9, 9, 10]
    assert found[0] == pytest.approx(7.4 / 12.3, rel=0.02)
    parsed(pairs.draw(comparison, "fp32", "int8"))


@pytest.mark.parametrize("changes", [{"processes": 1}, {"processes": 20}, {"ms": 0.004}, {"ms": 4000.0}])
def test_every_figure_draws_extremes(measurement, changes):
    m = measurement(**changes)
    for drawn in (distribution.draw([m]), strips.draw(m), timeline.draw(m), warmup.draw(m), intervals.draw([m])):
        parsed(drawn)


def test_every_figure_draws_a_measurement_without_anchors_or_spread(measurement):
    m = measurement()
    same = tuple(
        replace(p, blocks=tuple(replace(b, samples_ns=(10**7,) * 3, anchors_ns={}) for b in p.blocks))
        for p in m.processes
    )
    m = replace(m, processes=same, anchor_baseline_ns={})
    for drawn in (distribution.draw([m]), strips.draw(m), timeline.draw(m), warmup.draw(m), intervals.draw([m])):
        parsed(drawn)


def test_an_inconclusive_comparison_without_interval_is_drawn(comparison):
    nan = float("nan")
    parsed_without = pairs.draw(replace(comparison, low=nan, high=nan, verdict="inconclusive"), "a", "b")
    ET.fromstring(parsed_without)
    assert "whisker" not in parsed_without
