import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwprof import tasks
from hwprof.builder import GraphBuilder
from hwprof.compress.ana import FIRST_SCALE, NOISES, WEIGHT_STAIRS, Ana, NoisyStair, Stair, interval, scale_at
from hwprof.compress.networks import open_network
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.training import TrainSettings, evaluate, fit
from tests.compress.board import DEVICE, task

SHAPES = list(NOISES)
STAIRS = [*WEIGHT_STAIRS.values(), Stair(0, 1, (0.5, 1.5, 2.5))]
X = torch.linspace(-2, 4, 601, dtype=torch.float64)


def nothing_known(_choices):
    return torch.tensor(math.nan)


def attached(method, opened):
    network = opened.copy()
    return network, method.attach(network, nothing_known)


def test_the_contract_of_methods_holds(opened):
    check_method(Ana, opened)


# -- theory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stair", STAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_expectation_is_the_mean_over_drawn_noise(shape, stair):
    torch.manual_seed(0)
    x, noise, draws = torch.tensor([-0.9, -0.3, 0.0, 0.2, 0.7]), NOISES[shape], 100_000
    mean = stair.hard(x + 0.4 * noise.draw(torch.Size((draws, 5)))).mean(0)
    torch.testing.assert_close(stair.expected(x, noise, 0.4), mean, atol=5 * 2 / math.sqrt(draws), rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_noises_have_the_deviation_of_the_uniform_one(shape):
    torch.manual_seed(0)
    assert NOISES[shape].draw(torch.Size((200_000,))).std().item() == pytest.approx(1 / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("stair", STAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_is_the_derivative_of_the_expectation(shape, stair):
    x = (X + 1e-4 * math.pi).requires_grad_()  # away from corners
    (slope,) = torch.autograd.grad(stair.expected(x, NOISES[shape], 0.3).sum(), x)
    torch.testing.assert_close(stair.slope(x.detach(), NOISES[shape], 0.3), slope)


@given(scale=st.floats(0.05, 0.5))
def test_with_uniform_noise_the_steepest_slope_is_the_jump_by_twice_the_scale(scale):
    stair = WEIGHT_STAIRS[2]
    rises = stair.expected(X, NOISES["uniform"], scale).diff() / X.diff()
    assert rises.max() <= stair.jump / (2 * scale) + 1e-9
    assert stair.slope(torch.tensor([0.5]), NOISES["uniform"], scale).item() == pytest.approx(stair.jump / (2 * scale))


@pytest.mark.parametrize("shape", SHAPES)
def test_as_the_noise_vanishes_the_expectation_becomes_the_stair(shape):
    stair = STAIRS[-1]
    away = X[(X[:, None] - torch.tensor(stair.thresholds)).abs().amin(1) > 0.1]
    errors = [(stair.expected(away, NOISES[shape], s) - stair.hard(away)).abs().max().item() for s in (0.4, 0.1, 0.01)]
    assert errors[0] > errors[1] >= errors[2]
    assert errors[2] < 1e-9
    assert torch.equal(stair.expected(X, NOISES[shape], 0.0), stair.hard(X))


@pytest.mark.parametrize("steps", [4, 16, 64])
def test_a_network_of_stairs_is_as_near_to_a_function_as_its_slope_and_their_number_say(steps):
    """A sum of hard steps for sin(3 x), whose slope is at most 3, on [0, 1]."""
    x = torch.linspace(0, 1, 2001, dtype=torch.float64)
    knots = [i / steps for i in range(steps)]
    made = sum(
        Stair(0, math.sin(3 * (k + 1 / steps / 2)) - math.sin(3 * (k - 1 / steps / 2)), (k,)).hard(x) for k in knots[1:]
    ) + math.sin(1.5 / steps)
    assert (made - torch.sin(3 * x)).abs().max() <= 3 / steps


# -- annealing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "second_of_four"),
    [("partition", (0.25, 0.5)), ("same_start", (0.0, 0.5)), ("same_end", (0.25, 1.0)), ("overlapped", (0.0, 1.0))],
)
def test_each_schedule_has_its_intervals(schedule, second_of_four):
    assert interval(schedule, 1, 4) == second_of_four


def test_the_noise_shrinks_with_a_power_of_what_is_left():
    assert [scale_at(p, 0.2, 0.6, 2) for p in (0.1, 0.2, 0.4, 0.6, 0.9)] == pytest.approx([0.5, 0.5, 0.125, 0, 0])
    assert scale_at(1.0, *interval("static", 0, 3), 2) == FIRST_SCALE


@pytest.mark.parametrize(("is_reversed", "falling"), [(False, False), (True, True)])
def test_layers_lose_their_noise_from_the_input_or_from_the_output(is_reversed, falling, opened):
    network, hooks = attached(Ana(is_reversed=is_reversed), opened)
    hooks.penalty(0.45)
    scales = [m.scale.item() for m in network.module.modules() if isinstance(m, NoisyStair)]
    assert len(scales) == 3
    assert scales == sorted(scales, reverse=falling)
    assert scales[0] != scales[-1]
    hooks.penalty(1.0)
    assert all(m.scale.item() == 0 for m in network.module.modules() if isinstance(m, NoisyStair))


def test_static_noise_with_the_mode_forward_is_the_straight_through_estimator():
    stair = NoisyStair(WEIGHT_STAIRS[2], "uniform", "mode").train()
    x = torch.tensor([-1.2, -0.7, 0.1, 0.9, 1.4], requires_grad=True)
    value = stair.stepped(x, torch.tensor(1.0))
    value.sum().backward()
    assert value.tolist() == [-1, -1, 0, 1, 1]
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_drawn_noise_gives_values_of_the_stair_and_none_in_evaluation():
    torch.manual_seed(0)
    stair = NoisyStair(WEIGHT_STAIRS[2], "normal", "random")
    x = torch.full((1000,), 0.45)
    drawn = stair.train().stepped(x, torch.tensor(1.0))
    assert set(drawn.tolist()) == {0, 1}
    assert stair.eval().stepped(x, torch.tensor(1.0)).unique().tolist() == [0]


@pytest.mark.parametrize("made", [{"schedule": "never"}, {"shape": "square"}, {"forward": "backward"}])
def test_unknown_words_are_refused_with_the_known_ones(made, opened):
    with pytest.raises(InputError, match=r"no .* is named .*; known: "):
        attached(Ana(**made), opened)


# -- networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 4])
def test_the_stored_network_computes_what_the_trained_one_computes(levels, opened):
    method = Ana(activation_levels=levels)
    network, hooks = attached(method, opened)
    fit(network.module, task(), TrainSettings(epochs=3, batch_size=16, rate=0.02), [hooks])
    small = method.finish(method.choices())
    (images,) = (torch.from_numpy(x[:, 0]) for x in opened.examples.values())
    with torch.no_grad():
        torch.testing.assert_close(small.module.eval()(images), network.module.eval()(images), atol=1e-5, rtol=1e-5)
    few = [n for n in small.graph.nodes if n.op == "QuantizeLinear"]
    assert len(few) == (0 if levels is None else 2)


def test_annealing_from_the_input_beats_annealing_from_the_output(tmp_path):
    b = GraphBuilder("net")
    x = b.input((1, 1, 8, 8))
    for channels, stride in ((8, 2), (16, 2), (16, 1)):
        x = b.relu(b.batch_norm(b.conv(x, channels, 3, stride=stride)))
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))
    digits = tasks.load("digits")
    settings = TrainSettings(epochs=8, rate=0.05, validation=None)
    accuracies = []
    for is_reversed in (False, True):
        opened = open_network(graph, digits, DEVICE, tmp_path)
        hooks = Ana(is_reversed=is_reversed, activation_levels=4).attach(opened, nothing_known)
        fit(opened.module, digits, settings, [hooks])
        accuracies.append(evaluate(opened.module, digits))
    assert accuracies[0] >= accuracies[1] + 3, np.round(accuracies, 1)
