from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from hwprof.measure import cpu_time
from hwprof.measurement.samples import CpuTime


def clock(step_ns: int) -> Callable[[], int]:
    """A clock that advances at each reading."""
    ticks: Iterator[int] = count(0, step_ns)
    return lambda: next(ticks)


@pytest.fixture
def busy_cpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many CPUs the threads of this process use while it sleeps."""

    def play(cpus: float) -> None:
        monkeypatch.setattr(cpu_time, "_threads", lambda: 2)
        monkeypatch.setattr(cpu_time, "sleep", lambda _s: None)
        monkeypatch.setattr(cpu_time, "read_ns", clock(round(2_000_000 * cpus)))
        monkeypatch.setattr(cpu_time, "perf_counter_ns", clock(2_000_000))

    return play


@pytest.mark.parametrize(("cpus", "is_spinning"), [(0.02, False), (0.5, True), (3.0, True)])
def test_threads_that_are_busy_after_a_run_spin(busy_cpus: Callable[[float], None], cpus: float, is_spinning: bool):
    busy_cpus(cpus)
    assert cpu_time.spins(lambda: None) is is_spinning


def test_waiting_until_idle_ends_as_soon_as_no_thread_is_busy(monkeypatch: pytest.MonkeyPatch):
    cpus = iter([0.9, 0.5, 0.02, 0.9])
    monkeypatch.setattr(cpu_time, "_cpus_after", lambda _run: next(cpus))
    cpu_time.wait_until_idle()
    assert next(cpus) == 0.9


def test_waiting_until_idle_has_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu_time, "_cpus_after", lambda _run: 1.0)
    cpu_time.wait_until_idle(limit_s=0.001)


def test_a_single_thread_cannot_spin(busy_cpus: Callable[[float], None], monkeypatch: pytest.MonkeyPatch):
    busy_cpus(0.5)
    monkeypatch.setattr(cpu_time, "_threads", lambda: 1)
    assert not cpu_time.spins(lambda: None)


@pytest.mark.parametrize(
    ("step_ns", "idle_shares", "is_spinning", "expected"),
    [
        (700, [0.0, 0.01, 0.9], False, CpuTime.WORK),
        (700, [0.5, 0.5, 0.01], False, CpuTime.SLEEPING),
        (700, [0.0], True, CpuTime.SPINNING),
        (10_000_000, [0.0], False, CpuTime.COARSE),
        (700, [], False, CpuTime.WORK),
    ],
)
def test_cpu_time_is_work_unless_the_process_sleeps_or_spins_or_the_clock_is_coarse(
    monkeypatch: pytest.MonkeyPatch, step_ns: int, idle_shares: list[float], is_spinning: bool, expected: CpuTime
):
    monkeypatch.setattr(cpu_time, "read_ns", clock(step_ns))
    assert cpu_time.kind(idle_shares, is_spinning) is expected


@pytest.fixture
def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cpu_time, "_STAT", tmp_path / "stat")
    return tmp_path / "stat"


def test_the_load_by_others_is_what_all_cpus_did_without_this_process(stat: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu_time, "read_ns", clock(1_000_000_000))
    monkeypatch.setattr(cpu_time, "perf_counter_ns", clock(2_000_000_000))
    stat.write_text("cpu  100 10 20 5000 3 1 1 7 0 0\ncpu0 ...\n")
    load = cpu_time.OtherLoad()
    stat.write_text("cpu  300 60 40 5000 3 2 29 9 0 0\ncpu0 ...\n")  # 299 ticks more: 2.99 s, 1 s of them our own
    assert load.cpus() == pytest.approx(1.99 / 2)


def test_a_load_that_the_system_does_not_tell_is_unknown(stat: Path):
    assert cpu_time.OtherLoad().cpus() is None
    stat.write_text("cpu\n")
    assert cpu_time.OtherLoad().cpus() is None


def test_the_clock_shows_steps():
    assert 0 < cpu_time.tick_ns() <= 1_000_000_000
