import subprocess
import sys
from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from hwprof.measure import timing
from hwprof.measure.anchors import Anchor
from hwprof.measure.timing import Subject
from hwprof.measurement import DeviceState, ProtocolSettings
from hwprof.measurement.samples import CpuTime

SETTINGS = ProtocolSettings()


class FixedTimer:
    """Takes `ns` a run, on paper; remembers what it was asked."""

    def __init__(self, ns: int, outputs: dict[str, np.ndarray] | None = None) -> None:
        self.ns = ns
        self.asked: list[tuple[int, bool]] = []
        self._outputs = outputs or {}

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        self.asked.append((n, each))
        return [self.ns] * n if each else [self.ns * n]

    def outputs(self) -> dict[str, np.ndarray]:
        return self._outputs


def warmed(timer: FixedTimer) -> Subject:
    subject = Subject(timer, SETTINGS, cores=[0], tick_ns=1, open_ns=0)
    subject.start_up()
    subject.warm()
    return subject


def test_a_slow_network_gets_a_stamp_for_each_inference_of_a_20_ms_block():
    block = warmed(FixedTimer(1_000_000)).block(0)
    assert block.samples_ns == (1_000_000,) * 20
    assert block.runs_per_sample == 1


def test_a_network_below_50_us_is_averaged_over_a_millisecond():
    block = warmed(FixedTimer(10_000)).block(0)
    assert block.runs_per_sample == 100
    assert block.samples_ns == (1_000_000,) * 20
    assert block.latencies_ns.tolist() == [10_000] * 20


def test_a_network_slower_than_a_block_runs_once():
    assert len(warmed(FixedTimer(300_000_000)).block(0).samples_ns) == 1


def test_a_coarse_clock_makes_blocks_longer():
    subject = warmed(FixedTimer(1_000_000))
    subject.tick_ns = 100_000
    assert len(subject.block(0).samples_ns) == 100  # 1000 ticks of 0.1 ms


def test_anchors_run_as_long_as_the_block_and_their_time_is_that_of_one_run():
    subject = warmed(FixedTimer(1_000_000))
    compute, copy = FixedTimer(200_000), FixedTimer(500_000)
    subject.anchors = (Anchor("compute", compute, 200_000), Anchor("copy", copy, 500_000))
    block = subject.block(0)
    assert block.anchors_ns == {"compute": 200_000, "copy": 500_000}
    assert compute.asked[-1] == (50, False)  # half of 20 ms each
    assert copy.asked[-1] == (20, False)


def test_after_an_anchor_the_network_is_heated_up_again_before_it_counts():
    timer = FixedTimer(1_000_000)
    subject = warmed(timer)
    subject.block(0)
    assert timer.asked[-2:] == [(20, False), (20, True)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_a_warning(value: float):
    subject = warmed(FixedTimer(1000, {"y": np.array([1.0, value])}))
    assert subject.warnings == ["output 'y' holds NaN or infinite values"]


def test_integer_outputs_are_finite():
    assert warmed(FixedTimer(1000, {"y": np.array([1])})).warnings == []


PEAKS = """
import numpy as np
from hwprof.measure import timing

timing.reset_peak_memory()
peaks = [timing.peak_memory_bytes()]
ballast = np.ones(50_000_000, np.uint8)
peaks.append(timing.peak_memory_bytes())
del ballast
timing.reset_peak_memory()
print(*peaks, timing.peak_memory_bytes())
"""


def test_the_peak_of_memory_is_that_since_the_reset():
    """In a process of its own, as small as a worker: of a large one the machine may take idle pages away meanwhile."""
    ran = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    before, during, after = map(int, ran.stdout.split())
    assert during - before > 40_000_000
    assert after < during


def test_the_clock_shows_steps():
    assert 0 < timing.clock_tick_ns() < 1_000_000


def test_what_disturbs_this_machine_does_not_touch_times_that_it_did_not_measure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timing.disturbance, "cause", lambda *_: "preempted")
    subject = warmed(FixedTimer(1_000_000))
    assert subject.block(0).rejected == "preempted"
    subject.is_elsewhere = True
    assert subject.block(0).rejected == ""


class Accelerator(FixedTimer):
    """Shows the given states one after the other; each run costs 2 mJ."""

    def __init__(self, ns: int, states: list[DeviceState]) -> None:
        super().__init__(ns)
        self._states = iter(states)
        self._mj = 0.0
        self.warnings = ["fake"]

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        self._mj += 2.0 * n
        return super().__call__(n, each)

    def state(self) -> DeviceState:
        return next(self._states, DeviceState(energy_mj=self._mj))

    def figures(self, n: int) -> dict[str, float]:
        return {"runs": float(n)}


def test_a_block_holds_the_accelerators_state_on_both_sides_and_is_rejected_when_it_was_throttled():
    cool, hot = DeviceState(clock_mhz=1980.0), DeviceState(clock_mhz=1975.0, throttled=("overheated",))
    subject = warmed(Accelerator(1_000_000, [cool, cool, cool, hot]))
    assert subject.block(0).states == (cool, cool)
    block = subject.block(0)
    assert block.states == (cool, hot)
    assert block.rejected in ("throttled", "preempted", "steal")  # the host may have been disturbed as well


def test_an_accelerators_energy_and_figures_are_those_of_its_timer():
    subject = warmed(Accelerator(1_000_000, []))
    subject.measure_figures()
    assert subject.figures == {"runs": 50.0}
    assert subject.energy_mj == [2.0]
    subject.measure_energy()  # the host's counters say nothing of it
    assert subject.energy_mj == [2.0]


def test_what_a_timer_has_to_say_is_kept():
    assert warmed(Accelerator(1_000_000, [])).warnings == ["fake"]


def with_cpu_time(ns: int) -> Subject:
    subject = warmed(FixedTimer(ns))
    subject.has_cpu_time, subject.running_share = True, 1.0
    return subject


def test_cpu_time_is_taken_between_groups_of_at_least_2_ms():
    block = with_cpu_time(300_000).block(0)
    assert block.samples_ns == (300_000,) * 70  # 67 for 20 ms, in groups of 7
    assert (len(block.cpu_samples_ns), block.runs_per_cpu_sample) == (10, 7)


def test_the_cpu_time_of_a_slow_network_is_that_of_one_inference():
    block = with_cpu_time(5_000_000).block(0)
    assert (len(block.samples_ns), len(block.cpu_samples_ns), block.runs_per_cpu_sample) == (4, 4, 1)


def test_the_cpu_time_of_a_short_network_is_averaged_like_its_latency():
    block = with_cpu_time(10_000).block(0)
    assert (len(block.cpu_samples_ns), block.runs_per_cpu_sample) == (20, 100)


@pytest.mark.parametrize("ns", [10_000, 1_000_000])
def test_a_device_with_a_clock_of_its_own_has_no_cpu_time(ns: int):
    subject = warmed(FixedTimer(ns))
    subject.anchors = (Anchor("compute", FixedTimer(200_000), 200_000),)
    block = subject.block(0)
    assert (block.cpu_samples_ns, block.anchors_cpu_ns, subject.cpu_time) == ((), {}, CpuTime.UNKNOWN)


def test_anchors_are_timed_by_both_clocks(monkeypatch: pytest.MonkeyPatch):
    subject = with_cpu_time(1_000_000)
    subject.anchors = (Anchor("compute", FixedTimer(200_000), 200_000),)
    ticks = count(0, 1_000_000)
    monkeypatch.setattr(timing.cpu_time, "read_ns", lambda: next(ticks))
    block = subject.block(0)
    assert block.anchors_ns == {"compute": 200_000}
    assert block.anchors_cpu_ns == {"compute": 100_000}  # 10 runs in each 1 ms


@pytest.mark.parametrize(("cpu_ns", "latency_ns"), [(900_000, 1_000_000), (3_000_000, 3_000_000), (9e6, 4_000_000)])
def test_time_spent_waiting_for_a_core_does_not_make_blocks_shorter(
    monkeypatch: pytest.MonkeyPatch, cpu_ns: float, latency_ns: float
):
    """An inference of 4 ms whose process waits for three quarters of the time; with more CPU time than a quarter the
    waiting was in others, with more than 4 ms it has several threads."""
    waited, clock = count(0, 750_000_000), count(0, 1_000_000_000)
    cpu = count(0, round(10 * cpu_ns))  # for 10 inferences
    monkeypatch.setattr(timing.cpu_time, "read_ns", lambda: next(cpu))
    monkeypatch.setattr(timing.disturbance, "wait_ns", lambda: next(waited))
    monkeypatch.setattr(timing, "perf_counter_ns", lambda: next(clock))
    subject = Subject(FixedTimer(4_000_000), SETTINGS, cores=[0], tick_ns=1, open_ns=0, has_cpu_time=True)
    subject.warm()
    assert subject.latency_ns == pytest.approx(latency_ns)
