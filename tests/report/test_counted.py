"""A report of an emulated core says so, shows instructions, and never a time."""

from __future__ import annotations

import json
import re

import pytest

from hwprof.measurement import Measurement, Status
from hwprof.report import profile_markdown, profile_record, render_profile, render_trace, tables, verdict
from hwprof.report.verdict import Tone
from tests.samples import counted_measurement, counted_process, counts


@pytest.fixture
def counted(graph) -> Measurement:
    processes = [counted_process(i, counts(40_000_000, load=9_995_000 + i * 10_000)) for i in range(2)]
    return counted_measurement(*processes, model="small", digest=graph.digest)


def test_the_headline_is_in_instructions(counted):
    found = verdict.of_profile(counted)
    assert found.headline == "small executes 50.0 M instructions per inference on emulated-cortex-a72, emulated"
    assert found.support == "fma 80 %, load 20 %, integer 0 %; converged, totals of 2 processes within < 0.1 %"
    assert found.tone is Tone.CAUTION
    assert any(
        d.startswith("Emulated: the core would execute these instructions; there are no times") for d in found.doubts
    )


def test_several_give_their_range(counted):
    other = counted_measurement(counted_process(0, counts(7_000_000)), model="less")
    found = verdict.of_profiles([counted, other])
    assert found.headline == (
        "2 profiles on emulated-cortex-a72 (emulated, not measured): "
        "from 7.00 M instructions (less) to 50.0 M instructions (small)"
    )


@pytest.mark.parametrize("status", [Status.CONVERGED, Status.BUDGET])
def test_no_page_shows_a_time(counted, graphs, graph, status):
    m = counted_measurement(*counted.processes, model="small", digest=graph.digest, status=status)
    html = render_profile([m], graphs, None, "x")
    text = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    for page in (text, profile_markdown([m, m], graphs, None, "x")):
        shown = page.partition("Settings")[0]  # the protocol's settings have times of their own
        assert "instructions" in shown
        assert "emulated" in shown
        assert not re.search(r"\d (ns|µs|ms|s)\b", shown)


def test_every_class_is_a_row(counted):
    table = tables.classes(counted)
    assert "emulated" in table.caption
    assert [(row[0].words, row[1].words) for row in table.rows[:2]] == [("integer", "0"), ("load", "10.0 M")]


def test_a_record_has_instructions_and_no_latency(counted, graph):
    found = json.loads(json.dumps(profile_record(counted, graph)))
    assert found["evidence"] == "emulated"
    assert found["instructions"]["fma"] == 40_000_000
    times = ("latency_ms", "normalized_ms", "cold_start_ms", "open_ms", "peak_memory_bytes")
    assert [found[name] for name in times] == [None] * len(times)


def test_a_measured_record_has_no_instructions(measurement, graph):
    assert profile_record(measurement(), graph)["instructions"] is None


def test_a_trace_shows_times_and_so_nothing_of_it(counted):
    assert json.loads(render_trace([counted]))["traceEvents"] == []


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        (counts(5, simd=1), "floating-point kernels; no int8 dot product"),
        (counts(0, simd=9), "vector kernels without int8 dot products"),
        (counts(0, simd=9, dot=3), "kernels with int8 dot products: 3 instructions of that class"),
    ],
)
def test_the_counts_say_which_kernels_ran(instructions, words):
    m = counted_measurement(counted_process(0, instructions))
    assert verdict.of_profile(m).doubts[0] == words
