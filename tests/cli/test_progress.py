"""Without a terminal, long work says a line now and then."""

import io
import time

from hwprof.cli import progress
from hwprof.measure.rounds import Cohort
from hwprof.measurement import FAST


def test_long_work_says_its_latest_state():
    out = io.StringIO()
    with progress.spoken(every_s=0.01, out=out) as tell:
        tell("3 processes")
        end = time.monotonic() + 10
        while "3 processes" not in out.getvalue():
            assert time.monotonic() < end
            time.sleep(0.005)


def test_short_work_says_nothing():
    out = io.StringIO()
    with progress.spoken(out=out) as tell:
        tell("done at once")
    assert out.getvalue() == ""


def test_a_network_that_ended_short_of_its_target_is_not_said_to_have_reached_it(tiny_graph):
    assert progress._words(Cohort((tiny_graph,), ended=True), FAST) == f"{tiny_graph.name}: 0 processes, ended"
