"""The trace is what trace viewers read."""

import json

import pytest

from hwprof.report.trace import render_trace


@pytest.fixture
def events(measurement, graphs):
    return json.loads(render_trace([measurement(10.0)], graphs))["traceEvents"]


def test_every_event_has_what_its_phase_needs(events):
    needed = {
        "X": {"name", "ts", "dur", "pid", "tid"},
        "M": {"name", "pid", "args"},
        "C": {"name", "ts", "pid", "args"},
    }
    assert {e["ph"] for e in events} == set(needed)
    assert all(needed[e["ph"]] <= e.keys() for e in events)
    assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in events if e["ph"] == "X")


def test_kernels_stand_end_to_end_inside_the_inference(events):
    whole, *kernels = (e for e in events if e["ph"] == "X" and e["pid"] == 1)
    assert [k["name"] for k in kernels] == ["Conv_0", "Flatten_2", "Gemm_3"]
    assert kernels[1]["ts"] == pytest.approx(kernels[0]["ts"] + kernels[0]["dur"], abs=0.002)
    assert kernels[-1]["ts"] + kernels[-1]["dur"] <= whole["dur"]
    assert kernels[0]["args"]["members"] == ["Conv_0", "Relu_1"]
    assert kernels[0]["args"]["macs"] == 13_824


def test_the_measurement_has_a_thread_per_process_and_a_span_per_block(events):
    spans = [e for e in events if e["ph"] == "X" and e["pid"] == 2]
    assert {e["tid"] for e in spans} == {1, 2, 3, 4, 5}
    assert sum(e["name"].startswith("block") for e in spans) == 50
    assert sum("rejected: steal" in e["name"] for e in spans) == 1


def test_processes_do_not_overlap(events):
    spans = [e for e in events if e["ph"] == "X" and e["pid"] == 2]
    for tid in range(2, 6):
        end = max(e["ts"] + e["dur"] for e in spans if e["tid"] == tid - 1)
        assert min(e["ts"] for e in spans if e["tid"] == tid) > end


def test_the_start_ends_where_the_first_block_begins(events):
    spans = {e["name"]: e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == (2, 1)}
    assert spans["warm-up"]["ts"] + spans["warm-up"]["dur"] == pytest.approx(spans["block 1"]["ts"], abs=0.01)


def test_anchors_are_counters_over_their_baselines(events):
    counters = [e["args"] for e in events if e["ph"] == "C"]
    assert len(counters) == 50
    assert counters[0]["compute"] == pytest.approx(1.0, abs=0.02)


def test_times_that_were_not_measured_are_named_so(measurement, graphs):
    made = json.loads(render_trace([measurement(evidence="analytic")], graphs))["traceEvents"]
    assert "analytic, not measured" in made[0]["args"]["name"]


def test_without_operators_only_the_measurement_is_shown(measurement):
    made = json.loads(render_trace([measurement(operators=())], {}))["traceEvents"]
    assert {e["pid"] for e in made} == {2}
