"""Figure of the warm-up."""

from hwprof.report import warmup


def test_each_process_starts_with_its_cold_run(measurement, image):
    drawn = image(warmup.draw(measurement()))
    assert len(drawn.marks("cold")) == len(drawn.marks("warm")) == 5


def test_courses_are_counted(measurement):
    assert warmup.courses(measurement()) == {"flat": 2, "warm-up": 3}


def test_extremes_are_drawn(extreme, image):
    assert len(image(warmup.draw(extreme)).marks("cold")) == len(extreme.processes)
