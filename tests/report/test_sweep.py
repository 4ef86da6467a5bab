from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from hwprof.measurement import Evidence, Status
from hwprof.report import page
from hwprof.report import sweep as swept
from hwprof.report.sweep import Fastest, Sweep, Swept
from tests.samples import make_measurement, make_process


def row(device: str, ms: float | None, batch: int = 1, spread: float = 0.001) -> Swept:
    """spread: of the medians of three processes."""
    if ms is None:
        return Swept("net", "", batch, device, 1, None, "no such library")
    processes = [make_process(i, [1e6 * ms * (1 + spread * (i - 1))] * 2) for i in range(3)]
    return Swept("net", "", batch, device, 1, make_measurement(processes))


def test_the_fastest_is_named_with_its_interval():
    (found,) = Sweep((row("slow", 2.0), row("fast", 1.0), row("broken", None))).fastest
    assert (found.row.device, found.is_certain) == ("fast", True)
    assert found.sentence.startswith("net: fast, 1 thread is fastest, 1.000 ms (")


def test_devices_whose_intervals_overlap_cannot_be_told_apart():
    (found,) = Sweep((row("a", 1.0, spread=0.2), row("b", 1.01, spread=0.2), row("c", 9.0))).fastest
    assert [r.device for r in found.rivals] == ["b"]
    assert found.sentence.startswith("net: cannot tell a, 1 thread from b, 1 thread; they differ by at most ")
    assert found.sentence.endswith("; raise --budget")
    assert not found.is_answered


def test_devices_that_differ_by_little_at_most_are_equally_fast():
    found = Sweep((row("a", 4.496, spread=0.006), row("b", 4.526, spread=0.01), row("c", 9.0)))
    (fastest,) = found.fastest
    assert not fastest.is_certain
    assert fastest.is_answered
    assert fastest.equal_within == pytest.approx(0.03, abs=0.02)
    assert fastest.sentence.startswith("net: a, 1 thread and b, 1 thread are equally fast, 4.50 ms; ")
    assert fastest.sentence.endswith(f"they differ by at most {math.ceil(100 * fastest.equal_within)} %")
    assert found.is_converged


def test_the_difference_of_equal_devices_is_that_of_their_intervals():
    a, b = row("a", 1.0, spread=0.01), row("b", 1.01, spread=0.01)
    low_ms, high_ms = a.statistics.low, b.statistics.high
    within = Fastest(a, (b,)).equal_within
    assert 0.01 < within < high_ms / low_ms - 1  # independent errors hardly ever add up


def test_a_single_process_that_took_many_times_as_long_is_no_rival():
    once = Swept("net", "", 1, "tvm", 1, make_measurement([make_process(0, [237e6])]))
    (found,) = Sweep((row("a", 4.492), once)).fastest
    assert found.is_certain
    near = Swept("net", "", 1, "tvm", 1, make_measurement([make_process(0, [5e6])]))
    (found,) = Sweep((row("a", 4.492), near)).fastest
    assert [r.device for r in found.rivals] == ["tvm"]
    assert found.equal_within is None
    assert "cannot tell a, 1 thread from tvm, 1 thread; raise --budget" in found.sentence


def test_what_did_not_converge_names_the_limit_that_it_met():
    of_time, of_processes = row("a", 1.0), row("b", 3.0)
    few = replace(of_processes.measurement.protocol, max_processes=3)
    found = Sweep(
        (
            replace(of_time, measurement=replace(of_time.measurement, status=Status.BUDGET)),
            replace(of_processes, measurement=replace(of_processes.measurement, status=Status.BUDGET, protocol=few)),
        )
    )
    first, second = swept.missed(found)
    assert first.startswith("net, a, 1 thread: Not converged: the budget ran out first")
    assert second.startswith("net, b, 1 thread: Not converged: the limit of 3 processes for this budget was reached")


def unconverged(device: str, batch: int) -> Swept:
    found = row(device, 1.0, batch)
    return replace(found, measurement=replace(found.measurement, status=Status.BUDGET))


def test_doubts_say_which_batches_they_are_about():
    found = Sweep((row("a", 1.0), unconverged("a", 4), unconverged("a", 16), unconverged("b", 1)))
    first, second = swept.missed(found)
    assert first.startswith("net at batch 4 and net at batch 16, a, 1 thread: Not converged: ")
    assert second.startswith("net, b, 1 thread: Not converged: ")


def test_a_doubt_about_all_batches_of_a_network_names_none():
    (only,) = swept.missed(Sweep((unconverged("a", 1), unconverged("a", 4))))
    assert only.startswith("net, a, 1 thread: Not converged: ")


def test_doubts_say_which_shapes_they_are_about():
    wide = replace(unconverged("a", 1), shape="x=1,3,64,64")
    (only,) = swept.missed(Sweep((replace(row("a", 1.0), shape="x=1,3,8,8"), wide)))
    assert only.startswith("net x=1,3,64,64, a, 1 thread: Not converged: ")


def test_a_reason_names_the_batch_that_cannot_run():
    found = Sweep((row("a", 1.0), row("a", None, batch=4)))
    assert swept.reasons(found) == ["a cannot run net at batch 4: no such library"]


def test_a_network_that_cannot_be_opened_is_told_once_and_not_of_the_devices():
    rows = [replace(row(device, None), reason="cannot read net.onnx", is_bad_input=True) for device in ("a", "b")]
    assert swept.reasons(Sweep(tuple(rows))) == ["net: cannot read net.onnx"]


def test_only_equal_batches_compete():
    found = Sweep((row("a", 1.0), row("b", 2.0), row("a", 4.0, batch=4), row("b", 3.0, batch=4))).fastest
    assert [(f.row.batch, f.row.device) for f in found] == [(1, "a"), (4, "b")]


def calculated(ms: float) -> Swept:
    found = row("roofline", ms)
    assert found.measurement is not None
    return replace(found, measurement=replace(found.measurement, evidence=Evidence.ANALYTIC))


def test_a_calculated_latency_does_not_compete():
    assert Sweep((row("a", 1.0), calculated(0.1))).fastest == ()


def test_a_calculated_latency_is_called_so_in_the_table_and_in_the_figure():
    found = Sweep((row("a", 1.0), calculated(0.1)))
    assert [r["device"] for r in swept.table(found)] == ["a", "roofline (analytic)"]
    assert "roofline (analytic), 1 thread" in str(swept.draw(found))


def test_a_throughput_is_written_without_an_exponent():
    assert swept.table(Sweep((row("a", 0.05),)))[0]["per s"] == "20000"


def test_shapes_have_a_column_where_some_were_asked_for():
    assert "input" not in swept.table(Sweep((row("a", 1.0),)))[0]
    assert swept.table(Sweep((replace(row("a", 1.0), shape="x=1,3,8,8"),)))[0]["input"] == "x=1,3,8,8"


def test_the_answer_counts_what_was_measured_alone():
    assert swept.verdict(Sweep((row("a", 1.0), row("b", 2.0), row("c", None)))).support == "2 measurements"


def test_throughput_counts_the_samples_of_a_batch():
    assert row("a", 2.0, batch=4).per_s == pytest.approx(2000)


def test_a_device_that_cannot_run_the_network_says_why_once():
    found = Sweep((row("a", 1.0), row("b", None), row("b", None, batch=4)))
    assert swept.reasons(found) == ["b cannot run net: no such library"]
    assert [r["status"] for r in swept.table(found)][1:] == ["cannot run", "cannot run"]
    assert json.loads(json.dumps(swept.record(found), allow_nan=False))["rows"][1]["reason"] == "no such library"


def test_the_page_has_a_figure_and_every_row():
    text = page.render_sweep(Sweep((row("a", 1.0), row("b", 30.0), row("c", None))), "hwprof sweep net")
    assert "<svg" in text
    assert text.count("cannot run") >= 2
    assert "<svg" not in page.render_sweep(Sweep((row("c", None),)), "hwprof sweep net")
