"""JSON for other programs."""

import json
from dataclasses import replace

import pytest

from hwprof.measurement import Comparison, Evidence, Measurement
from hwprof.report import page, sweep
from hwprof.report.markdown import profile_markdown
from hwprof.report.record import comparison_record, profile_record
from hwprof.report.sweep import Sweep, Swept

PROMISED = {
    "model", "digest", "inputs", "device", "status", "latency_ms", "cold_start_ms", "processes", "samples",
    "rejected_share", "peak_memory_bytes", "macs", "parameters", "environment", "warnings",
}  # fmt: skip


def test_a_profile_has_every_promised_field(measurement, graph):
    m = measurement()
    record = profile_record(m, graph)
    assert record.keys() >= PROMISED
    assert set(record["latency_ms"]) == {"median", "low", "high", "p90", "p99", "mean", "min"}
    assert set(record["normalized_ms"]) == set(record["latency_ms"])
    assert record["normalized_systematic"] == 0
    assert record["latency_ms"]["median"] == m.latency_ms
    assert list(record["inputs"].values()) == [(1, 3, 8, 8)]
    assert (record["macs"], record["parameters"]) == (18_944, 216 + 5120 + 10)


def test_what_is_not_known_is_null_and_valid_json(measurement):
    record = json.loads(json.dumps(profile_record(measurement(processes=1), None), allow_nan=False))
    assert record["latency_ms"]["low"] is None
    assert record["macs"] is None
    assert record["inputs"] is None
    assert record["energy_mj"] is None
    assert record["warnings"] == ["cost unknown: the graph is not at hand"]


def test_a_formula_has_no_bounds_in_json_on_pages_and_in_tables(measurement, graph):
    m = measurement(evidence=Evidence.ANALYTIC)
    graphs, swept = {m.digest: graph}, Sweep((Swept(m.model, "", 1, "edge", 1, m),))
    record = json.loads(json.dumps([profile_record(m, graph), sweep.record(swept)["rows"][0]], allow_nan=False))
    assert (record[0]["latency_ms"]["low"], record[1]["low_ms"]) == (None, None)
    assert sweep.table(swept)[0]["95 % interval"] == "error not known"
    for written in (page.render_profile([m], graphs, None, "c"), profile_markdown([m], graphs, None, "c")):
        assert "the error of a formula is not known" in written
        assert "gives no interval" not in written
    assert "error not known" in page.render_profile([m, m], graphs, None, "c")
    same = Comparison(m, m, "same", 1.0, 1.0, 1.0, 4, 0.02)
    assert comparison_record(same, graphs)["low"] is None
    assert "95 % interval of the ratio" not in page.render_comparison(same, graphs, None, "c")


def test_a_measurement_without_a_block_that_counts_has_no_latency(measurement):
    m = measurement(status="invalid", processes=1)
    m = replace(m, processes=(replace(m.processes[0], blocks=()),))
    record = json.loads(json.dumps(profile_record(m, None), allow_nan=False))
    assert record["latency_ms"] is None
    assert record["rejected_share"] is None


def test_kernels_carry_their_members_and_share_of_the_roofline(measurement, graph, peaks):
    kernel = profile_record(measurement(), graph, peaks)["operators"][0]
    assert kernel["members"] == ["Conv_0", "Relu_1"]
    assert kernel["share"] == pytest.approx(0.6)
    assert 0 < kernel["roofline_share"] < 1


def test_a_comparison_holds_the_ratio_and_both_sides(comparison, graphs):
    record = json.loads(json.dumps(comparison_record(comparison, graphs), allow_nan=False))
    assert [record[k] for k in ("verdict", "ratio", "low", "high", "pairs")] == ["faster", 0.602, 0.598, 0.607, 42]
    assert (record["a"]["model"], record["b"]["model"]) == ("fp32", "int8")


def test_a_warning_about_the_network_is_in_every_record_and_on_every_page(measurement, graph):
    random = "its weights are random"
    m = measurement(network_warnings=(random,), warnings=(random, "busy"))
    assert Measurement.from_record(json.loads(json.dumps(m.to_record()))).network_warnings == (random,)
    pair, rows = Comparison(m, m, "same", 1.0, 1.0, 1.0, 9, 0.01), Sweep((Swept("small", "", 1, "cpu-1t", 1, m),))
    records = [profile_record(m, graph), comparison_record(pair, {})["a"], sweep.record(rows)["rows"][0]]
    assert [found["warnings"].count(random) for found in records] == [1, 1, 1]
    pages = [page.render_profile([m], {}, None, "x"), page.render_sweep(rows, "x")]
    assert [str(found).count(random) for found in pages] == [1, 1]
    assert random in str(page.render_comparison(pair, {}, None, "x"))
