from __future__ import annotations

import time

import numpy as np

from hwprof.backends.host_timer import HostTimer


def test_each_run_has_its_own_latency():
    pauses = iter([0.0, 0.02, 0.0])
    first, second, third = HostTimer(lambda: time.sleep(next(pauses)), dict)(3)
    assert second >= 20_000_000
    assert min(first, third) > 0
    assert max(first, third) < second


def test_together_gives_one_total_of_exactly_n_runs():
    runs = []
    total = HostTimer(lambda: runs.append(time.sleep(0.005)), dict)(3, each=False)
    assert len(runs) == 3
    assert len(total) == 1
    assert total[0] >= 15_000_000


def test_outputs_are_read_after_one_run():
    runs = []
    timer = HostTimer(lambda: runs.append(1), lambda: {"y": np.array(len(runs))})
    assert timer.outputs() == {"y": 1}
