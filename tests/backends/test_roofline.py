from __future__ import annotations

import pytest

from hwprof.backends.roofline import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.measurement import Evidence


def device(**options):
    peaks = {"peak_macs_per_s": 1e9, "peak_bytes_per_s": 1e9, "launch_ns": 100}
    return Device("d", "roofline").with_options(**{**peaks, **options})


@pytest.fixture
def linear():
    """[4, 8] x [8, 2]: 64 MACs; 4 * (32 + 16 + 8) = 224 bytes. Relu: 2 * 32 = 64 bytes."""
    b = GraphBuilder("linear")
    return b.build(b.relu(b.linear(b.input((4, 8)), 2, bias=False)))


def test_an_operator_takes_its_launch_and_the_slower_of_arithmetic_and_memory(linear):
    with BACKEND.open(linear, device()) as timer:
        assert [o.ns for o in timer.operators(1)] == pytest.approx([100 + 224, 100 + 64])
    with BACKEND.open(linear, device(peak_macs_per_s=1e8)) as timer:
        assert [o.ns for o in timer.operators(1)] == pytest.approx([100 + 640, 100 + 64])


def test_latency_is_the_sum_of_the_operators(linear):
    with BACKEND.open(linear, device()) as timer:
        assert timer(2) == [488, 488]
        assert timer(2, each=False) == [976]


def test_an_operator_that_no_output_needs_takes_no_time():
    b = GraphBuilder("dead")
    x = b.input((4, 8))
    b.relu(x)
    with BACKEND.open(b.build(b.unary("Sigmoid", x)), device()) as timer:
        assert [o.op for o in timer.operators(1)] == ["Sigmoid"]


def test_noise_repeats_for_the_same_seed_and_process(linear, monkeypatch):
    def samples(seed):
        with BACKEND.open(linear, device(noise=0.1, seed=seed)) as timer:
            return timer(5)

    monkeypatch.setenv("HWPROF_PROCESS", "1")
    first = samples(0)
    assert len(set(first)) > 1
    assert samples(0) == first
    assert samples(1) != first
    monkeypatch.setenv("HWPROF_PROCESS", "2")
    assert samples(0) != first


def test_process_noise_moves_all_runs_of_a_process_alike(linear):
    def sample(process):
        with BACKEND.open(linear, device(process_noise=0.1, process=process)) as timer:
            (latency,) = set(timer(3))
            return latency

    assert sample(0) != sample(1)


def test_times_are_marked_as_analytic():
    assert BACKEND.evidence is Evidence.ANALYTIC


@pytest.mark.parametrize("options", [{"peak_macs_per_s": 0.0}, {"launch_ns": -1}])
def test_impossible_peaks_are_refused(linear, options):
    with pytest.raises(InputError, match="peaks must be > 0"), BACKEND.open(linear, device(**options)):
        pass


def test_a_missing_peak_is_named(linear):
    with (
        pytest.raises(InputError, match="needs the option 'peak_macs_per_s'"),
        BACKEND.open(linear, Device("d", "roofline")),
    ):
        pass
