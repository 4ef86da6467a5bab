import math

import pytest
import torch

from hwprof.compress.learned_grid import LEAST_BITS, MOST_BITS, PowerGrid, UniformGrid, powers_of_two, uniform

X = torch.tensor([-2.0, -0.9, -0.3, 0.0, 0.24, 0.26, 0.74, 1.0, 3.0], dtype=torch.float64)
UNIFORM = ("d_qmax", "b_d", "b_qmax")


def leaf(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def straight_through_uniform(x, step, q_max):
    """The same quantizer of ordinary operators, in which only the rounding has the gradient of the identity."""
    steps = x.abs() / step
    rounded = steps + (torch.floor(steps + 0.5) - steps).detach()
    return torch.where(x.abs() <= q_max, x.sign() * step * rounded, x.sign() * q_max)


def test_values_are_the_nearest_steps_within_the_range():
    expected = [-1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert uniform(X, torch.tensor(0.5), torch.tensor(1.0)).tolist() == expected


def test_gradients_of_step_and_range_are_those_of_equation_3c():
    for i, x in enumerate(X):
        step, q_max = leaf(0.5), leaf(1.0)
        value = uniform(x[None], step, q_max)
        value.sum().backward()
        inside = abs(X[i].item()) <= 1
        assert step.grad.item() == pytest.approx(((value.item() - x.item()) / 0.5) if inside else 0.0)
        assert q_max.grad.item() == pytest.approx(0.0 if inside else math.copysign(1, x.item()))
        assert abs(step.grad.item()) <= 0.5  # it is bounded, whatever the range


def test_gradients_are_those_of_ordinary_operators_with_a_straight_through_rounding():
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    weights = torch.linspace(1, 2, 101, dtype=torch.float64)
    found = []
    for quantizer in (uniform, straight_through_uniform):
        leaves = [x.clone().requires_grad_(), leaf(0.37), leaf(1.9)]
        (quantizer(*leaves) * weights).sum().backward()
        found.append([tensor.grad for tensor in leaves])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_of_the_range_is_the_true_derivative():
    step = torch.tensor(0.4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q_max: uniform(X, step, q_max), leaf(1.5))


@pytest.mark.parametrize("parametrization", UNIFORM)
def test_all_parametrizations_start_as_one_grid_of_four_bits(parametrization):
    weight = torch.linspace(-0.9, 0.7, 50)
    grid = UniformGrid(weight, parametrization)
    step, q_max = (value.item() for value in grid.values())
    assert (step, q_max, grid.bits()) == (0.125, 0.875, 4)  # 2 ** floor(log2(0.9 / 7)), and 7 of it


def test_with_bits_and_step_the_gradient_of_the_bits_grows_with_two_to_their_power():
    gradients = []
    for bits in (3.0, 6.0):
        grid = UniformGrid(torch.ones(4), "b_d")
        with torch.no_grad():
            grid.first.fill_(bits)
        grid(torch.full((4,), 1e3)).sum().backward()
        gradients.append(grid.first.grad.item())
    assert gradients[1] / gradients[0] == pytest.approx(8)


def test_bits_are_whole_and_enough_for_all_values():
    grid = UniformGrid(torch.ones(4))
    for bits in range(LEAST_BITS, MOST_BITS + 1):
        with torch.no_grad():
            grid.second.copy_(grid.first * (2 ** (bits - 1) - 1))
        assert grid.bits() == bits
        with torch.no_grad():
            grid.second.mul_(1.1)
        assert grid.bits() == bits + 1


@pytest.mark.parametrize("parametrization", UNIFORM)
@pytest.mark.parametrize("bits", range(LEAST_BITS, MOST_BITS + 1))
def test_a_fixed_grid_has_its_bits_and_no_gradients(parametrization, bits):
    weight = torch.randn(500, generator=torch.Generator().manual_seed(0))
    grid = UniformGrid(weight, parametrization)
    with torch.no_grad():
        grid.fix(weight, bits)
    x = weight.clone().requires_grad_()
    value = grid(x)
    assert grid.bits() == bits
    assert len(value.unique()) <= 2**bits - 1
    value.sum().backward()
    assert grid.first.grad is None


def test_fewer_bits_lose_more():
    weight = torch.randn(500, generator=torch.Generator().manual_seed(0))
    for grid in (UniformGrid(weight), PowerGrid(weight)):
        lost = [grid.lost_share(weight, bits) for bits in range(LEAST_BITS, 6)]
        assert lost == sorted(lost, reverse=True)
        assert lost[0] < 0.5


def test_powers_of_two_are_the_nearest_by_their_exponents():
    x = torch.tensor([-3.0, -0.7, -0.3, 0.0, 0.01, 0.35, 0.36, 1.0, 9.0])
    value = powers_of_two(x, torch.tensor(0.25), torch.tensor(2.0))
    assert value.tolist() == [-2.0, -0.5, -0.25, 0.25, 0.25, 0.25, 0.5, 1.0, 2.0]


def test_gradients_of_powers_of_two_go_to_the_end_that_clips():
    x = torch.tensor([0.1, -0.2, 0.6, 3.0, -5.0, 7.0], requires_grad=True)
    q_min, q_max = torch.tensor(0.25, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    powers_of_two(x, q_min, q_max).sum().backward()
    assert (q_min.grad.item(), q_max.grad.item()) == (0, 1)  # 1 - 1, and 1 - 1 + 1
    torch.testing.assert_close(x.grad, torch.tensor([0, 0, 0.5 / 0.6, 0, 0, 0]))


def test_what_a_step_did_is_taken_back_to_a_grid():
    weight = torch.ones(4)
    grid = UniformGrid(weight)
    with torch.no_grad():
        grid.first.fill_(5.0)
    grid.limit()
    step, q_max = grid.values()
    assert 0 < step < q_max
    with torch.no_grad():
        grid.first.fill_(-1.0)
    grid.limit()
    assert grid.bits() == MOST_BITS


def test_gradients_are_cut_to_the_size_of_a_step():
    grid = UniformGrid(torch.ones(4))
    (1e6 * grid(torch.full((4,), 0.33))).sum().backward()
    grid.cut_gradients()
    assert abs(grid.first.grad.item()) == grid.first.item()
