from dataclasses import replace

import pytest

from hwprof.measurement.estimate import Clock
from hwprof.measurement.pairing import clock, round_ratios
from hwprof.measurement.samples import CpuTime, Process, TimedBlock
from tests.samples import make_process


def shared(round_number: int, cpu_ns: int, cpus: int = 1, rejected: str = "preempted", count: int = 4) -> Process:
    """A process on a core that others use: by wall time its network takes four times as long as by CPU time."""
    block = TimedBlock(0, (4 * cpu_ns // cpus,), rejected=rejected, cpu_samples_ns=(cpu_ns,))
    return make_process(round_number, [], blocks=(block,) * count, cpu_time=CpuTime.WORK, cores=cpus)


def test_rounds_that_only_one_side_has_make_no_pair():
    a, b = ([make_process(i, [1e6, 1e6]) for i in rounds] for rounds in ((0, 1, 3, 4), (3, 4, 5)))
    assert list(round_ratios(a, b)) == [3, 4]


def test_a_round_without_an_undisturbed_pair_says_nothing():
    a = [make_process(i, [1e6, 1e6]) for i in range(3)]
    disturbed = tuple(replace(block, rejected="steal") for block in a[0].blocks)
    assert list(round_ratios(a, [replace(a[0], blocks=disturbed), *a[1:]])) == [1, 2]


def test_networks_on_a_shared_core_are_compared_by_cpu_time():
    a, b = ([shared(i, ns) for i in range(3)] for ns in (1_000_000, 1_100_000))
    assert clock(a, b) is Clock.CPU
    assert round_ratios(a, b)[2] == pytest.approx([1.1] * 4)


def test_one_network_without_cpu_time_leaves_wall_time_for_both():
    a = [shared(i, 1_000_000) for i in range(3)]
    asleep = [replace(p, cpu_time=CpuTime.SLEEPING) for p in a]
    assert clock(a, asleep) is Clock.WALL
    assert round_ratios(a, asleep) == {}


def test_cpu_times_of_several_threads_are_compared_by_the_cpus_that_they_keep_busy():
    """Twice the CPU time on twice the CPUs is the same latency."""
    calm = TimedBlock(0, (1_000_000,), cpu_samples_ns=(2_000_000,))
    a = [shared(i, 1_000_000) for i in range(3)]
    b = [replace(p, blocks=(*p.blocks[:3], calm)) for p in (shared(i, 2_000_000, cpus=2) for i in range(3))]
    assert round_ratios(a, b)[0] == pytest.approx([1.0] * 4)
