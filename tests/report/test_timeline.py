"""Figure of the machine over time."""

import numpy as np
import pytest

from hwprof.report import timeline


def test_there_is_a_lane_for_the_network_and_one_for_each_anchor(measurement, image):
    drawn = image(timeline.draw(measurement()))
    assert [e.text for e in drawn.marks("name")][:3] == [
        "this network, against its median",
        "anchor compute, against its baseline",
        "anchor copy-1024k, against its baseline",
    ]
    assert len(drawn.marks("rejected")) == 3 * 3


def test_slowdowns_are_anchors_over_their_baselines(measurement):
    found = timeline.slowdowns(measurement())
    assert found["compute"].max() == pytest.approx(1.06, abs=0.02)
    assert np.median(found["compute"]) == pytest.approx(1.0, abs=0.01)


def test_extremes_are_drawn(extreme, image):
    assert len(image(timeline.draw(extreme)).marks("tolerance")) == 1 + len(extreme.anchor_baseline_ns)
