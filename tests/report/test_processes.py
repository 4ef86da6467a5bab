"""Figure of processes and blocks."""

from hwprof.report import processes


def test_every_block_is_there_and_the_rejected_bear_their_cause(measurement, image):
    drawn = image(processes.draw(measurement()))
    assert sum(", block " in t for t in drawn.tips) == 50
    causes = [t.split("rejected: ")[1] for t in drawn.tips if "rejected" in t]
    assert sorted(causes) == ["preempted", "preempted", "steal"]
    assert drawn.words[-2:] == ["preempted 2", "steal 1"]


def test_causes_of_rejection_differ_in_shape_not_in_colour_alone(measurement, image):
    legend = image(processes.draw(measurement())).marks("rejected")[-2:]
    first, second = (len({p.split(",")[0] for p in e.get("points").split()}) for e in legend)
    assert first != second


def test_extremes_are_drawn(extreme, image):
    assert len(image(processes.draw(extreme)).marks("own")) == len(extreme.processes)
