"""Figure of several medians."""

from hwprof.report import intervals


def test_the_fastest_stands_first_and_what_has_not_converged_is_hollow(measurement, image):
    drawn = image(intervals.draw([measurement(9.0, model="b"), measurement(1.0, model="a", status="budget")], {}))
    assert [w for w in drawn.words if w in ("a", "b")] == ["a", "b"]
    assert len(drawn.marks("hollow")) == 1


def test_what_was_not_measured_is_named_so(measurement, image):
    assert "small (analytic)" in image(intervals.draw([measurement(evidence="analytic")], {})).words


def test_measurements_of_one_name_show_the_shapes_of_their_inputs(measurement, graphs, image):
    pair = [measurement(9.0), measurement(1.0, digest="not kept"), measurement(2.0, model="other")]
    assert {"small 1×3×8×8", "small", "other"} <= {*image(intervals.draw(pair, graphs)).words}


def test_extremes_are_drawn(extreme, image):
    assert len(image(intervals.draw([extreme], {})).marks("dot")) == 1
