"""Figure of the distribution."""

from dataclasses import replace

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


def test_one_outlier_among_few_samples_does_not_flatten_the_others(measurement, image):
    m = with_outlier(measurement())
    drawn = image(distribution.draw([m]))
    shares = sorted(float(e.get("x")) for e in drawn.marks("bar"))
    assert shares[-1] - shares[0] > 200
    assert "1 beyond" in drawn.words
    (tail,) = drawn.marks("tail")
    assert tail.find("title").text.startswith("1 samples above the axis")


def with_outlier(m):
    """Few samples, of which one took twenty times as long as the others."""
    few = [replace(b, samples_ns=b.samples_ns[:6], rejected="") for p in m.processes[:3] for b in p.blocks[:1]]
    few[0] = replace(few[0], samples_ns=(*few[0].samples_ns[:5], 20 * few[0].samples_ns[0]))
    return replace(m, processes=tuple(replace(p, blocks=(b,)) for p, b in zip(m.processes, few, strict=False)))
