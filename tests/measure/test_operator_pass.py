import platform

import pytest

from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measure.operator_pass import runs_for, time_operators
from hwprof.measure.worker_process import LOCAL


def test_operators_come_from_a_process_of_their_own(tiny_graph: Graph):
    device = Device.load("cpu-1t")
    with LOCAL.open(device) as worker:
        timed = time_operators(tiny_graph, device, 5, worker)
    assert sum("Conv" in k.op for k in timed.kernels) == 2
    assert all(k.ns > 0 for k in timed.kernels)
    assert timed.profiled_ns is not None
    assert timed.profiled_ns > 0
    assert timed.machine == platform.machine()


@pytest.mark.parametrize(("latency_ms", "runs"), [(0.001, 500), (10, 50), (10_000, 5)])
def test_a_pass_takes_half_a_second_within_bounds(latency_ms: float, runs: int):
    assert runs_for(latency_ms) == runs
