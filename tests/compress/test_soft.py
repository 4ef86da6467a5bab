import numpy as np
import pytest
import torch

from hwprof.compress.choice import AS_BEFORE, Choice
from hwprof.compress.method import SoftChoice
from hwprof.compress.soft import Interpolated
from hwprof.errors import InputError

POINTS = {
    ("a", "kept"): [(32.0, None), (16.0, 16), (8.0, 8)],
    ("b", "kept"): [(32.0, None), (16.0, 16)],
    ("b", "groups"): [(1.0, None), (2.0, 2), (4.0, 4)],
}


def product(choices):
    """Two layers whose work multiplies, the second one shared by groups: 4 for both as before."""
    a, b = (choices.get(layer, AS_BEFORE) for layer in "ab")
    return (a.kept or 32) / 16 * (b.kept or 32) / 16 / (b.groups or 1)


def cost():
    return Interpolated(lambda many: np.array([product(c) for c in many]), lambda *key: POINTS.get(key, []))


def soft(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("kept", "expected"), [(32.0, 4.0), (24.0, 3.0), (16.0, 2.0), (12.0, 1.5), (8.0, 1.0)])
def test_one_soft_choice_is_linear_between_its_options(kept, expected):
    value = soft(kept)
    found = cost()({"a": SoftChoice(kept=value)})
    assert found.item() == pytest.approx(expected)
    (slope,) = torch.autograd.grad(found, value)
    assert float(slope) == pytest.approx(1 / 8)


def test_beyond_the_options_it_is_constant_and_has_no_gradient():
    for kept, expected in ((2.0, 1.0), (40.0, 4.0)):
        value = soft(kept)
        found = cost()({"a": SoftChoice(kept=value)})
        assert found.item() == expected
        assert float(torch.autograd.grad(found, value)[0]) == 0


def test_hard_choices_are_exact_and_may_be_beside_soft_ones():
    assert float(cost()({"a": Choice(kept=8), "b": Choice(kept=16)})) == 0.5
    assert float(cost()({"a": Choice(kept=8), "b": SoftChoice(kept=24.0)})) == pytest.approx(0.75)


def test_two_layers_do_not_save_the_time_of_what_they_share_twice():
    values = soft(16.0), soft(16.0)
    found = cost()({"a": SoftChoice(kept=values[0]), "b": SoftChoice(kept=values[1])})
    assert found.item() == 1.0  # of 4; each alone saves 2
    between = cost()({"a": SoftChoice(kept=12.0), "b": SoftChoice(kept=24.0)})
    assert float(between) == 2.0 - 0.5 - 0.5  # the product is 1.125; savings against as before would give 0.5


def test_its_gradient_is_that_of_differences():
    def priced(a, b, groups):
        return cost()({"a": SoftChoice(kept=a), "b": SoftChoice(kept=b, groups=groups)})

    assert torch.autograd.gradcheck(priced, (soft(13.7), soft(20.5), soft(1.4)))


def test_more_groups_are_a_smaller_network():
    value = soft(3.0)
    found = cost()({"b": SoftChoice(groups=value)})
    assert found.item() == pytest.approx(1.5)
    assert float(torch.autograd.grad(found, value)[0]) == pytest.approx(-0.5)


def test_a_tensor_in_a_plain_choice_is_soft_too():
    assert cost()({"a": Choice(kept=soft(24.0))}).item() == pytest.approx(3.0)


def test_options_are_priced_once():
    asked = []
    priced = Interpolated(lambda many: [asked.append(c) or product(c) for c in many], lambda *key: POINTS[key])
    for kept in (24.0, 23.0, 20.0):
        priced({"a": SoftChoice(kept=soft(kept))})
    assert asked == [{}, {"a": Choice(kept=16)}]


@pytest.mark.parametrize(
    ("layer", "choice", "message"),
    [
        ("a", SoftChoice(kept=float("nan")), "kept of layer 'a' must be one finite number, not nan"),
        ("a", SoftChoice(bits=3.4), "layer 'a' has no options of bits, so that a soft choice of it has no cost"),
    ],
)
def test_what_has_no_cost_is_refused(layer, choice, message):
    with pytest.raises(InputError, match=message):
        cost()({layer: choice})
