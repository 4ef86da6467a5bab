import math

import pytest
import torch

from hwprof.errors import InputError
from hwprof.objective.loss import LatencyLoss

SHAPES = ["hinge", "abs", "linear", "log", "power"]


@pytest.mark.parametrize(
    ("shape", "below", "above"),
    [
        ("hinge", 0.0, 0.5),
        ("abs", 0.5, 0.5),
        ("linear", 0.5, 1.5),
        ("log", math.log(0.5), math.log(1.5)),
        ("power", 0.25, 2.25),
    ],
)
def test_the_loss_at_half_and_at_one_and_a_half_times_the_target(shape, below, above):
    loss = LatencyLoss(target_ms=8.0, shape=shape, weight=2.0, exponent=2.0)
    values = loss(torch.tensor([4.0, 12.0], dtype=torch.float64))
    assert values.tolist() == pytest.approx([2 * below, 2 * above])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_right_in_double_precision(shape):
    latency_ms = torch.tensor([3.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LatencyLoss(8.0, shape), (latency_ms,))


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="'square'; known: hinge, abs, linear, log, power"):
        LatencyLoss(8.0, "square")


@pytest.mark.parametrize("target_ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_target_that_is_no_latency_is_refused(target_ms):
    with pytest.raises(InputError, match="positive number of ms"):
        LatencyLoss(target_ms)
