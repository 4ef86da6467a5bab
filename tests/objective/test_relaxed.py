import itertools

import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.objective.relaxed import (
    Additive,
    DistillSettings,
    Tabulated,
    additive,
    distill,
    draw,
    one_hot,
    random_probabilities,
    uniform_archs,
)

CHOICES = (2, 3)
TABLE_MS = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 9.0]])
P = torch.tensor([[0.25, 0.75, 0.5, 0.3, 0.2]], dtype=torch.float64)


def test_a_tabulated_latency_is_the_mean_over_all_architectures():
    by_hand = sum(P[0, i] * P[0, 2 + j] * TABLE_MS[i, j] for i, j in itertools.product(range(2), range(3)))
    assert Tabulated(CHOICES, TABLE_MS.ravel())(P).item() == pytest.approx(by_hand.item())


def test_an_additive_latency_is_the_mean_over_all_choices():
    assert Additive(5.0, [np.array([0.0, 4.0]), np.array([1.0, 2.0, 3.0])])(P).item() == pytest.approx(5 + 3 + 1.7)


@pytest.mark.parametrize(
    "relaxed",
    [Additive(5.0, [np.array([0.0, 4.0]), np.array([1.0, 2.0, 3.0])]), Tabulated(CHOICES, TABLE_MS.ravel())],
    ids=["additive", "tabulated"],
)
def test_gradients_are_right_in_double_precision(relaxed):
    assert torch.autograd.gradcheck(relaxed, (P.clone().requires_grad_(),))


def test_one_hot_codes_stand_at_the_offset_of_their_position():
    assert one_hot(CHOICES, np.array([[1, 0], [0, 2]])).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]


def test_an_additive_source_is_recognized_from_its_latencies():
    times = [np.array([0.0, -0.5]), np.array([1.0, 2.0, 4.0])]
    archs = uniform_archs(CHOICES, 70, np.random.default_rng(0))
    found = additive(CHOICES, archs, 3 + times[0][archs[:, 0]] + times[1][archs[:, 1]])
    assert found(P).item() == pytest.approx(3 - 0.375 + 0.5 + 0.6 + 0.8)


def test_a_source_with_interactions_is_not_taken_for_additive():
    archs = uniform_archs(CHOICES, 70, np.random.default_rng(0))
    assert additive(CHOICES, archs, TABLE_MS[archs[:, 0], archs[:, 1]]) is None


def test_too_few_architectures_cannot_tell_that_a_source_is_additive():
    archs = uniform_archs(CHOICES, 20, np.random.default_rng(0))
    with pytest.raises(InputError, match="20 architectures cannot tell"):
        additive(CHOICES, archs, np.ones(20))


def test_random_probabilities_add_up_to_one_and_go_from_uniform_to_decided():
    p = random_probabilities((4, 4), 400, np.random.default_rng(0)).reshape(-1, 2, 4)
    np.testing.assert_allclose(p.sum(axis=-1), 1.0)
    assert p.max(axis=-1).min() < 0.3
    assert p.max(axis=-1).max() > 0.99


def test_drawn_architectures_follow_the_probabilities():
    drawn = draw(CHOICES, P.numpy(), 20_000, np.random.default_rng(0))
    assert drawn.shape == (1, 20_000, 2)
    shares = [np.mean(drawn[0, :, 0] == 1), *(np.mean(drawn[0, :, 1] == c) for c in range(3))]
    np.testing.assert_allclose(shares, [0.75, 0.5, 0.3, 0.2], atol=0.015)


def test_a_choice_without_probability_is_never_drawn():
    p = np.array([[0.0, 1.0, 0.5, 0.0, 0.5]])
    drawn = draw(CHOICES, p, 2000, np.random.default_rng(0))[0]
    assert set(drawn[:, 0]) == {1}
    assert set(drawn[:, 1]) == {0, 2}


def test_the_same_seed_distills_the_same_network_and_leaves_the_global_one_alone():
    settings = DistillSettings(archs=50, steps=10, warmup=5, hidden=8)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, second = (distill(CHOICES, lambda a: TABLE_MS[a[:, 0], a[:, 1]], settings)(P).item() for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_source_of_latencies_that_are_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        distill(CHOICES, lambda archs: np.full(len(archs), np.nan), DistillSettings(archs=20))
