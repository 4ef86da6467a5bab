from hwprof import cost
from hwprof.workloads.super_resolution import super_resolution


def test_the_image_has_twice_the_side():
    graph = super_resolution(side=12)
    assert graph.shape(graph.outputs[0]) == (1, 1, 24, 24)


def test_all_convolutions_work_at_the_low_resolution():
    pixels = 32 * 32
    assert cost.of(super_resolution()).macs == pixels * (25 * 16 + 9 * 16 * 16 + 9 * 16 * 4)
