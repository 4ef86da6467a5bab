from __future__ import annotations

import numpy as np
import pytest

from hwprof.backends import host_timer
from hwprof.backends.host_timer import HostTimer


@pytest.fixture
def takes(monkeypatch):
    """Lets time pass: the clock of the timer goes on by as many nanoseconds, and not otherwise."""
    now = [0]
    monkeypatch.setattr(host_timer, "perf_counter_ns", lambda: now[0])
    return lambda ns: now.__setitem__(0, now[0] + ns)


def test_each_run_has_its_own_latency(takes):
    durations = iter([3, 20, 5])
    assert HostTimer(lambda: takes(next(durations)), dict)(3) == [3, 20, 5]


def test_together_gives_one_total_of_exactly_n_runs(takes):
    assert HostTimer(lambda: takes(5), dict)(3, each=False) == [15]


def test_outputs_are_read_after_one_run():
    runs = []
    timer = HostTimer(lambda: runs.append(1), lambda: {"y": np.array(len(runs))})
    assert timer.outputs() == {"y": 1}
