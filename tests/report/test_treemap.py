"""Areas in proportion to times."""

import pytest

from hwprof.measurement import OperatorTime
from hwprof.report import operators, treemap
from hwprof.report.svg import words_width
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


@pytest.mark.parametrize("width", [400, 1112])
def test_no_label_runs_over_its_box(measurement, graph, image, width):
    names = ("Conv", "QLinearGlobalAveragePool", "MMMMMMMMMM", "WWW_%%%%", "illi")
    times = tuple(
        OperatorTime(f"{op}_{i}", op, 1e6 / (1 + j) / (1 + i)) for j, op in enumerate(names) for i in range(6)
    )
    drawn = image(treemap.draw(operators.of_measurement(measurement(operators=times), graph, None), width, 380))
    for class_, holders, size in (("strong", ("tile-frame",), 12), ("tile-text", ("tile", "tile-frame"), 11)):
        marks = [e for holder in holders for e in drawn.marks(holder)]
        boxes = [tuple(float(e.get(n)) for n in ("x", "y", "width", "height")) for e in marks]
        labels = drawn.marks(class_)
        assert labels
        for label in labels:
            x, y = float(label.get("x")), float(label.get("y"))
            right = min(b[0] + b[2] for b in boxes if b[0] <= x <= b[0] + b[2] and b[1] <= y <= b[1] + b[3])
            assert x + words_width(label.text or "", size, is_bold=class_ == "strong") <= right
