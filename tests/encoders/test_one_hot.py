import pytest

from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.errors import InputError


def test_each_position_has_one_column_per_choice():
    codes = OneHotEncoder(choices=(2, 3)).fit([]).transform([(1, 0), (0, 2)])
    assert codes.tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]


def test_choices_are_learned_where_none_are_given():
    assert OneHotEncoder().fit([(0, 2), (1, 0)]).choices_ == (2, 3)


@pytest.mark.parametrize(
    ("arch", "reason"), [((0, 3), "row 0: position 1 is 3; choose from 0 to 2"), ((0,), "row 0 has 1 positions")]
)
def test_an_architecture_outside_of_the_space_is_refused(arch, reason):
    with pytest.raises(InputError, match=reason):
        OneHotEncoder(choices=(2, 3)).fit([]).transform([arch])


def test_architectures_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="several lengths"):
        OneHotEncoder().fit([(0, 1), (0,)])
