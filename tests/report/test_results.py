"""Table, verdict and fronts of results; the page, Markdown and JSON that show them."""

import dataclasses
import json
import math

import pytest

from hwprof.data.result import Target
from hwprof.errors import InputError
from hwprof.measurement import Evidence
from hwprof.report import render_results, results, results_markdown, results_records
from tests.results import compared, make_result

YES, NO, UNTOLD = make_result(5.0, 6.0), make_result(5.2, 4.0, seed=1), make_result(5.0, 5.0, seed=2)


def column(found, name: str) -> list[str]:
    shown = results.table(results.found_in(found))
    return [row[shown.columns.index(name)].words for row in shown.rows]


def test_the_rows_are_ordered_by_latency_and_numbered():
    assert column([make_result(5.0), make_result(3.0), make_result(4.0)], "measured") == [
        "3.00 ms", "4.00 ms", "5.00 ms",
    ]  # fmt: skip
    assert column([make_result(5.0), make_result(3.0)], "no.") == ["1", "2"]


def test_whether_the_target_is_met_is_in_words():
    assert column([YES, NO, UNTOLD, make_result(7.0, None)], "met") == ["yes", "cannot tell", "no", "–"]


def test_the_table_s_latency_is_beside_the_measured_one_and_may_be_unknown():
    shown = results.table(results.found_in([make_result(table_ms=4.5)]))
    place = shown.columns.index("measured")
    assert [cell.words for cell in shown.rows[0][place : place + 3 : 2]] == ["5.00 ms", "4.50 ms"]
    assert column([make_result(table_ms=math.nan)], "by table") == ["unknown"]


def test_that_a_method_makes_nothing_faster_is_in_words():
    assert column([dataclasses.replace(NO, is_least=True), dataclasses.replace(YES, is_least=True)], "met") == [
        "yes", "no, its least",
    ]  # fmt: skip


def test_the_metric_is_shown_with_its_loss_against_the_baseline():
    found = [make_result(3.0, metric=97.0), make_result(4.0, metric=99.0), make_result(5.0, metric=math.nan)]
    assert column(found, "metric") == ["97.00", "99.00", "unknown"]
    assert column(found, "loss") == ["1.5", "−0.50", "unknown"]


def test_a_result_that_was_not_measured_has_a_row_and_a_doubt():
    found = [make_result(measured={})]
    assert column(found, "measured") == ["unknown"]
    assert column(found, "met") == ["cannot tell"]
    assert "without a measurement" in results.verdict(results.found_in(found)).doubts[0]


def test_a_result_on_two_devices_has_two_rows_and_its_target_on_one():
    found = [make_result(measured={"d": compared(5.0), "phone": compared(8.0)})]
    assert column(found, "device") == ["d", "phone"]
    assert column(found, "target") == ["6.00 ms", "none"]
    assert [f.device for f in results.fronts(results.found_in(found))] == ["d", "phone"]


def test_one_device_can_be_asked_for():
    found = [make_result(measured={"d": compared(5.0), "phone": compared(8.0)})]
    assert [f.device for f in results.found_in(found, "phone")] == ["phone"]
    with pytest.raises(InputError, match="at least one"):
        results.found_in(found, "board")


def test_the_verdict_counts_targets():
    verdict = results.verdict(results.found_in([YES, NO, UNTOLD]))
    assert verdict.headline == "1 of 3 networks meets its latency target"
    assert verdict.support == "3 results on d; 1 does not, of 1 the interval does not tell"
    assert verdict.tone == "caution"


@pytest.mark.parametrize(("found", "tone"), [([YES], "good"), ([NO], "bad"), ([UNTOLD], "caution")])
def test_only_targets_that_are_all_met_are_good(found, tone):
    assert results.verdict(results.found_in(found)).tone == tone


def test_what_was_not_measured_is_doubted():
    analytic = make_result(measured={"d": compared(5.0, evidence=Evidence.ANALYTIC)})
    verdict = results.verdict(results.found_in([analytic]))
    assert verdict.tone == "caution"
    assert verdict.doubts[0].startswith("Analytic")


def test_the_front_holds_what_nothing_else_is_faster_and_better_than():
    found = [make_result(ms, metric=metric) for ms, metric in ((3.0, 90.0), (4.0, 89.0), (5.0, 95.0), (6.0, 95.0))]
    (front,) = results.fronts(results.found_in(found))
    assert [metric for _, metric in front.pareto] == [90.0, 95.0, 98.5]  # the baseline is the last
    assert [round(ms) for ms, _ in front.pareto] == [3, 5, 10]


def test_a_front_is_of_one_model_task_and_device():
    found = [make_result(), make_result(task="other"), make_result(model="big", measured={"phone": compared(3.0)})]
    assert [(f.model, f.task, f.device) for f in results.fronts(results.found_in(found))] == [
        ("big", "digits", "phone"), ("net", "digits", "d"), ("net", "other", "d"),
    ]  # fmt: skip


def test_json_holds_no_samples_and_null_for_what_is_not_known():
    (record,) = json.loads(json.dumps(results_records([make_result(metric=math.nan)]), allow_nan=False))
    assert record["metric"] is None
    assert record["metric_loss"] is None
    assert record["met"] == "yes"
    assert record["latency_ms"]["median"] == pytest.approx(5.0)
    assert record["baseline_ms"]["median"] == pytest.approx(10.0)
    assert record["ratio"]["ratio"] == pytest.approx(0.5)
    assert "processes" not in json.dumps(record)


def test_json_of_an_unmeasured_result_has_no_latency():
    (record,) = json.loads(json.dumps(results_records([make_result(measured={})]), allow_nan=False))
    assert (record["latency_ms"], record["ratio"], record["evidence"]) == (None, None, None)


def test_the_page_stands_alone_and_escapes_names():
    page = render_results([make_result(model="<net>", method="a&b")], "hwprof report --results")
    assert "&lt;net&gt;" in page
    assert "a&amp;b" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<svg") == 2  # wide and narrow


def test_the_page_of_results_without_a_metric_has_the_table_only():
    assert "<svg" not in render_results([make_result(metric=math.nan)], "hwprof report")


def test_markdown_has_a_line_for_each_result():
    text = results_markdown([YES, NO], "hwprof report --results")
    assert text.count("\n| 1 |") == text.count("\n| 2 |") == 1


def test_two_methods_of_one_network_are_two_rows():
    lowrank = dataclasses.replace(YES, method="lowrank", settings={}, target=Target("d"))
    assert column([YES, lowrank], "method") == ["prune (keep=0.5)", "lowrank"]


def test_of_an_error_the_front_is_below():
    found = [make_result(ms, metric=m, higher_is_better=False) for ms, m in ((3.0, 0.4), (4.0, 0.5), (5.0, 0.2))]
    (only,) = results.fronts(results.found_in([dataclasses.replace(r, baseline_metric=math.nan) for r in found]))
    assert only.pareto == ((3.0, 0.4), (5.0, 0.2))
