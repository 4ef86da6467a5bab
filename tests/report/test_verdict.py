"""The answer in one sentence, and the reasons to doubt it."""

from dataclasses import replace

import numpy as np
import pytest

from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.measure.machine import look
from hwprof.measurement import CpuTime, Evidence, Process, ProtocolSettings, Status, TimedBlock
from hwprof.report import verdict
from hwprof.report.verdict import Tone
from tests.measure.scripted import ScriptedTransport


def flat_process(i, ms, rejected=""):
    """Three blocks of two samples, all of exactly `ms`."""
    ns = int(ms * 1e6)
    blocks = tuple(TimedBlock(j, (ns, ns), rejected=rejected) for j in range(3))
    return Process(i, "2026-11-20T10:00:00+00:00", 1, 3 * ns, (ns,), "flat", blocks, 1000)


def test_a_converged_measurement_is_good_and_says_so(measurement):
    m = replace(measurement(), processes=tuple(flat_process(i, 10.0) for i in range(3)))
    found = verdict.of_profile(m)
    assert found.tone is Tone.GOOD
    assert found.headline == "small takes 10.0 ms on cpu-1t"
    assert found.support == "95 % interval 10.0 to 10.0 ms; converged, 3 processes, 18 samples"
    assert found.doubts == ()


def test_a_measurement_out_of_budget_is_amber_and_says_how_far_it_came(measurement):
    found = verdict.of_profile(measurement(status=Status.BUDGET, protocol=ProtocolSettings(target=0.002)))
    assert found.tone is Tone.CAUTION
    assert "takes about" in found.headline
    assert "the budget ran out first; the interval is ±0.4 %, the target ±0.2 %" in found.doubts[0]


@pytest.mark.parametrize(
    ("minutes", "reason"), [(0.2, "the comparison that it is part of was certain"), (1, "the budget ran out")]
)
def test_a_measurement_that_took_less_than_its_budget_ended_with_its_comparison(
    measurement, minutes: float, reason: str
):
    m = measurement(status=Status.BUDGET, protocol=ProtocolSettings(target=0.002, budget_s=60.0))
    first, *_, last = m.processes
    started = [replace(first, started="2026-11-20T10:00:00+00:00"), *m.processes[1:-1]]
    last = replace(last, started=f"2026-11-20T10:00:{59 if minutes == 1 else 12}+00:00")
    assert f"Not converged: {reason} first" in verdict.of_profile(replace(m, processes=(*started, last))).doubts[0]


def test_a_measurement_out_of_processes_names_that_limit(measurement):
    m = measurement(status=Status.BUDGET)
    m = replace(m, protocol=ProtocolSettings(target=0.002, max_processes=len(m.processes)))
    assert (
        f"the limit of {len(m.processes)} processes for this budget was reached first"
        in verdict.of_profile(m).doubts[0]
    )


def test_a_narrow_interval_that_does_not_count_yet_says_why(measurement):
    m = measurement(status=Status.BUDGET, protocol=ProtocolSettings(target=0.03))
    assert "but it was not within the target, ±3.0 %, twice in a row" in verdict.of_profile(m).doubts[0]


def test_a_measurement_that_the_load_limits_says_so(measurement):
    found = verdict.of_profile(measurement(status=Status.LIMITED, protocol=ProtocolSettings(target=0.002)))
    assert found.tone is Tone.CAUTION
    limited = "the load by other programs limits it; the interval is ±0.4 %, the target ±0.2 %"
    assert found.doubts[0] == f"Not converged: {limited}."


def test_a_latency_that_no_anchor_corrects_says_so(measurement):
    m = measurement()
    assert verdict.basis(m) == "by wall time, baseline not known to be quiet"
    spinning = replace(m, processes=tuple(replace(p, cores=2, cpu_time=CpuTime.SPINNING) for p in m.processes))
    assert verdict.basis(spinning) == "by wall time, uncorrected, since the runtime's idle threads spin"
    assert verdict.baseline_words(spinning) == ""
    assert verdict.normalized(spinning) == verdict.statistics(spinning)


def test_an_unstable_measurement_names_what_disturbed_it(measurement):
    found = verdict.of_profile(measurement(status=Status.UNSTABLE))
    assert found.doubts[0].endswith("disturbed in 6.0 % of the blocks (preempted 2, steal 1).")


def test_a_measurement_that_never_became_steady_counts_its_processes(measurement):
    m = measurement(status=Status.NOT_STEADY)
    m = replace(m, processes=(replace(m.processes[0], warmup="not steady"), *m.processes[1:]))
    assert "1 of 5 processes did not become steady" in verdict.of_profile(m).doubts[0]


def test_without_a_block_that_counts_there_is_no_latency(measurement):
    m = replace(measurement(status=Status.INVALID), processes=(flat_process(0, 10.0, rejected="steal"),))
    found = verdict.of_profile(m)
    assert found.tone is Tone.BAD
    assert found.headline == "small has no valid latency on cpu-1t"


@pytest.mark.parametrize("evidence", [Evidence.ANALYTIC, Evidence.REPLAYED])
def test_a_time_that_was_not_measured_is_never_good(measurement, evidence):
    found = verdict.of_profile(measurement(evidence=evidence))
    assert found.tone is Tone.CAUTION
    assert " takes 1" not in found.headline
    assert any(d.lower().startswith(str(evidence)) for d in found.doubts)


@pytest.mark.parametrize("evidence", [Evidence.ANALYTIC, Evidence.SIMULATED, Evidence.REPLAYED])
def test_that_a_time_is_not_measured_is_said_once(measurement, evidence):
    with ScriptedTransport(evidence=evidence).open(Device("edge", "roofline")) as worker:
        machine = look(worker, Device("edge", "roofline"))
    found = verdict.of_profile(measurement(evidence=evidence, warnings=machine.warnings))
    assert len([d for d in found.doubts if d.lower().startswith(str(evidence))]) == 1
    assert "turbo: on" in found.doubts


def test_several_profiles_give_their_range_and_the_worst_tone(measurement):
    found = verdict.of_profiles([
        measurement(10.0, model="slow", status=Status.BUDGET), measurement(1.0, model="quick"),
    ])  # fmt: skip
    assert found.tone is Tone.CAUTION
    assert found.headline.startswith("2 profiles on cpu-1t: from 1.0")
    assert "(quick) to 10." in found.headline
    assert found.support == "1 budget, 1 converged"


def test_no_profile_is_an_error():
    with pytest.raises(InputError, match="at least one measurement"):
        verdict.of_profiles([])


def test_a_comparison_states_the_ratio_and_its_interval(comparison):
    found = verdict.of_comparison(comparison)
    assert found.tone is Tone.GOOD
    assert found.headline == "int8 is faster than fp32: 0.602 × its latency"
    assert "0.598 to 0.607 from 42 pairs of blocks" in found.support


def test_an_inconclusive_comparison_is_open(comparison):
    found = verdict.of_comparison(replace(comparison, verdict="inconclusive", ratio=0.99))
    assert found.tone is Tone.CAUTION
    assert found.headline == "It is open whether int8 is faster than fp32: 0.990 × its latency"


def test_sides_without_a_common_round_cannot_be_compared(comparison):
    nan = float("nan")
    found = verdict.of_comparison(replace(comparison, verdict="inconclusive", ratio=nan, low=nan, high=nan, pairs=0))
    assert found.tone is Tone.BAD
    assert found.headline == "int8 and fp32 cannot be compared"


def test_a_comparison_across_machines_says_so(comparison):
    found = verdict.of_comparison(replace(comparison, b=replace(comparison.b, hardware="another")))
    assert found.tone is Tone.CAUTION
    assert found.doubts[0].startswith("These figures come from 2 different machines")


@pytest.mark.parametrize("evidence", [Evidence.ANALYTIC, Evidence.SIMULATED])
def test_a_comparison_with_a_side_that_is_not_measured_says_so_in_its_headline(comparison, evidence):
    found = verdict.of_comparison(replace(comparison, b=replace(comparison.b, evidence=evidence)))
    assert found.headline.endswith(f"({evidence}, not measured)")


def test_a_simulated_profile_says_that_its_times_are_a_stand_ins(measurement):
    found = verdict.of_profile(measurement(evidence=Evidence.SIMULATED))
    assert "simulated by another program" in found.headline


def test_what_must_be_known_of_a_build_stands_by_every_verdict(comparison):
    m = comparison.b
    built = replace(m, processes=tuple(replace(p, build="b", warnings=("untuned",)) for p in m.processes))
    c = replace(comparison, b=built)
    for found in (verdict.of_profile(built), verdict.of_profiles([m, built]), verdict.of_comparison(c)):
        assert "untuned" in found.doubts


def test_a_measurement_from_before_cpu_times_says_so_by_every_verdict(comparison):
    m = comparison.b
    older = replace(m, anchor_baseline_ns={name: ns / 1.5 for name, ns in m.anchor_baseline_ns.items()})
    c = replace(comparison, b=older)
    for found in (verdict.of_profile(older), verdict.of_profiles([m, older]), verdict.of_comparison(c)):
        assert any(d.startswith("measured by an older hwprof, without CPU times") for d in found.doubts)


def test_sides_of_one_name_are_told_apart(comparison):
    c = replace(comparison, b=replace(comparison.b, model="fp32"))
    assert verdict.labels(c) == ("fp32 (A)", "fp32 (B)")


def test_the_normalized_latency_needs_anchors(measurement):
    m = measurement()
    assert np.isfinite(verdict.normalized(m).median)
    assert verdict.normalized(replace(m, anchor_baseline_ns={})) is None
