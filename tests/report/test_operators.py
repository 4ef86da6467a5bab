"""Kernels scaled to the plain run, their work and the roofline, worked out by hand on a small network."""

from dataclasses import replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.measurement import OperatorTime, Peaks
from hwprof.report import operators
from hwprof.report.operators import Work

CONV_MACS = 8 * 3 * 3 * 3 * 64  # 8 channels, 3 x 3 x 3 filter, 8 x 8 places
CONV_BYTES = 4 * (3 * 64 + 8 * 27 + 8 * 64)  # input, filter, output of the Relu; not what lies between
GEMM_MACS = 512 * 10


def test_kernels_that_leave_time_outside_keep_their_own(measurement, graph):
    m = measurement(10.0, inflation=1.25)
    found = operators.of_measurement(m, graph, None)
    assert [k.share for k in found.kernels] == pytest.approx([0.60, 0.05, 0.25])
    assert found.outside_ms == pytest.approx(0.10 * m.latency_ms)
    assert found.inflation == pytest.approx(1.25 * 10.0 / m.latency_ms)


def test_what_profiling_added_is_taken_from_each_kernel_alike():
    # three kernels of 10, 20 and 70, each shown 5 longer
    assert operators.without_profiling([15, 25, 75], 100) == pytest.approx([10, 20, 70])


def test_no_kernel_gives_more_than_the_shortest_took_and_the_rest_shrinks_in_proportion():
    # 60 too much: 10 from each of three, then 90 left for a plain run of 60
    assert operators.without_profiling([10, 40, 70], 60) == pytest.approx([0, 20, 40])


def test_kernels_below_the_plain_run_are_left_as_they_are():
    assert operators.without_profiling([10, 20], 100) == [10, 20]


def test_after_the_correction_kernels_never_exceed_the_plain_run(measurement, graph):
    m = measurement(10.0)
    longer = replace(m, operators=tuple(replace(o, ns=2 * o.ns) for o in m.operators))
    found = operators.of_measurement(longer, graph, None)
    assert sum(k.ms for k in found.kernels) == pytest.approx(m.latency_ms)
    assert found.outside_ms == pytest.approx(0)


def test_a_fused_kernel_does_not_move_what_stays_inside(measurement, graph):
    conv, _, gemm = operators.of_measurement(measurement(), graph, None).kernels
    assert conv.work == Work(CONV_MACS, 512, CONV_BYTES, "float32")
    assert gemm.work.macs == GEMM_MACS


def test_a_tensor_that_another_kernel_reads_leaves_the_fused_one():
    b = GraphBuilder("g")
    inner = b.relu(b.input((4,)))
    outer = b.unary("Neg", inner)
    g = b.build(b.add(inner, outer))
    work = operators.work_of(g, g.nodes[:2], g.consumers())
    assert work.moved_bytes == 4 * (4 + 4 + 4)


def test_the_roofline_is_the_slower_of_arithmetic_and_memory():
    peaks = Peaks({"float32": 1e9, "int8": 4e9}, 1e9)
    assert operators.least_ms(Work(2_000_000, 0, 1_000_000, "float32"), peaks) == pytest.approx(2.0)
    assert operators.least_ms(Work(2_000_000, 0, 1_000_000, "uint8"), peaks) == pytest.approx(1.0)
    assert operators.least_ms(Work(0, 5, 3_000_000, "bool"), peaks) == pytest.approx(3.0)


def test_a_peak_that_is_not_known_gives_no_roofline():
    assert operators.least_ms(Work(1, 0, 1, "float16"), Peaks({"float32": 1e9}, 1e9)) is None
    assert operators.least_ms(Work(0, 0, 1, "float32"), Peaks({}, float("nan"))) is None


def test_kinds_add_up_their_kernels_and_stand_longest_first(measurement, graph, peaks):
    m = measurement()
    conv = m.operators[0]
    m = replace(m, operators=(*m.operators[1:], conv, replace(conv, name="again")))
    kinds = operators.of_measurement(m, graph, peaks).kinds
    assert [k.op for k in kinds] == ["FusedConv", "Gemm", "Flatten"]
    assert kinds[0].work.macs == 2 * CONV_MACS
    assert kinds[0].members == (conv.name, "again")
    assert kinds[0].least_ms == pytest.approx(2 * CONV_BYTES / 1.2e10 * 1e3)


def test_an_unknown_member_leaves_the_work_of_its_kernel_and_kind_unknown(measurement, graph, peaks):
    m = measurement()
    m = replace(m, operators=(*m.operators, OperatorTime("reorder", "Gemm", 1e5)))
    found = operators.of_measurement(m, graph, peaks)
    assert found.kernels[-1].work is None
    assert found.kernels[-1].roof_share is None
    gemm = next(k for k in found.kinds if k.op == "Gemm")
    assert gemm.work is None
    assert gemm.least_ms is None


def test_an_operator_without_a_rule_of_cost_is_unknown_not_zero(measurement):
    b = GraphBuilder("custom")
    g = b.build(b.nodes("Mystery", [b.input((4,))], [("float32", (4,))], domain="com.example")[0])
    m = replace(measurement(), operators=(OperatorTime(g.nodes[0].name, "Mystery", 1e6),))
    assert operators.of_measurement(m, g, None).kernels[0].work is None


def test_a_runtime_that_times_no_operators_has_no_breakdown(measurement, graph):
    assert operators.of_measurement(measurement(operators=()), graph, None) is None


def test_a_kernel_that_exceeds_the_peaks_is_the_peak(measurement, graph):
    low = Peaks({"float32": 1e6}, 1e9, ((1024, 1e9),))
    found = operators.of_measurement(measurement(10.0), graph, low)
    shares = [k.roof_share for k in found.kernels if k.roof_share is not None]
    assert max(shares) == pytest.approx(1.0)
    assert found.exceeded > 1
    assert found.peaks.macs_per_s["float32"] == pytest.approx(1e6 * found.exceeded)
    assert "repeat on a quiet machine" in found.exceeded_words


def test_peaks_above_all_kernels_are_kept(measurement, graph):
    high = Peaks({"float32": 1e15}, 1e15, ((1024, 1e15),))
    found = operators.of_measurement(measurement(10.0), graph, high)
    assert (found.peaks, found.exceeded, found.exceeded_words) == (high, 1.0, "")
