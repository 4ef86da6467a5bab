import dataclasses
import json
import math

import pytest

from hwprof.data.result import Estimate, Met, Result, Target, known_latency, relative_ms, share_of
from hwprof.errors import InputError, NotConvergedError
from hwprof.measurement import Evidence, Status
from tests.results import compared, make_result, measured
from tests.samples import counted_measurement, counted_process, counts


def with_network(measurement) -> Result:
    comparison = dataclasses.replace(compared(5.0), b=measurement)
    return make_result(measured={"d": comparison})


def test_a_result_comes_back_from_json_as_it_was():
    result = make_result()
    assert Result.from_record(json.loads(json.dumps(result.to_record(), allow_nan=False))) == result


@pytest.mark.parametrize("name", ["metric", "baseline_metric", "table_ms", "seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_is_not_finite_is_null_in_json_and_nan_in_python(name, value):
    record = json.loads(json.dumps(make_result(**{name: value}).to_record(), allow_nan=False))
    assert record[name] is None
    assert math.isnan(getattr(Result.from_record(record), name))


def test_a_comparison_without_an_interval_comes_back():
    comparison = dataclasses.replace(compared(5.0), low=math.nan, high=math.nan)
    result = make_result(measured={"d": comparison})
    back = Result.from_record(json.loads(json.dumps(result.to_record(), allow_nan=False)))
    assert math.isnan(back.measured["d"].low)
    assert back.measured["d"].b == comparison.b


def test_a_record_that_is_older_than_its_newest_fields_is_read():
    record = make_result().to_record()
    del record["is_least"], record["baseline_alone"], record["higher_is_better"]
    assert Result.from_record(record) == make_result()


def test_an_error_that_grows_is_a_loss():
    result = make_result(metric=0.3, baseline_metric=0.2, higher_is_better=False)
    assert result.metric_loss == pytest.approx(0.1)
    assert result.score == -0.3
    assert make_result(metric=math.nan, higher_is_better=False).score == -math.inf
    assert Result.from_record(json.loads(json.dumps(result.to_record()))) == result


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"is_least": True}, "target not reached: the least is 5 ms"),
        ({"is_least": False}, ""),
        ({"is_least": True, "target_ms": 6.0}, ""),
        ({"is_least": True, "target_ms": 5.0}, ""),  # it cannot be told
        ({"is_least": True, "measured": {}}, ""),
    ],
)
def test_a_target_that_the_method_cannot_reach_has_a_shortfall(changes, told):
    assert make_result(**{"target_ms": 4.0, **changes}).shortfall == told


def test_an_unknown_field_is_refused_in_one_line():
    record = make_result().to_record() | {"colour": "red"}
    with pytest.raises(InputError, match="unknown field 'colour'; a newer hwprof wrote it: upgrade"):
        Result.from_record(record)


def test_a_newer_schema_is_refused():
    with pytest.raises(InputError, match=r"schema 'hwprof\.result/2'; this version of hwprof reads"):
        Result.from_record(make_result().to_record() | {"schema": "hwprof.result/2"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.pop("digest"), "has no 'digest'"),
        (lambda r: r.update(target={"place": "d"}), "the result record is damaged"),
        (lambda r: r["measured"]["d"].pop("ratio"), "the result record is damaged: 'ratio'"),
        (lambda r: r["measured"]["d"]["a"].pop("status"), "not a measurement record"),
        (lambda r: r.update(measured=[1]), "the result record is damaged"),
    ],
)
def test_a_damaged_record_is_refused(change, told):
    record = json.loads(json.dumps(make_result().to_record()))
    change(record)
    with pytest.raises(InputError, match=told):
        Result.from_record(record)


@pytest.mark.parametrize(("target_ms", "met"), [(6.0, Met.YES), (4.0, Met.NO), (5.0, Met.CANNOT_TELL), (None, None)])
def test_the_target_is_met_where_the_whole_interval_is_within_it(target_ms, met):
    assert make_result(5.0, target_ms).met is met


def test_an_interval_that_ends_at_the_target_is_within_it():
    latency = make_result().latency("d")
    assert latency is not None
    assert make_result(target_ms=latency.high).met is Met.YES
    assert make_result(target_ms=latency.low).met is Met.CANNOT_TELL


def test_the_table_s_latency_does_not_decide():
    assert make_result(5.0, 6.0, table_ms=100.0).met is Met.YES
    assert make_result(5.0, 4.0, table_ms=0.1).met is Met.NO


@pytest.mark.parametrize(
    "measurement",
    [
        measured(5.0, processes=1),
        measured(5.0, status=Status.INVALID),
        measured(5.0, processes=0),
        counted_measurement(counted_process(0, counts(10))),
    ],
    ids=["one process", "invalid", "no process", "instructions only"],
)
def test_without_an_interval_it_cannot_be_told(measurement):
    assert with_network(measurement).met is Met.CANNOT_TELL


NOISY = dataclasses.replace(compared(5.0), b=measured(5.0, spread=0.2))  # its ratio is 0.495 to 0.505
ALONE = Estimate(10.0, 9.9, 10.1)


def test_where_noise_hides_the_network_s_own_latency_the_ratio_of_the_pairs_decides():
    measured_so = {"d": NOISY}
    assert make_result(measured=measured_so, target_ms=5.2).met is Met.CANNOT_TELL
    assert make_result(measured=measured_so, target_ms=5.2, baseline_alone=ALONE).met is Met.YES
    assert make_result(measured=measured_so, target_ms=4.9, baseline_alone=ALONE).met is Met.NO
    assert make_result(measured=measured_so, target_ms=5.0, baseline_alone=ALONE).met is Met.CANNOT_TELL


def test_the_relative_widths_of_ratio_and_baseline_add_up_as_squares():
    latency = known_latency(NOISY, ALONE)
    assert latency.median == pytest.approx(5.0)
    assert math.log(latency.high / 5.0) == pytest.approx(math.hypot(math.log(1.01), math.log(1.01)))
    assert math.log(5.0 / latency.low) == pytest.approx(math.hypot(math.log(1 / 0.99), math.log(1 / 0.99)))


@pytest.mark.parametrize(
    "alone",
    [None, Estimate(10.0, 2.0, 50.0), Estimate(10.0, math.nan, math.nan), Estimate(30.0, 29.9, 30.1)],
    ids=["not measured", "known worse", "without an interval", "of another state of the machine"],
)
def test_where_the_baseline_alone_is_of_no_help_the_network_s_own_latency_decides(alone):
    own = make_result(measured={"d": NOISY}).latency("d")
    assert known_latency(NOISY, alone) == Estimate(own.median, own.low, own.high)


@pytest.mark.parametrize(("high", "cautious"), [(11.0, 11.0), (40.0, 12.5), (math.nan, 12.5)])
def test_caution_adds_the_interval_but_at_most_a_quarter(high, cautious):
    assert Estimate(10.0, 9.0, high).cautious == cautious


def test_the_ratio_decides_on_the_target_s_device_only():
    result = make_result(measured={"d": NOISY, "phone": NOISY}, baseline_alone=ALONE)
    assert result.estimate("d").log_width < result.estimate("phone").log_width


@pytest.mark.parametrize("alone", [None, ALONE, Estimate(10.0, math.nan, math.nan)])
def test_the_baseline_alone_comes_back_from_json(alone):
    record = json.loads(json.dumps(make_result(baseline_alone=alone).to_record(), allow_nan=False))
    back = Result.from_record(record).baseline_alone
    assert str(back) == str(alone)  # nan is not equal to itself


def test_a_record_from_before_the_baseline_was_kept_is_read():
    record = make_result().to_record()
    del record["baseline_alone"]
    assert Result.from_record(record) == make_result()


def test_a_measurement_on_another_device_says_nothing_about_the_target():
    assert make_result(target=Target("phone", 100.0)).met is Met.CANNOT_TELL


def test_the_key_is_what_decides_a_result_before_it_is_computed():
    assert make_result(5.0, metric=1.0).key == make_result(7.0).key
    assert make_result(settings={"keep": 0.25}).key != make_result().key
    assert make_result(target_ms=7.0).key != make_result().key


def test_settings_that_json_cannot_hold_are_refused():
    with pytest.raises(InputError, match="settings must be JSON-ready"):
        make_result(settings={"keep": object()})
    with pytest.raises(InputError, match="choices must be JSON-ready"):
        make_result(choices={"conv": math.nan})


def test_a_tuple_in_the_choices_equals_the_list_that_comes_back():
    result = make_result(choices={"arch": (0, 1)})
    assert Result.from_record(json.loads(json.dumps(result.to_record()))) == result


@pytest.mark.parametrize("ms", [0.0, -1.0, math.nan, math.inf])
def test_a_target_is_a_positive_number(ms):
    with pytest.raises(InputError, match="must be a positive number of ms"):
        Target("d", ms)


def test_the_loss_of_the_metric_is_counted_from_the_baseline():
    assert make_result(metric=97.0, baseline_metric=98.5).metric_loss == pytest.approx(1.5)
    assert math.isnan(make_result(metric=math.nan).metric_loss)


def test_a_result_says_what_its_latencies_are_worth():
    assert make_result().evidence == "measured"
    analytic = compared(5.0, evidence=Evidence.ANALYTIC)
    assert make_result(measured={"d": analytic}).evidence == "analytic"
    assert make_result(measured={}).evidence == ""


def test_a_relative_target_is_a_share_of_the_latency():
    assert share_of("70%") == 0.7
    assert relative_ms(0.7, Estimate(0.064123, 0.06, 0.07)) == 0.04489


@pytest.mark.parametrize("text", ["70", "0%", "120%", "fast%", "nan%"])
def test_a_share_without_percent_or_out_of_range_is_refused(text: str):
    with pytest.raises(InputError, match="such as 70%"):
        share_of(text)


def test_a_share_of_an_unknown_latency_is_not_known():
    with pytest.raises(NotConvergedError):
        relative_ms(0.7, None)
