from dataclasses import replace

import pytest

from hwprof.errors import InputError
from hwprof.measurement import TimedBlock
from hwprof.report import history, page
from hwprof.report.history import Step
from tests.samples import make_measurement, make_process


def measured(
    ms: float, label: str = "", hardware: str = "0" * 12, spread: float = 0.001, inputs: str = "x=1,3,8,8"
) -> Step:
    processes = [make_process(i, [1e6 * ms * (1 + spread * (i - 1))] * 2) for i in range(3)]
    return Step(make_measurement(processes, environment={"label": label} if label else {}, hardware=hardware), inputs)


def test_a_change_is_said_where_intervals_are_apart():
    found = [measured(1.0), measured(1.0), measured(2.0), measured(1.0)]
    assert history.changes(found) == ["", "", "slower", "faster"]


def test_intervals_that_overlap_are_no_change():
    assert history.changes([measured(1.0, spread=0.2), measured(1.05, spread=0.2)]) == ["", ""]


def test_two_machines_or_devices_are_not_compared():
    slower = measured(2.0).measurement
    other_device = Step(replace(slower, device=replace(slower.device, threads=4)), "x=1,3,8,8")
    assert history.changes([measured(1.0), measured(2.0, hardware="1" * 12)]) == ["", ""]
    assert history.changes([measured(1.0), other_device]) == ["", ""]


def test_inputs_of_other_shapes_are_not_compared_and_those_of_equal_shapes_are():
    batch = "x=8,3,8,8"
    found = [measured(1.0), measured(8.0, inputs=batch), measured(2.0), measured(4.0, inputs=batch)]
    assert history.changes(found) == ["", "", "slower", "faster"]
    assert [row["inputs"] for row in history.table(found)][:2] == ["x=1,3,8,8", batch]
    assert "They have inputs of 2 shapes; only those of one are compared." in history.verdict(found).doubts


def test_programs_get_the_undisturbed_latency_as_a_number_under_its_name():
    (row,) = history.record([measured(1.0)])
    assert row["undisturbed_ms"] == pytest.approx(1.0)
    assert "latency_ms" not in row


def test_a_measurement_goes_by_its_label_else_by_its_day():
    assert [row["label"] for row in history.table([measured(1.0, "abc123"), measured(1.0)])] == ["abc123", "2026-01-01"]


def test_a_measurement_from_before_cpu_times_is_a_doubt_under_its_label():
    block = TimedBlock(0, (10**6,), anchors_ns={"compute": 150.0})
    older = make_measurement(
        [make_process(i, [], blocks=(block,) * 2) for i in range(3)], environment={"label": "v1"},
        anchor_baseline_ns={"compute": 100.0},
    )  # fmt: skip
    (doubt,) = history.verdict([Step(older, "x=1,3,8,8"), measured(1.0, "v2")]).doubts
    assert doubt.startswith("v1: measured by an older hwprof, without CPU times")


def test_one_measurement_has_no_history():
    found = history.verdict([measured(1.0, "v1")])
    assert found.headline == "m: one measurement has no history yet"
    assert found.support == "1 measurement, v1"
    assert "no certain change" in history.verdict([measured(1.0), measured(1.0)]).headline


def test_the_page_says_what_became_of_the_latency():
    text = page.render_history([measured(1.0, "v1"), measured(2.0, "v2")], "hwprof history m")
    assert "1 times slower, 0 times faster than the one before" in text
    assert "<svg" in text
    with pytest.raises(InputError, match="at least one measurement"):
        page.render_history([], "hwprof history m")
