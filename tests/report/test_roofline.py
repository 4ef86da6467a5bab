"""Figure of the roofline."""

from dataclasses import replace

from hwprof.report import operators, roofline


def test_each_kernel_with_multiply_adds_has_a_mark(measurement, graph, peaks, image):
    drawn = image(roofline.draw(operators.of_measurement(measurement(), graph, peaks), peaks))
    assert sorted(t.split(":")[0] for t in drawn.tips) == ["Conv_0", "Gemm_3"]
    assert len(drawn.marks("roof")) == 1


def test_without_peaks_there_is_no_roof(measurement, graph, peaks, image):
    breakdown = operators.of_measurement(measurement(), graph, None)
    for unknown in (None, replace(peaks, bytes_per_s=float("nan"))):
        assert image(roofline.draw(breakdown, unknown)).marks("roof") == []


def test_without_known_work_there_is_no_figure(measurement):
    assert roofline.draw(operators.of_measurement(measurement(), None, None), None) is None
