from collections.abc import Sequence
from itertools import count

import pytest

from hwprof.measure import cpu_time
from hwprof.measure.sampling import averaged, stamped


class Timer:
    """Takes 100 ns a run, on paper."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        self.asked.append((n, each))
        return [100] * n if each else [100 * n]


@pytest.fixture(autouse=True)
def cpu_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advances by 70 ns at each reading."""
    ticks = count(0, 70)
    monkeypatch.setattr(cpu_time, "read_ns", lambda: next(ticks))


def test_each_inference_has_a_stamp_and_each_group_a_cpu_time():
    timer = Timer()
    samples = stamped(timer, group=3, count=2)
    assert (list(samples.ns), samples.runs) == ([100] * 6, 1)
    assert (list(samples.cpu_ns), samples.cpu_runs) == ([70, 70], 3)
    assert timer.asked == [(3, True)] * 2


def test_averaged_samples_have_a_cpu_time_each():
    timer = Timer()
    samples = averaged(timer, runs=5, count=2)
    assert (list(samples.ns), samples.runs) == ([500, 500], 5)
    assert (list(samples.cpu_ns), samples.cpu_runs) == ([70, 70], 5)
    assert timer.asked == [(5, False)] * 2
