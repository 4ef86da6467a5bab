from dataclasses import replace

import numpy as np
import pytest

from hwprof.measure import stop
from hwprof.measurement import ProtocolSettings, Status, TimedBlock, estimate
from hwprof.measurement.samples import CpuTime
from tests.samples import counted_process, counts, make_process
from tests.simulated import session

SETTINGS = ProtocolSettings()


def processes(n: int, spread: float, blocks: int = 10):
    rng = np.random.default_rng(1)
    return [make_process(i, 1e6 * (1 + spread * rng.standard_normal(blocks))) for i in range(n)]


def test_identical_processes_have_no_width():
    assert stop.half_width([make_process(i, [1e6] * 5) for i in range(3)], SETTINGS) == 0


def test_one_process_has_no_interval():
    assert stop.half_width(processes(1, 0.01), SETTINGS) == np.inf


def test_precision_needs_the_least_number_of_processes():
    assert not stop.is_precise(processes(4, 0.0), SETTINGS)
    assert stop.is_precise(processes(5, 0.0), SETTINGS)


def test_precision_must_hold_in_two_consecutive_rounds():
    steady = [make_process(i, [1e6] * 5) for i in range(6)]
    disturbed = [make_process(0, [1.5e6] * 5), make_process(1, [0.7e6] * 5), *steady[2:5]]
    assert not stop.is_precise(disturbed, SETTINGS)


def test_noise_between_processes_asks_for_few_blocks_and_noise_within_for_many():
    rng = np.random.default_rng(2)
    between = [make_process(i, [1e6 * f] * 10) for i, f in enumerate((1.0, 1.1, 0.9))]
    within = [make_process(i, 1e6 * (1 + 0.1 * rng.standard_normal(10))) for i in range(3)]
    assert stop.blocks_per_process(between, 1.0, 0.06, SETTINGS) == SETTINGS.min_blocks
    assert stop.blocks_per_process(within, 1.0, 0.06, SETTINGS) > SETTINGS.pilot_blocks


def test_blocks_are_no_more_than_the_target_needs():
    """Equal processes whose blocks scatter by 1 %: 0.01^2 / 5 processes * (2 * 2.456 / 0.01)^2 = 4.8."""
    logs = 0.01 * np.tile([1.0, -1.0], 5) * np.sqrt(0.9)
    pilot = [make_process(i, 1e9 * np.exp(logs)) for i in range(3)]
    assert stop.blocks_per_process(pilot, 1.0, 0.06, SETTINGS) == 5
    assert stop.blocks_per_process(pilot, 1.0, 0.06, replace(SETTINGS, target=0.005)) == 20


def test_a_pilot_of_blocks_that_agree_is_short():
    calm = [make_process(0, [1e6] * 10)]
    assert stop.blocks_per_process(calm, 1.0, 0.06, SETTINGS) == SETTINGS.min_blocks
    assert stop.blocks_per_process(processes(1, 0.1), 1.0, 0.06, SETTINGS) == SETTINGS.pilot_blocks


def test_the_optimal_number_of_blocks_is_the_published_one():
    # variance within 0.02^2, between 0.01^2 (blocks' share removed); cost 1.6 s and 0.1 s: sqrt(16 * 4) = 8
    logs = np.array([1.0, -1.0, 1.0, -1.0]) * 0.02 * np.sqrt(3 / 4)
    spread = np.sqrt(0.01**2 + 0.02**2 / 4)
    shifts = np.array([spread, 0.0, -spread])
    pilot = [make_process(i, 1e9 * np.exp(shift + logs)) for i, shift in enumerate(shifts)]
    assert stop.blocks_per_process(pilot, 1.6, 0.1, SETTINGS) == pytest.approx(8, abs=1)


def test_status_tells_how_a_measurement_ended():
    assert stop.status([], SETTINGS) is Status.INVALID
    assert stop.status(processes(5, 0.0), SETTINGS) is Status.CONVERGED
    assert stop.status(processes(3, 0.3), SETTINGS) is Status.BUDGET
    unsteady = [replace(p, warmup="not steady") for p in processes(5, 0.0)]
    assert stop.status(unsteady, SETTINGS) is Status.NOT_STEADY


def test_a_fifth_of_disturbed_blocks_is_too_many():
    calm, disturbed = TimedBlock(0, (10**6,)), TimedBlock(0, (10**6,), rejected="steal")
    for count, expected in ((2, Status.CONVERGED), (3, Status.UNSTABLE)):
        blocks = (disturbed,) * count + (calm,) * (10 - count)
        assert stop.status([make_process(i, [], blocks=blocks) for i in range(5)], SETTINGS) is expected


def test_two_counted_processes_that_agree_are_enough():
    agreeing = [counted_process(i, counts(10_000_000 + 9_000 * i)) for i in range(2)]
    assert not stop.is_precise(agreeing[:1], ProtocolSettings())
    assert stop.is_precise(agreeing, ProtocolSettings())
    assert stop.status(agreeing, ProtocolSettings()) is Status.CONVERGED


def test_counted_processes_that_differ_are_not():
    differing = [counted_process(i, counts(10_000_000 + 11_000 * i)) for i in range(2)]
    assert stop.status(differing, ProtocolSettings()) is Status.BUDGET


def test_a_measurement_on_a_shared_core_ends_when_the_undisturbed_latency_is_known():
    loaded = session(0, 20, cpu_share=0.2)
    wide = replace(SETTINGS, target=0.1)
    assert estimate.raw(loaded).relative_half_width > 0.1
    assert any(stop.is_precise(loaded[:n], wide) for n in range(5, 20))
    assert stop.status(loaded, wide) is Status.CONVERGED


def test_a_measurement_that_the_load_limits_ends_without_its_target():
    loaded = session(0, 20, cpu_share=0.2)
    ends = next(n for n in range(1, 20) if stop.is_enough(loaded[:n], SETTINGS))
    assert SETTINGS.min_processes <= ends < 12
    assert not any(stop.is_precise(loaded[:n], SETTINGS) for n in range(1, 20))
    assert stop.status(loaded[:ends], SETTINGS) is Status.LIMITED
    assert stop.half_width(loaded[:ends], SETTINGS) < 1.15 * stop.half_width(loaded, SETTINGS)


def test_without_cpu_time_a_shared_core_is_unstable():
    without = [replace(p, cpu_time=CpuTime.SPINNING) for p in session(0, 20, cpu_share=0.2)]
    assert stop.status(without, replace(SETTINGS, target=1.0)) is Status.UNSTABLE
