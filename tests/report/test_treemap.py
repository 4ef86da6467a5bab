"""Areas in proportion to times."""

import pytest

from hwprof.measurement import OperatorTime
from hwprof.report import operators, treemap
from hwprof.report.treemap import Box, squarify


def overlap(a, b):
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return width > 1e-9 and height > 1e-9


def test_areas_are_in_proportion_and_in_the_order_given():
    boxes = squarify([1, 6, 3], Box(0, 0, 10, 5))
    assert [b.area for b in boxes] == pytest.approx([5, 30, 15])


def test_boxes_fill_the_room_without_overlap():
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(2, 3, 6, 4))
    assert sum(b.area for b in boxes) == pytest.approx(24)
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(b.x >= 2 and b.y >= 3 and b.x + b.width <= 8 + 1e-9 and b.y + b.height <= 7 + 1e-9 for b in boxes)


def test_the_example_of_the_paper_comes_out_as_printed():
    """Figure 4 of Bruls et al.: areas 6 6 4 3 2 2 1 in 6 x 4; the first two share a column of width 3."""
    first, second, third, *_ = squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert (first.width, first.height) == pytest.approx((3, 2))
    assert (second.x, second.y) == pytest.approx((0, 2))
    assert (third.width, third.height) == pytest.approx((12 / 7, 7 / 3))


def test_values_of_zero_get_no_area():
    assert squarify([0, 0], Box(0, 0, 1, 1)) == [Box(0, 0, 0, 0)] * 2
    assert [b.area for b in squarify([1, 0], Box(0, 0, 2, 2))] == pytest.approx([4, 0])


def test_every_kernel_and_the_time_outside_is_drawn(measurement, graph):
    drawn = treemap.draw(operators.of_measurement(measurement(), graph, None), 400, 300)
    assert all(f"<title>{name}: " in drawn for name in ("Conv_0", "Flatten_2", "Gemm_3", "outside"))
    assert "holds Conv_0, Relu_1" in drawn


def test_kinds_beyond_the_palette_are_grey(measurement, graph):
    times = tuple(OperatorTime(f"n{i}", f"Op{i}", 100.0 - i) for i in range(10))
    colours = treemap.colour_classes(operators.of_measurement(measurement(operators=times), graph, None))
    assert [colours[f"Op{i}"] for i in (0, 6, 7, 9)] == ["k0", "k6", "k7", "k7"]
