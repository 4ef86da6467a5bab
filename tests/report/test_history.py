from dataclasses import replace

import pytest

from hwprof.errors import InputError
from hwprof.measurement import Measurement, TimedBlock
from hwprof.report import history, page
from tests.samples import make_measurement, make_process


def measured(ms: float, label: str = "", hardware: str = "0" * 12, spread: float = 0.001) -> Measurement:
    processes = [make_process(i, [1e6 * ms * (1 + spread * (i - 1))] * 2) for i in range(3)]
    return make_measurement(processes, environment={"label": label} if label else {}, hardware=hardware)


def test_a_change_is_said_where_intervals_are_apart():
    found = [measured(1.0), measured(1.0), measured(2.0), measured(1.0)]
    assert history.changes(found) == ["", "", "slower", "faster"]


def test_intervals_that_overlap_are_no_change():
    assert history.changes([measured(1.0, spread=0.2), measured(1.05, spread=0.2)]) == ["", ""]


def test_two_machines_or_devices_are_not_compared():
    other_device = replace(measured(2.0), device=replace(measured(1.0).device, threads=4))
    assert history.changes([measured(1.0), measured(2.0, hardware="1" * 12)]) == ["", ""]
    assert history.changes([measured(1.0), other_device]) == ["", ""]


def test_a_measurement_goes_by_its_label_else_by_its_day():
    assert [row["label"] for row in history.table([measured(1.0, "abc123"), measured(1.0)])] == ["abc123", "2026-01-01"]


def test_a_measurement_from_before_cpu_times_is_a_doubt_under_its_label():
    block = TimedBlock(0, (10**6,), anchors_ns={"compute": 150.0})
    older = make_measurement(
        [make_process(i, [], blocks=(block,) * 2) for i in range(3)], environment={"label": "v1"},
        anchor_baseline_ns={"compute": 100.0},
    )  # fmt: skip
    (doubt,) = history.verdict([older, measured(1.0, "v2")]).doubts
    assert doubt.startswith("v1: measured by an older hwprof, without CPU times")


def test_the_page_says_what_became_of_the_latency():
    text = page.render_history([measured(1.0, "v1"), measured(2.0, "v2")], "hwprof history m")
    assert "1 times slower, 0 times faster than the one before" in text
    assert "<svg" in text
    with pytest.raises(InputError, match="at least one measurement"):
        page.render_history([], "hwprof history m")
