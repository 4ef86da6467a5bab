import pytest
import torch
from torch import nn

from hwprof.training import ParamGroup, TrainSettings
from hwprof.training.optimizers import Optimizers


def parameter(*values):
    made = nn.Parameter(torch.tensor(values))
    made.grad = torch.ones_like(made)
    return made


def test_biases_and_norms_need_not_decay():
    weight, bias = nn.Parameter(torch.ones(1, 1)), parameter(1.0)
    settings = TrainSettings(rate=0.5, momentum=0, weight_decay=0.1, decay_biases_and_norms=False)
    optimizers = Optimizers([weight, bias], [], settings)
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    optimizers.step()
    assert weight.item() == pytest.approx(0.95)
    assert bias.item() == 1.0


def test_a_group_has_its_own_rate_which_follows_the_schedule():
    weight, gate = parameter(0.0), parameter(0.0)
    settings = TrainSettings(epochs=2, rate=0.5, momentum=0)
    optimizers = Optimizers([weight, gate], [ParamGroup([gate], rate=10.0)], settings)
    optimizers.set_rates(1.0)
    optimizers.step()
    assert (weight.item(), gate.item()) == pytest.approx((-0.25, -5.0))


def test_a_group_can_have_another_optimizer():
    weight, gate = parameter(0.0), parameter(0.0)
    gate.grad = torch.tensor([100.0])
    settings = TrainSettings(rate=0.5, momentum=0)
    optimizers = Optimizers([weight], [ParamGroup([gate], rate=0.1, optimizer="adam")], settings)
    optimizers.set_rates(0)
    optimizers.step()
    assert weight.item() == -0.5
    assert gate.item() == pytest.approx(-0.1)  # Adam's first step has the length of its rate


def test_only_the_networks_gradients_are_clipped():
    weight, gate = parameter(0.0), parameter(0.0)
    settings = TrainSettings(rate=1.0, momentum=0, max_gradient_norm=0.5)
    optimizers = Optimizers([weight, gate], [ParamGroup([gate], rate=1.0)], settings)
    optimizers.step()
    assert weight.item() == pytest.approx(-0.5, rel=1e-5)
    assert gate.item() == -1.0


def test_parameters_without_a_gradient_are_left_out():
    fixed, free = nn.Parameter(torch.zeros(1), requires_grad=False), parameter(0.0)
    assert Optimizers([fixed, free], [], TrainSettings()).parameters == [free]
