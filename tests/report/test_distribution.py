"""Figure of the distribution."""

from hwprof.report import distribution


def test_the_bars_hold_every_sample(measurement, image):
    m = measurement()
    drawn = image(distribution.draw([m]))
    bars = [int(e.find("title").text.split(": ")[1].split()[0]) for e in drawn.marks("bar")]
    tail = [int(e.find("title").text.split()[0]) for e in drawn.marks("tail")]
    assert sum(bars) + sum(tail) == m.samples


def test_lanes_share_one_axis(measurement, image):
    drawn = image(distribution.draw([measurement(10.0), measurement(20.0)], ["a", "b"]))
    assert len(drawn.marks("median")) == 2
    assert [w for w in drawn.words if w in ("a", "b")] == ["a", "b"]
    assert drawn.words.count("latency of one inference, ms") == 1


def test_extremes_are_drawn(extreme, image):
    assert image(distribution.draw([extreme])).marks("bar")
