import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.spaces import checked, index_of


def test_an_architecture_of_numpy_integers_becomes_a_tuple_of_ints():
    arch = checked("toy", (2, 3), np.array([1, 2]))
    assert arch == (1, 2)
    assert all(type(choice) is int for choice in arch)


@pytest.mark.parametrize(
    ("arch", "text"),
    [
        ((1,), "toy: an architecture has 2 positions, 1 were given"),
        ((1, 3), "toy: position 1 is 3; choose an integer from 0 to 2"),
        ((-1, 0), "toy: position 0 is -1; choose an integer from 0 to 1"),
        ((0.5, 0), "toy: position 0 is 0.5; choose an integer from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_named_with_its_position(arch, text):
    with pytest.raises(InputError) as error:
        checked("toy", (2, 3), arch)
    assert str(error.value) == text


def test_an_unknown_option_is_an_error_that_lists_the_known_ones():
    assert index_of("toy", "kernel", 5, (3, 5)) == 1
    with pytest.raises(InputError, match="toy: no kernel is 4; choose one of: 3, 5"):
        index_of("toy", "kernel", 4, (3, 5))
