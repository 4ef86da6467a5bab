import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.predictors import neural
from hwprof.predictors.base import LATENCY
from hwprof.predictors.foothill import foothill, foothill_curvature, foothill_slope
from hwprof.predictors.mlp import MlpPredictor
from tests.tiny_space import TinySpace

X = torch.linspace(-5, 5, 401, dtype=torch.float64)


def test_with_a_large_beta_it_is_the_size():
    torch.testing.assert_close(foothill(X, 1.0, 1e4), X.abs(), atol=1e-12, rtol=0)


def test_with_a_small_beta_it_is_the_square():
    beta = 1e-7
    torch.testing.assert_close(foothill(X, 2 / beta, beta), X.square(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("beta", [0.5, 2.0, 7.0])
def test_its_derivative_is_the_sign_swish(beta):
    share = torch.sigmoid(beta * X)
    sign_swish = 2 * share * (1 + beta * X * (1 - share)) - 1
    torch.testing.assert_close(foothill_slope(X, 1.0, beta), sign_swish, atol=1e-12, rtol=0)


@pytest.mark.parametrize("of", [(foothill, foothill_slope), (foothill_slope, foothill_curvature)])
def test_each_function_is_the_derivative_of_the_one_before(of):
    function, slope = of
    x = X.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(x, 1.5, 3.0).sum(), x)
    torch.testing.assert_close(slope(X, 1.5, 3.0), found, atol=1e-12, rtol=0)


def test_it_is_even_and_grows_away_from_0():
    y = foothill(X, 1.0, 2.0)
    torch.testing.assert_close(y, y.flip(0), atol=1e-12, rtol=0)
    assert bool((y[200:].diff() > 0).all())


@pytest.mark.parametrize("share", [0.03, 0.1])
def test_as_a_loss_under_heavy_tails_it_is_as_good_as_the_better_of_l1_and_l2(share):
    """Latencies with noise of 3 or 10 % times Student's t with 1.5 degrees of freedom, whose variance is infinite."""
    rows = np.array(list(itertools.product(range(4), range(4), range(2), range(2))))
    codes = neural.as_tensor(np.concatenate([np.eye(4)[rows[:, :2]].reshape(-1, 8), rows[:, 2:]], axis=1))
    true_ms = 1 + rows @ [0.5, 0.3, 0.8, 0.4] + 0.2 * rows[:, 0] * rows[:, 2]
    errors = dict.fromkeys(("l1", "l2", "foothill"), 0.0)
    for seed in range(4):
        noise = share * np.random.default_rng(seed).standard_t(1.5, len(rows))
        measured_ms = true_ms * np.clip(1 + noise, 0.2, 5)
        units = neural.Units.of(measured_ms, LATENCY)
        for loss in errors:
            module = neural.seeded(
                seed, lambda: nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1), nn.Softplus())
            )
            target = units.to_units(measured_ms)
            neural.train(module, partial(_loss, units, module, codes, target, loss), 150, 2e-2)
            with torch.no_grad():
                errors[loss] += np.abs(units.from_units(module(codes)[:, 0]) - true_ms).mean()
    assert errors["foothill"] <= 1.02 * min(errors["l1"], errors["l2"]), errors


def _loss(units, module, codes, target, name, _step):
    return units.loss(module(codes)[:, 0], target, name)


def test_the_mlp_predictor_learns_with_it():
    archs = list(itertools.product(*map(range, TinySpace.choices)))
    ms = 1 + np.array(archs) @ [0.5, 0.3, 0.8, 0.4]
    predictor = MlpPredictor(TinySpace(), hidden=(16,), steps=60, learning_rate=3e-2, soft_weight=0.0, loss="foothill")
    assert np.abs(predictor.fit(archs, ms).predict(archs) / ms - 1).mean() < 0.1


def test_an_unknown_loss_is_refused_with_the_known_ones():
    units = neural.Units.of(np.ones(3), LATENCY)
    with pytest.raises(InputError, match="no loss of predictors is named 'l3'; known: smooth_l1, l1, l2, foothill"):
        units.loss(torch.ones(3), torch.ones(3), "l3")
