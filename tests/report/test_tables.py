"""Cells of the tables: the right numbers, and unknown where nothing is known."""

from dataclasses import replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.measurement import DeviceState
from hwprof.report import operators, tables


def words(table):
    return [[cell.words for cell in row] for row in table.rows]


def fact(facts, name):
    return next(f for f in facts if f.name == name)


def test_facts_say_what_is_not_known(measurement):
    facts = tables.facts(measurement(), None)
    assert fact(facts, "work").words == "unknown"
    assert fact(facts, "energy").words == "unavailable"


def test_facts_give_work_and_speed(measurement, graph):
    facts = tables.facts(measurement(10.0), graph)
    assert fact(facts, "work").words == "18.9 kMACs"
    assert fact(facts, "achieved").words == "1.88 MMAC/s"


def test_shapes_and_work_are_those_of_the_devices_batch(measurement, graph):
    m = measurement(device=Device("eight", "torch", batch=8))
    facts = tables.facts(m, graph)
    assert fact(facts, "input").words == "8×3×8×8"
    assert fact(facts, "work").words == "152 kMACs"


def test_measured_energy_is_shown(measurement):
    m = measurement()
    m = replace(m, processes=tuple(replace(p, energy_mj=31.4) for p in m.processes))
    assert fact(tables.facts(m, None), "energy").words == "31.4 mJ"


def test_what_was_measured_beside_the_latency_is_named_with_its_unit(measurement):
    m = measurement()
    figures = {"cold_device_ns": 1.5e6, "copy_in_ns": 2e4, "allocated_bytes": 3 * 2**20}
    held_down = DeviceState(clock_mhz=1980.0, power_w=431.0, throttled=("power limit",))
    processes = [
        replace(p, figures=figures, blocks=tuple(replace(b, states=(held_down,)) for b in p.blocks))
        for p in m.processes
    ]
    assert words(tables.further_figures(replace(m, processes=tuple(processes)))) == [
        ["cold device", "1.5 ms"], ["copy in", "0.02 ms"], ["allocated", "3 MiB"], ["clock", "1980 MHz"],
        ["power", "431 W"], ["power limit", "100 %"],
    ]  # fmt: skip
    assert tables.further_figures(m) is None


def test_an_unknown_operator_is_named_as_the_reason(measurement):
    b = GraphBuilder("custom")
    g = b.build(b.nodes("Mystery", [b.input((4,))], [("float32", (4,))], domain="com.example")[0])
    total, reason = tables.total_cost(measurement(), g)
    assert total is None
    assert "Mystery" in reason


def test_the_kinds_end_with_the_time_outside_of_kernels(measurement, graph, peaks):
    table = tables.kinds(operators.of_measurement(measurement(), graph, peaks))
    assert [row[0] for row in words(table)] == ["FusedConv", "Gemm", "Flatten", "outside of kernels"]
    assert [row[3] for row in words(table)] == ["60 %", "25 %", "5.0 %", "10 %"]
    assert table.rows[0][3].share == pytest.approx(0.6)


def test_a_kernel_without_multiply_adds_has_no_speed_of_them(measurement, graph, peaks):
    flatten = words(tables.kernels(operators.of_measurement(measurement(), graph, peaks)))[1]
    assert flatten[5:7] == ["–", "–"]


def test_a_fused_kernel_lists_its_members(measurement, graph):
    rows = words(tables.kernels(operators.of_measurement(measurement(), graph, None)))
    assert rows[0][-1] == "Conv_0, Relu_1"
    assert rows[1][-1] == ""


def test_differences_between_kinds_stand_largest_first(measurement, graph):
    a = operators.of_measurement(measurement(10.0), graph, None)
    b = operators.of_measurement(measurement(5.0), graph, None)
    table = tables.kinds_compared(a, b, ("a", "b"))
    assert [row[0] for row in words(table)][:2] == ["Conv", "Gemm"]
    assert table.rows[0][3].value == pytest.approx(-3.0, rel=0.01)
    assert table.rows[0][3].words.startswith("−3.0")


def test_settings_name_every_number_of_the_protocol(measurement):
    rows = dict(words(tables.settings(measurement())))
    assert rows["protocol.target"] == "0.01"
    assert rows["device.threads"] == "1"
    assert rows["version.onnxruntime"] == "1.23.0"


def test_nested_records_are_flattened_and_named_ones_go_by_their_name(measurement):
    rows = dict(words(tables.environment(measurement())))
    assert rows["hardware.cpu"] == "A Processor"
    assert rows["checks.governor"] == "warning; powersave"
    assert rows["hardware fingerprint"] == "0123456789ab"


def test_odd_leaves_are_written_in_words():
    assert dict(tables.flattened({"a": None, "b": True, "c": [], "d": {}, "e": [1, 2]})) == {
        "a": "unknown", "b": "yes", "c": "none", "d": "none", "e": "1, 2",
    }  # fmt: skip


def test_the_overview_marks_what_was_not_measured(measurement, graphs):
    table = tables.overview([measurement(), measurement(evidence="analytic", digest="not kept")], graphs)
    assert [row[1] for row in words(table)] == ["1×3×8×8", "unknown"]
    assert [row[-1] for row in words(table)] == ["converged", "converged, analytic"]


def test_the_overview_shows_the_undisturbed_latency_and_its_clock(measurement, graphs):
    with_anchors = measurement()
    table = tables.overview([with_anchors, replace(with_anchors, anchor_baseline_ns={})], graphs)
    named = [dict(zip(table.columns, row, strict=True)) for row in words(table)]
    cell = table.rows[0][table.columns.index("undisturbed")]
    assert cell.value == with_anchors.normalized.median
    assert "(" in cell.words  # its interval
    assert named[0]["by"] == "wall time"
    assert (named[1]["undisturbed"], named[1]["by"]) == ("–", "–")
