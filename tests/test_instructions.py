import numpy as np
import pytest

from hwprof import instructions
from hwprof.instructions import CLASSES


def counts(fma: int, load: int = 0) -> dict[str, int]:
    return dict.fromkeys(CLASSES, 0) | {"fma": fma, "load": load}


def test_every_class_is_described():
    assert list(instructions.DESCRIPTIONS) == list(CLASSES)


def test_the_median_is_taken_by_class():
    found = instructions.median([counts(1, 9), counts(2, 8), counts(6, 7)])
    assert (found["fma"], found["load"]) == (2, 8)


def test_the_spread_is_that_of_the_totals():
    assert instructions.spread([counts(100), counts(99, 2), counts(100)]) == pytest.approx(0.01)
    assert instructions.spread([counts(100)]) == 0


def test_a_vector_has_the_order_of_the_classes():
    np.testing.assert_array_equal(np.array(CLASSES)[instructions.vector(counts(7)) > 0], ["fma"])
