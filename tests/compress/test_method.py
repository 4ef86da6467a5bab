import numpy as np
import pytest

from hwprof import plugins
from hwprof.compress.choice import AS_BEFORE, Choice
from hwprof.compress.method import load
from hwprof.errors import InputError


def test_every_installed_method_is_loaded_anew_each_time():
    for name in plugins.names("method"):
        assert load(name).name == name
        assert load(name) is not load(name)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no method is named 'nope'; known: .*int8, .*low_rank, .*magnitude"):
        load("nope")


def test_a_choice_without_values_is_as_before():
    assert Choice() == AS_BEFORE != Choice(kept=8)


def test_a_copy_of_a_network_has_weights_of_its_own(opened):
    copy, before = opened.copy(), opened.weights
    for parameter in copy.module.weights():
        parameter.data.zero_()
    assert copy.graph == opened.graph
    assert all(np.array_equal(before[name], array) for name, array in opened.weights.items())
