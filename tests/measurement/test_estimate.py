import math
from dataclasses import replace

import numpy as np
import pytest

from hwprof.measurement import estimate
from hwprof.measurement.estimate import Baseline, Clock, LatencyStatistics, undisturbed_ns
from hwprof.measurement.samples import CpuTime, Process, TimedBlock
from tests.samples import make_process
from tests.simulated import ANCHORS, TRUE_NS, session


def test_wall_time_is_the_clock_of_a_quiet_machine():
    assert estimate.clock(session(0, 5)) is Clock.WALL


def test_cpu_time_is_the_clock_of_a_machine_that_others_use():
    assert estimate.clock(session(0, 5, cpu_share=0.25)) is Clock.CPU
    busy_elsewhere = [replace(p, other_cpus=0.9) for p in session(0, 5)]
    assert estimate.clock(busy_elsewhere) is Clock.CPU


def test_a_fifth_of_disturbed_processes_does_not_change_the_clock():
    quiet, loaded = session(0, 5), session(1, 5, cpu_share=0.25)
    assert estimate.clock([*quiet[:4], *loaded[:1]]) is Clock.WALL
    assert estimate.clock([*quiet[:3], *loaded[:2]]) is Clock.CPU


@pytest.mark.parametrize("kind", [CpuTime.UNKNOWN, CpuTime.COARSE, CpuTime.SLEEPING, CpuTime.SPINNING])
def test_cpu_time_that_is_not_the_networks_work_is_no_clock(kind: CpuTime):
    processes = session(0, 5, cpu_share=0.25)
    assert estimate.clock([*processes[:4], replace(processes[4], cpu_time=kind)]) is Clock.WALL


def test_several_threads_have_a_cpu_clock_only_beside_an_undisturbed_block():
    busy = [replace(p, cores=2) for p in session(0, 5, cpu_share=0.25)]
    assert estimate.clock(busy) is Clock.WALL
    calm = TimedBlock(0, (TRUE_NS // 2,), cpu_samples_ns=(TRUE_NS,))
    assert estimate.clock([*busy[:4], replace(busy[4], blocks=(calm,))]) is Clock.CPU


def test_the_cpu_time_of_several_threads_is_divided_by_the_cpus_that_they_keep_busy():
    disturbed = TimedBlock(0, (3_000_000,), rejected="preempted", cpu_samples_ns=(2_000_000,))
    calm = TimedBlock(0, (1_000_000,), cpu_samples_ns=(2_000_000,))
    blocks = (disturbed, disturbed, calm)
    processes = [make_process(i, [], blocks=blocks, cpu_time=CpuTime.WORK, cores=2) for i in range(3)]
    assert estimate.undisturbed(processes, Baseline()).median == pytest.approx(1.0)


def test_in_cpu_time_only_blocks_that_waited_for_their_core_count_beside_the_undisturbed_ones():
    causes = ("", "preempted", "throttled", "steal", "frequency")
    assert [estimate.counts(TimedBlock(0, (1,), rejected=c), Clock.CPU) for c in causes] == [True, True] + [False] * 3
    assert [estimate.counts(TimedBlock(0, (1,), rejected=c), Clock.WALL) for c in causes] == [True] + [False] * 4


def test_the_undisturbed_latency_under_load_is_that_of_the_quiet_machine():
    quiet = estimate.undisturbed(session(0, 10), ANCHORS)
    loaded = estimate.undisturbed(session(1, 10, cpu_share=0.2), ANCHORS)
    assert quiet.median == pytest.approx(TRUE_NS / 1e6, rel=0.01)
    assert loaded.median == pytest.approx(TRUE_NS / 1e6, rel=0.02)
    assert estimate.raw(session(1, 10, cpu_share=0.2)).median > 2 * loaded.median


def test_a_short_network_is_not_corrected_by_the_time_that_its_anchors_waited():
    """Its own samples fit between two interruptions, those of the anchors do not."""
    blocks = tuple(
        TimedBlock(
            0, (130_000,) * 20, rejected="preempted", cpu_samples_ns=(2_080_000,) * 5, runs_per_cpu_sample=16,
            anchors_ns={"compute": 700_000.0}, anchors_cpu_ns={"compute": 200_000.0},
        )
        for _ in range(5)
    )  # fmt: skip
    processes = [make_process(i, [], blocks=blocks, cpu_time=CpuTime.WORK) for i in range(5)]
    assert estimate.undisturbed(processes, ANCHORS).median == pytest.approx(0.13)


@pytest.mark.parametrize("cpu_share", [1.0, 0.2])
@pytest.mark.parametrize("n", [4, 8])
def test_the_interval_covers_the_undisturbed_latency(n: int, cpu_share: float):
    """45 are expected of an interval that covers in 90 % of cases, 47.5 of one of 95 %; without the systematic part."""
    covered = 0
    for seed in range(50):
        processes = session(1000 * n + seed, n, cpu_share)
        off = abs(np.log(estimate.undisturbed(processes, ANCHORS).median / (TRUE_NS / 1e6)))
        covered += off <= estimate.precision(processes, ANCHORS).statistical
    assert covered >= 43


def test_the_half_width_that_steers_is_that_of_the_final_interval():
    processes = session(0, 8, cpu_share=0.3)
    final = estimate.undisturbed(processes, ANCHORS)
    found = estimate.precision(processes, ANCHORS)
    assert found.total == pytest.approx(final.relative_half_width, rel=0.15)
    assert found.systematic == final.systematic
    assert estimate.precision(processes[:1], ANCHORS).total == np.inf


def corrected(slowdown: float, **how: object) -> list[Process]:
    """Five processes of 1 ms and `slowdown` times that, whose anchors are slowed down as much."""
    anchors = {name: ns * slowdown for name, ns in ANCHORS.cpu_ns.items()}
    ns = round(TRUE_NS * slowdown)
    block = TimedBlock(0, (ns,), anchors_ns=anchors, cpu_samples_ns=(ns,), anchors_cpu_ns=anchors)
    told = {"cpu_time": CpuTime.WORK, "other_cpus": 1.0, **how}
    return [make_process(i, [], blocks=(block,) * 3, **told) for i in range(5)]


def test_the_interval_under_load_has_a_part_that_is_proportional_to_the_correction():
    narrow, wide = (estimate.undisturbed(corrected(s), ANCHORS) for s in (1.05, 1.1))
    assert (narrow.median, wide.median) == (pytest.approx(1.0), pytest.approx(1.0))
    assert narrow.systematic == pytest.approx(0.8 * np.log(1.05))
    assert wide.high == pytest.approx(np.exp(0.8 * np.log(1.1)))
    assert wide.low == pytest.approx(1 / wide.high)


def test_the_interval_is_wider_where_the_machine_was_never_quiet():
    found = estimate.undisturbed(corrected(1.05), replace(ANCHORS, is_quiet=False))
    assert found.systematic == pytest.approx(np.hypot(0.8 * np.log(1.05), 0.05))


@pytest.mark.parametrize("how", [{"other_cpus": 0.0}, {"other_cpus": None}, {"clock": "CUDA events"}])
def test_the_interval_has_no_systematic_part_where_no_other_program_ran(how: dict[str, object]):
    assert estimate.undisturbed(corrected(1.1, **how), ANCHORS).systematic == 0


def test_where_idle_threads_spin_on_several_cores_the_latency_is_as_the_clock_ran():
    spinning = corrected(1.2, cpu_time=CpuTime.SPINNING, cores=2)
    assert not estimate.is_corrected(spinning)
    assert estimate.undisturbed(spinning, ANCHORS) == estimate.raw(spinning)
    assert estimate.undisturbed(corrected(1.2, cpu_time=CpuTime.SPINNING), ANCHORS).median == pytest.approx(1.0)


def test_the_baseline_is_that_of_the_quiet_processes():
    quiet, loaded = session(0, 3), session(1, 3, cpu_share=0.2)
    found = estimate.baseline_of([*loaded, *quiet])
    assert found == replace(estimate.baseline_of(quiet), is_quiet=True)
    assert estimate.baseline_of(loaded).is_quiet is False


def test_whether_the_machine_was_quiet_is_not_known_without_its_load():
    unknown = [replace(p, other_cpus=None) for p in session(0, 3)]
    assert estimate.baseline_of(unknown).is_quiet is None


def test_the_undisturbed_time_of_an_anchor_is_its_first_decile():
    process = make_process(0, [1e6] * 11)
    blocks = tuple(replace(b, anchors_ns={"compute": 100.0 + i}) for i, b in enumerate(process.blocks))
    assert undisturbed_ns([replace(process, blocks=blocks)]) == {"compute": pytest.approx(101)}


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(97.0, 103.0, "+-3.0%"), (65.0, 100.0, "-35.0% to +0.0%"), (math.nan, math.nan, "unknown"), (100, 100, "+-0.0%")],
)
def test_an_interval_whose_bounds_are_not_equally_far_is_told_by_both(low: float, high: float, words: str):
    assert LatencyStatistics(100.0, low, high, 0, 0, 0, 0).width_words == words
