import numpy as np
import pytest

from hwprof.integer.program import program as ir
from hwprof.integer.program.program import Rescale
from hwprof.integer.run import reference
from tests.integer.programs import of_one

HALF = Rescale(np.array([2**30], np.int32), np.array([31], np.int32), zero=10)


def test_a_sum_of_products_worked_out_on_paper():
    weight = np.array([[[[3, -2]]]], np.int8)
    operation = ir.Convolution("c", (), "x", "y", weight, np.array([1], np.int32), HALF, 0)
    program = of_one(operation, {"x": (1, 1, 1, 2), "y": (1, 1, 1, 1)})
    # (1 + 3 * 7 - 2 * 4) / 2 = 7, and the zero point
    assert reference.run(program, {"x": np.array([[[[7, 4]]]], np.uint8)})["y"].item() == 17


def test_a_float_in_between_is_refused():
    operation = ir.Reshape("r", (), "x", "y")
    with pytest.raises(TypeError, match="float64 in an integer-only network"):
        reference.apply(operation, [np.zeros((2, 3))], (6,))


def test_a_float_constant_is_refused():
    operation = ir.Add("a", (), "x", "c", "y", (1, 1), 0, 1)
    program = of_one(operation, {"x": (2,), "c": (2,), "y": (2,)}, {"c": np.zeros(2)}.items())
    with pytest.raises(TypeError, match="float64"):
        reference.run(program, {"x": np.zeros(2, np.uint8)})
