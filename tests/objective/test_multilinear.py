import itertools

import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.objective.multilinear import first_archs, fit, multilinear
from hwprof.objective.relaxed import draw, one_hot, random_probabilities, uniform_archs

CHOICES = (3, 2, 4, 3)
EVERY = np.array(list(itertools.product(*map(range, CHOICES))))
P = random_probabilities(CHOICES, 5, np.random.default_rng(3))


def pairwise_ms(archs):
    """A latency of single choices and of one pair of them."""
    return 5.0 + archs[:, 0] + 2.0 * (archs[:, 1] == archs[:, 3]) + archs[:, 2] ** 2 / 4


def of_every_arch(p):
    """The probability of each architecture, [n_archs]."""
    return np.prod([np.split(p, np.cumsum(CHOICES)[:-1])[i][EVERY[:, i]] for i in range(4)], axis=0)


@pytest.fixture(scope="module")
def fitted():
    archs = uniform_archs(CHOICES, 60, np.random.default_rng(0))
    return fit(CHOICES, archs, pairwise_ms(archs))


def test_its_expectation_is_the_mean_of_its_own_architectures(fitted):
    own_ms = fitted(torch.from_numpy(one_hot(CHOICES, EVERY))).numpy()
    by_hand = [of_every_arch(p) @ own_ms for p in P]
    np.testing.assert_allclose(fitted(torch.from_numpy(P)).numpy(), by_hand, rtol=1e-9)


def test_it_learns_interactions_from_some_of_the_architectures(fitted):
    expected = [of_every_arch(p) @ pairwise_ms(EVERY) for p in P]
    np.testing.assert_allclose(fitted(torch.from_numpy(P)).numpy(), expected, rtol=0.02)


def test_the_error_left_out_is_that_on_fresh_architectures():
    rng = np.random.default_rng(1)
    archs, fresh = uniform_archs((6,) * 6, 150, rng), uniform_archs((6,) * 6, 500, rng)

    def latency_ms(a):
        return 20 + a.sum(axis=1) + 3 * np.sin(a[:, 0] * a[:, 1]) * np.cos(a[:, 2] * a[:, 3])

    found = fit((6,) * 6, archs, latency_ms(archs))
    errors = found(torch.from_numpy(one_hot((6,) * 6, fresh))).numpy() / latency_ms(fresh) - 1
    assert found.left_out_error == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.25)


def test_choices_that_cost_alike_are_known_to_do_alike():
    """The longer of two branches decides, of which 300 of 4 million cells do not show every combination."""
    choices, cost = (6,) * 12, np.array([0.0, 0.1, 0.5, 0.6, 1.9, 2.0])

    def longer_ms(archs):
        return 8 + np.maximum(cost[archs[:, :6]].sum(axis=1), cost[archs[:, 6:]].sum(axis=1))

    rng = np.random.default_rng(0)
    archs, fresh = uniform_archs(choices, 300, rng), uniform_archs(choices, 500, rng)
    errors = fit(choices, archs, longer_ms(archs))(torch.from_numpy(one_hot(choices, fresh))).numpy()
    assert np.abs(errors / longer_ms(fresh) - 1).mean() < 0.035


def test_single_precision_of_the_probabilities_changes_little(fitted):
    exact, single = fitted(torch.from_numpy(P)), fitted(torch.from_numpy(P).float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), exact.numpy(), rtol=1e-4)


def test_the_gradient_is_right_in_double_precision(fitted):
    assert torch.autograd.gradcheck(fitted, (torch.from_numpy(P[:2]).requires_grad_(),))


def test_no_more_is_asked_than_the_error_needs():
    asked = []

    def latency_ms(archs):
        asked.append(len(archs))
        return 30.0 + archs[:, 0] * archs[:, 1]

    archs = uniform_archs((4,) * 8, 1200, np.random.default_rng(0))
    assert multilinear((4,) * 8, archs, latency_ms).left_out_error < 0.01
    assert asked == [first_archs((4,) * 8)]


def test_twice_as_many_are_asked_until_there_are_no_more():
    asked = []
    rng = np.random.default_rng(0)

    def noise_ms(archs):
        asked.append(len(archs))
        return rng.uniform(1, 2, len(archs))

    multilinear((4,) * 8, uniform_archs((4,) * 8, 700, rng), noise_ms)
    assert asked == [300, 600, 700]


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_a_source_of_latencies_that_are_none_is_refused(bad):
    with pytest.raises(InputError, match="not positive and finite"):
        multilinear(CHOICES, EVERY, lambda archs: np.full(len(archs), bad))


def test_a_choice_without_probability_is_no_trouble(fitted):
    p = torch.from_numpy(one_hot(CHOICES, draw(CHOICES, P, 1, np.random.default_rng(0))[:, 0])).requires_grad_()
    fitted(p).sum().backward()
    assert bool(torch.isfinite(p.grad).all())
