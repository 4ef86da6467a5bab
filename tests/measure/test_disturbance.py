import os
import subprocess
import sys

import pytest

from hwprof.measure import disturbance
from hwprof.measure.disturbance import Reading, cause
from hwprof.measurement import DeviceState, TimedBlock

CALM = Reading(wait_ns=0, stolen_ticks=0, clock_khz=2_000_000, throttled=0)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (CALM, ""),
        (Reading(9_000_000, 0, 2_000_000, 0), ""),  # waited for 0.9 % of a second
        (Reading(11_000_000, 0, 2_000_000, 0), "preempted"),
        (Reading(0, 1, 2_000_000, 0), "steal"),
        (Reading(0, 0, 1_900_000, 0), "frequency"),
        (Reading(0, 0, 2_000_000, 1), "throttled"),
    ],
)
def test_a_second_is_rejected_by_what_happened_in_it(after: Reading, expected: str):
    assert cause(CALM, after, wall_ns=10**9) == expected


def test_counters_that_a_system_lacks_reject_nothing():
    nothing = Reading(None, None, None, None)
    assert cause(nothing, nothing, wall_ns=10**9) == ""


def test_sharing_a_core_with_a_busy_process_is_seen():
    core = sorted(os.sched_getaffinity(0))[-1]
    program = f"""
import os, subprocess, sys, time
os.sched_setaffinity(0, {{{core}}})
from hwprof.measure import disturbance
from hwprof.measurement import DeviceState, TimedBlock
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    time.sleep(0.3)
    before, start = disturbance.read([{core}]), time.perf_counter_ns()
    while time.perf_counter_ns() - start < 300_000_000: pass
    print(disturbance.cause(before, disturbance.read([{core}]), 300_000_000))
finally:
    busy.kill()
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    if disturbance.read([core]).wait_ns is None:
        pytest.skip("this kernel keeps no scheduler statistics")
    assert shown.stdout.strip() in ("preempted", "steal")


def test_an_accelerator_spoils_a_block_by_a_cause_not_by_its_power_limit():
    steady = DeviceState(clock_mhz=1700.0, throttled=("power limit",))
    assert disturbance.device_cause(None, None) == ""
    assert disturbance.device_cause(steady, steady) == ""
    assert disturbance.device_cause(steady, DeviceState(clock_mhz=1600.0)) == "frequency"
    assert disturbance.device_cause(DeviceState(throttled=("power brake",)), steady) == "throttled"


@pytest.mark.parametrize(
    ("cores", "other_cpus", "is_kept"), [(2, 0.03, True), (2, 0.2, False), (2, None, False), (1, 0.0, False)]
)
def test_threads_that_wait_for_each_other_disturb_no_block(cores: int, other_cpus: float | None, is_kept: bool):
    blocks = [TimedBlock(0, (1,), rejected=cause) for cause in ("preempted", "steal", "")]
    found = disturbance.without_own_waits(blocks, cores, other_cpus)
    assert [b.rejected for b in found] == ["" if is_kept else "preempted", "steal", ""]
