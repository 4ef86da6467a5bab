from types import SimpleNamespace

import pytest

from hwprof.compress import metric_direction
from hwprof.errors import InputError
from hwprof.interfaces import higher_is_better


@pytest.mark.parametrize("name", ["RMSE, mm", "word error, %", "my.py:loss", "mse"])
def test_a_metric_with_the_name_of_an_error_that_does_not_say_its_direction_is_doubtful(name):
    assert f"larger figures of the metric {name!r} count as better" in metric_direction.doubt(object(), name)


@pytest.mark.parametrize("name", ["accuracy, %", "PSNR, dB", "lossless share", "my.py:agreement"])
def test_other_names_are_not_doubtful(name):
    assert metric_direction.doubt(object(), name) == ""


@pytest.mark.parametrize("told", [True, False])
def test_a_direction_that_is_told_is_not_doubtful(told):
    assert metric_direction.doubt(SimpleNamespace(higher_is_better=told), "mse") == ""


def test_larger_is_better_unless_told_otherwise():
    assert higher_is_better(object())
    assert not higher_is_better(SimpleNamespace(higher_is_better=False))


def test_a_direction_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(InputError, match="higher_is_better of 'fid' is None; it must be True or False"):
        metric_direction.doubt(SimpleNamespace(name="fid", higher_is_better=None), "FID")


def test_only_the_other_direction_is_a_part_of_keys():
    assert metric_direction.of_key(object()) == {}
    assert metric_direction.of_key(SimpleNamespace(higher_is_better=False)) == {"higher_is_better": False}
