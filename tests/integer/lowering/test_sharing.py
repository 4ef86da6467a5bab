import numpy as np

from hwprof.integer.lowering.sharing import Shared


def test_equal_arrays_are_kept_once():
    shared = Shared()
    first = shared.keep(np.arange(6, dtype=np.int8))
    assert shared.keep(np.arange(6, dtype=np.int8)) is first
    assert shared.size_bytes == 6


def test_arrays_of_another_type_or_shape_are_others():
    shared = Shared()
    arrays = [np.zeros(4, np.int8), np.zeros(4, np.uint8), np.zeros((2, 2), np.int8)]
    assert len({id(shared.keep(array)) for array in arrays}) == 3


def test_a_transposed_array_is_kept_by_its_values():
    shared = Shared()
    kept = shared.keep(np.arange(6).reshape(2, 3).T)
    assert kept.flags.c_contiguous
    assert shared.keep(np.array([[0, 3], [1, 4], [2, 5]])) is kept
