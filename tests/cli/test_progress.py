"""Without a terminal, long work says a line now and then."""

import io
import time
from contextlib import nullcontext

import pytest
from rich.progress import Progress, TextColumn

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


def test_without_a_terminal_the_line_is_the_step_in_place_of_the_last_network(
    tiny_graph, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr(progress, "spoken", lambda: nullcontext(told.append))
    with progress.bars(FAST) as shown:
        shown.on_progress(Cohort((tiny_graph,)))
        shown.on_step("timing the operators of tiny")
    assert told == ["tiny: 0 processes, 0% of the target precision", "timing the operators of tiny"]


def test_on_a_terminal_the_step_is_shown_until_a_network_is_measured(tiny_graph):
    bars = progress._Bars(Progress(TextColumn("{task.description}")), FAST)
    cohort = Cohort((tiny_graph,))
    shown = []
    for tell in (lambda: bars.say("one"), lambda: bars.say("two"), lambda: bars.show(cohort)):
        tell()
        shown.append([(task.description, task.fields["reached"]) for task in bars.progress.tasks])
    assert shown == [[("one", "")], [("two", "")], [("tiny", "0 processes, 0% of the target precision")]]
    cohort.ended = True
    bars.show(cohort)
    assert not bars.progress.tasks
