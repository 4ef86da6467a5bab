import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.measurement import (
    Comparison,
    CpuTime,
    Evidence,
    Measurement,
    OperatorTime,
    Peaks,
    Status,
    TimedBlock,
    at_one_speed,
    slowdown,
)
from tests.samples import counted_measurement, counted_process, counts, make_measurement, make_process

BASELINE = {"compute": 100.0, "copy": 50.0}


def beside_anchors(latency_ns: float, compute: float, copy: float) -> TimedBlock:
    return TimedBlock(0, (round(latency_ns),), anchors_ns={"compute": compute, "copy": copy})


def test_the_latency_is_the_median_of_the_processes_medians():
    m = make_measurement([make_process(i, values) for i, values in enumerate(([1e6, 1e6, 9e6], [2e6] * 3, [5e6] * 3))])
    assert m.latency_ms == 2
    assert m.statistics.min == 1
    assert m.statistics.mean == pytest.approx((11 + 6 + 15) / 9)


def test_the_interval_holds_the_median_and_stays_positive():
    m = make_measurement([make_process(i, [v]) for i, v in enumerate((1e6, 1e3, 5e6))])
    low, high = m.interval_ms
    assert 0 < low <= m.latency_ms <= high


def test_one_process_has_no_interval():
    assert all(math.isnan(v) for v in make_measurement([make_process(0, [1e6] * 5)]).interval_ms)


@pytest.mark.parametrize("name", ["statistics", "normalized"])
def test_a_formula_has_a_value_and_no_interval(name: str):
    processes = [make_process(i, [2e6, 2e6]) for i in range(5)]
    m = make_measurement(processes, evidence=Evidence.ANALYTIC)
    found = getattr(m, name)
    assert (found.median, m.decisive_ms(found)) == (2.0, (2.0, 2.0))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_ratio_of_formulas_decides_and_has_no_interval():
    a = make_measurement([make_process(0, [1e6])], evidence=Evidence.ANALYTIC)
    found = Comparison(a, a, "slower", 1.5, 1.5, 1.5, 4, 0.02)
    assert (found.low, found.high) == (1.5, 1.5)
    assert all(map(math.isnan, found.interval))


def test_averaged_samples_count_one_inference():
    block = TimedBlock(0, (1_000_000, 2_000_000), runs_per_sample=100)
    assert block.latencies_ns.tolist() == [10_000, 20_000]


def test_disturbed_blocks_do_not_count_unless_all_are():
    calm, disturbed = TimedBlock(0, (10**6,)), TimedBlock(0, (9 * 10**6,), rejected="steal")
    m = make_measurement([make_process(0, [], blocks=(calm, disturbed)), make_process(1, [], blocks=(disturbed,))])
    assert m.latency_ms == 5
    assert m.rejected_share == pytest.approx(2 / 3)


def test_without_a_block_there_is_no_latency():
    with pytest.raises(InputError, match="no valid block"):
        _ = make_measurement([]).latency_ms


def test_the_slowdown_is_the_weighted_geometric_mean_of_the_anchors():
    assert slowdown(beside_anchors(1e6, compute=200, copy=50), BASELINE) == pytest.approx(2**0.9)
    assert slowdown(beside_anchors(1e6, compute=100, copy=100), BASELINE) == pytest.approx(2**0.1)
    assert slowdown(beside_anchors(1e6, compute=150, copy=75), BASELINE) == pytest.approx(1.5)


def test_an_anchor_without_a_baseline_leaves_the_other_to_decide():
    assert slowdown(beside_anchors(1e6, compute=200, copy=500), {"compute": 100.0}) == pytest.approx(2)
    assert slowdown(TimedBlock(0, (1,)), BASELINE) == 1


def drifting() -> Measurement:
    """A network of 1 ms on a machine that is up to half as slow again, for it as for its anchors."""
    rng = np.random.default_rng(0)
    processes = []
    for i in range(8):
        slow = rng.uniform(1, 1.5, 10)
        blocks = tuple(beside_anchors(1e6 * s, 100 * s, 50 * s) for s in slow)
        processes.append(make_process(i, [], blocks=blocks))
    return make_measurement(processes, anchor_baseline_ns=BASELINE)


def test_the_normalized_latency_is_that_of_the_undisturbed_machine():
    m = drifting()
    assert m.latency_ms > 1.1
    assert m.normalized.median == pytest.approx(1.0, rel=1e-3)
    assert m.normalized.relative_half_width < m.statistics.relative_half_width / 10


def test_the_normalized_latency_trusts_undisturbed_blocks_most():
    """A network that feels the disturbance twice as much as its anchors is corrected too little."""
    slow = [1.0, 1.0, 1.2, 1.2, 1.2, 1.2]
    blocks = tuple(beside_anchors(1e6 * s**2, 100 * s, 50 * s) for s in slow)
    m = make_measurement([make_process(i, [], blocks=blocks) for i in range(3)], anchor_baseline_ns=BASELINE)
    assert m.normalized.median == pytest.approx(1.0)


def test_without_anchors_the_normalized_latency_is_the_raw_one():
    m = make_measurement([make_process(i, [1e6, 2e6, 3e6]) for i in range(3)])
    assert m.normalized == m.statistics


def test_one_job_has_the_lowest_anchor_times_that_any_of_its_measurements_saw():
    early, late = (replace(drifting(), anchor_baseline_ns=seen) for seen in ({**BASELINE, "compute": 200.0}, BASELINE))
    assert [m.anchor_baseline_ns for m in at_one_speed([early, late])] == [BASELINE, BASELINE]


def test_a_measurement_without_an_anchor_gets_none_from_the_others():
    alone = replace(drifting(), anchor_baseline_ns={"compute": 100.0})
    assert at_one_speed([drifting(), alone])[1].anchor_baseline_ns == {"compute": 100.0}


def test_measurements_of_two_machines_share_no_anchors():
    other = replace(drifting(), anchor_baseline_ns={**BASELINE, "compute": 200.0}, hardware="another")
    assert at_one_speed([drifting(), other])[1].anchor_baseline_ns["compute"] == 200.0


def test_an_older_measurement_of_a_disturbed_machine_says_that_it_has_no_cpu_times():
    (told,) = drifting().age_warnings
    assert told.startswith("measured by an older hwprof, without CPU times")
    assert told.endswith("--fresh measures again")
    assert told in drifting().build_warnings


@pytest.mark.parametrize(
    "changes",
    [{"cpu_time": CpuTime.WORK}, {"other_cpus": 0.5}, {"clock": "CUDA events"}],
    ids=["with-cpu-times", "with-the-load", "on-a-gpu"],
)
def test_a_measurement_that_could_not_be_better_is_not_called_older(changes):
    m = drifting()
    newer = replace(m, processes=tuple(replace(p, **changes) for p in m.processes))
    assert newer.age_warnings == ()


def test_an_older_measurement_of_a_quiet_machine_needs_no_warning():
    blocks = (beside_anchors(1e6, compute=101, copy=50),) * 3
    m = make_measurement([make_process(i, [], blocks=blocks) for i in range(3)], anchor_baseline_ns=BASELINE)
    assert m.is_normalized
    assert m.age_warnings == ()


def test_a_device_with_a_clock_of_its_own_is_not_said_to_be_timed_by_wall_time():
    on_gpu = make_measurement([make_process(i, [1e6], clock="CUDA events") for i in range(3)])
    assert on_gpu.clock_name == "CUDA events"
    assert drifting().clock_name == "wall time"


def test_a_record_survives_json():
    m = replace(
        drifting(),
        operators=(OperatorTime("conv", "Conv", 12.5, ("conv", "relu")),),
        operators_total_ns=20.0,
        status=Status.UNSTABLE,
        warnings=("w",),
    )
    again = Measurement.from_record(json.loads(json.dumps(m.to_record())))
    assert again == m


def test_a_foreign_record_is_refused():
    with pytest.raises(InputError, match="not a measurement record"):
        Measurement.from_record({"model": "m"})


def test_builds_and_what_is_to_be_known_of_them_are_told_once():
    built = [make_process(i, [1e6], build=f"build {i % 2}", warnings=("untuned",)) for i in range(3)]
    m = make_measurement([*built, make_process(3, [1e6], warnings=("not of a build",))])
    assert m.builds == ("build 0", "build 1")
    assert m.build_warnings == ("untuned",)
    assert Measurement.from_record(json.loads(json.dumps(m.to_record()))) == m


def test_energy_is_unknown_where_no_process_counted_any():
    assert make_measurement([make_process(0, [1e6])]).energy_mj is None
    assert make_measurement([make_process(0, [1e6], energy_mj=2.5)]).energy_mj == 2.5


def test_the_bandwidth_of_a_pass_is_the_best_seen_for_its_size_or_larger():
    peaks = Peaks({}, 10.0, ((100, 50.0), (1000, 30.0), (10_000, 10.0)))
    assert [peaks.bandwidth(n) for n in (1, 100, 999, 1000, 20_000)] == [50, 50, 50, 30, 10]
    assert Peaks({}, 10.0).bandwidth(5) == 10


def test_instructions_are_medians_over_processes_and_come_back_from_a_record():
    processes = [counted_process(i, counts(10 + i), counts(12 + i)) for i in range(3)]
    m = counted_measurement(*processes)
    assert m.is_counted
    assert m.instructions["fma"] == 12
    assert Measurement.from_record(json.loads(json.dumps(m.to_record()))) == m


@pytest.mark.parametrize("figure", ["latency_ms", "interval_ms", "statistics", "normalized", "cold_start_ms"])
def test_an_emulated_core_has_no_latency(figure):
    m = counted_measurement(counted_process(0, counts(10)))
    with pytest.raises(InputError, match="'m' has no latency on 'emulated-cortex-a72': the core is emulated"):
        getattr(m, figure)


def test_a_measured_network_has_no_instructions():
    with pytest.raises(InputError, match="use an emulated device"):
        _ = make_measurement([make_process(0, [1e6])]).instructions
