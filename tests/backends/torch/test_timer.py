"""The timer, on the host and on a device that works behind the host's back.

`Behind` is such a device: a thread that does what it is handed, in order, while the host goes on. What a CUDA
stream is to the timer it is, too: work, marks and waiting; only its clock is the thread's.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from time import perf_counter_ns

import numpy as np
import pytest
import torch

from hwprof.backends.torch.settings import Options
from hwprof.backends.torch.timer import Network, TorchTimer
from hwprof.backends.torch.work_queue import HostQueue
from hwprof.measurement import Evidence
from hwprof.testing import check_waits

WORK_NS = 4_000_000


class Behind:
    clock = "its thread's"

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[object] = self._thread.submit(int)

    def hand_over(self, work: Callable[[], object]) -> None:
        self._last = self._thread.submit(work)

    def mark(self) -> Future[int]:
        return self._thread.submit(perf_counter_ns)

    def wait(self) -> None:
        self._thread.submit(int).result()

    def elapsed_ns(self, start: Future[int], end: Future[int]) -> int:
        assert start.done(), "read before it was waited for"
        assert end.done(), "read before it was waited for"
        return end.result() - start.result()


class Hasty(Behind):
    """Forgets to wait: what the timer would be without a synchronization."""

    def wait(self) -> None:
        pass

    def elapsed_ns(self, start: Future[int], end: Future[int]) -> int:
        return 1


def timer_on(queue, evict=lambda: None, **options) -> TorchTimer:
    result = torch.ones(2)

    def run():
        queue.hand_over(lambda: time.sleep(WORK_NS / 1e9))
        return [Late(result, queue)]

    return TorchTimer(
        Network(run, [], ["y"]), queue, Options(**options), evict=evict, profile=lambda n: ([], 0.0), guard=nullcontext
    )


class Late:
    """A tensor on the device: it can be read once all that was handed over is done."""

    dtype = torch.float32

    def __init__(self, value: torch.Tensor, queue: Behind) -> None:
        self._value, self._queue = value, queue

    def detach(self) -> Late:
        return self

    def cpu(self) -> torch.Tensor:
        self._queue._last.result()
        return self._value


@pytest.mark.parametrize("clock", ["device", "host"])
def test_each_latency_is_the_time_of_the_work_not_of_handing_it_over(clock):
    times = timer_on(Behind(), clock=clock)(5)
    assert len(times) == 5
    assert min(times) >= WORK_NS


def test_a_timer_names_the_devices_clock_where_that_one_is_read():
    assert timer_on(Behind(), clock="device").clock == "its thread's"
    assert timer_on(Behind(), clock="host").clock == ""
    assert timer_on(HostQueue(), clock="device").clock == ""


@pytest.mark.parametrize("clock", ["device", "host"])
def test_many_together_are_waited_for(clock):
    (total,) = timer_on(Behind(), clock=clock)(5, each=False)
    assert total >= 5 * WORK_NS


def test_by_the_devices_clock_the_host_hands_over_without_waiting_in_between():
    queue, all_handed_over, done = Behind(), threading.Event(), []
    handed = itertools.count(1)

    def run():
        queue.hand_over(lambda: done.append(all_handed_over.wait(30)))
        if next(handed) == 5:
            all_handed_over.set()
        return [Late(torch.ones(2), queue)]

    timer = timer_on(queue)
    timer.network = Network(run, [], ["y"])
    timer(5)
    assert done == [True] * 5


def test_caches_are_made_cold_outside_of_the_timed_interval():
    queue, done = Behind(), []

    def logged(what):
        return lambda: done.append(what) or perf_counter_ns()

    queue.mark = lambda: queue._thread.submit(logged("mark"))
    timer = timer_on(queue, evict=lambda: queue.hand_over(logged("evict")), caches="cold")
    timer.network = Network(lambda: [queue.hand_over(logged("work")), Late(torch.ones(2), queue)][1:], [], ["y"])
    for each in (True, False):
        done.clear()
        timer(3, each=each)
        assert done == ["evict", "mark", "work", "mark"] * 3


class Opened:
    """A backend whose timer stands on the given queue."""

    evidence = Evidence.MEASURED

    def __init__(self, queue) -> None:
        self._queue = queue

    @contextmanager
    def open(self, graph, device):
        yield timer_on(self._queue)


def test_the_contract_catches_a_timer_that_forgot_to_synchronize():
    check_waits(Opened(Behind()), None)
    with pytest.raises(AssertionError, match="it does not wait for the device"):
        check_waits(Opened(Hasty()), None)


def test_outputs_in_bfloat16_come_as_float32():
    network = Network(lambda: [torch.ones(2, dtype=torch.bfloat16)], [], ["y"])
    timer = TorchTimer(
        network, HostQueue(), Options(), evict=lambda: None, profile=lambda n: ([], 0.0), guard=nullcontext
    )
    assert timer.outputs()["y"].dtype == np.float32
