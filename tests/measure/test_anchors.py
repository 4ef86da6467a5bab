import pytest

from hwprof import cost, plugins
from hwprof.backends.onnxruntime import BACKEND
from hwprof.device import Device
from hwprof.measure import anchors


def test_the_arithmetic_anchor_does_the_work_that_it_says():
    assert cost.of(anchors.compute_graph()).macs == 4 * 64 * 256 * 256


def test_the_memory_anchor_reads_and_writes_its_size():
    assert cost.of(anchors.copy_graph(1024)).moved_bytes == 2 * 1024 * 1024


@pytest.mark.parametrize(("latency_ms", "name"), [(0.01, "copy-64k"), (1.0, "copy-4096k"), (1000, "copy-65536k")])
def test_the_memory_anchor_is_as_long_as_the_network(latency_ms: float, name: str):
    with anchors.OpenAnchors(BACKEND, Device.load("cpu-1t")) as opened:
        assert [a.name for a in opened.for_latency(latency_ms * 1e6)] == ["compute", name]


def test_an_anchor_is_opened_once_for_all_networks():
    with anchors.OpenAnchors(BACKEND, Device.load("cpu-1t")) as opened:
        short, long = opened.for_latency(1e4), opened.for_latency(1e6)
        assert short[0] is long[0]
        assert short[1] is not long[1]
        assert opened.for_latency(1e4)[1] is short[1]


def test_an_anchor_reports_the_time_of_one_run():
    asked = []

    def timer(n: int, each: bool = True) -> list[int]:
        asked.append(n)
        return [1000 * n]

    assert anchors.Anchor("compute", timer, estimate_ns=2000).time_per_run_ns(duration_ns=10_000) == 1000
    assert asked == [5]


def test_an_interruption_counts_in_an_anchor_as_in_a_network_of_its_length():
    """Every tenth run of 100 us is interrupted: in half of the samples of 500 us, in few of those of 100 us."""

    def timer(n: int, each: bool = True) -> list[int]:
        return [5_000_000 if i % 10 == 0 else 100_000 for i in range(n)]

    anchor = anchors.Anchor("compute", timer, estimate_ns=100_000)
    assert anchor.time_of_a_run(duration_ns=4e6, sample_ns=100_000).wall_ns == 100_000
    assert anchor.time_of_a_run(duration_ns=4e6, sample_ns=1_000_000).wall_ns == 590_000


def test_a_runtime_that_refuses_floats_gets_quantized_anchors():
    device = Device("test", "integer").with_options(instruction_set="scalar")
    with anchors.OpenAnchors(plugins.load("backend", "integer"), device) as opened:
        assert [a.name for a in opened.for_latency(1e5)] == ["compute", "copy-256k"]
