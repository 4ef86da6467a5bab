"""Sizes of results that the values of operands decide, worked out by hand."""

import numpy as np
import pytest

from hwprof.graph import Node
from hwprof.onnx_io.result_size import MOST_ELEMENTS, is_moderate

HUGE = 10**10


def moderate(op: str, *operands) -> bool:
    values = {f"i{i}": np.asarray(o) for i, o in enumerate(operands) if o is not None}
    return is_moderate(
        Node(op, tuple(f"i{i}" if o is not None else "" for i, o in enumerate(operands)), ("y",)), values
    )


@pytest.mark.parametrize(
    ("op", "operands"),
    [
        ("Range", (0, HUGE, 1)),
        ("Range", (0.0, 1.0, 1e-30)),
        ("HannWindow", (HUGE,)),
        ("ConstantOfShape", ([100_000, 100_000],)),
        ("Expand", ([1], [HUGE])),
        ("Tile", ([1, 2], [HUGE])),
        ("Pad", ([1], [0, HUGE])),
        ("OneHot", ([1], HUGE, [0, 1])),
        ("Resize", ([1.0], None, [1e10])),
        ("Resize", ([1.0], None, None, np.array([HUGE]))),
        ("MelWeightMatrix", (100_000, 100_000, 1, 0.0, 1.0)),
        ("Add", (np.zeros((4096, 1)), np.zeros((1, 4096)))),
        ("Einsum", (np.zeros(4096), np.zeros(4096))),
    ],
)
def test_a_result_that_is_too_large_to_compute(op, operands):
    assert not moderate(op, *operands)


@pytest.mark.parametrize(
    ("op", "operands"),
    [
        ("Range", (0, MOST_ELEMENTS, 1)),
        ("Range", (5, 0, 1)),
        ("Range", (0, 1, 0)),
        ("HannWindow", (400,)),
        ("ConstantOfShape", ([],)),
        ("Expand", (np.zeros(4096), [1, 4096])),
        ("Tile", ([1, 2], [3])),
        ("Pad", (np.zeros((2, 2)), [0, 0, 0, 0])),
        ("Resize", ([1.0], None, [2.0])),
        ("Concat", ([1], [2, 3])),
        ("Expand", ([1],)),
    ],
)
def test_a_result_that_is_computed(op, operands):
    assert moderate(op, *operands)
