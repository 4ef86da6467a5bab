import pytest
import torch

from hwprof.errors import InputError
from hwprof.objective.sparsestmax import gumbel_softmax, sparsemax, sparsestmax

LOGITS = torch.randn(500, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_sparsemax_is_the_closest_point_of_the_simplex():
    assert sparsemax(torch.tensor([0.3, 0.1, -2.0])).tolist() == pytest.approx([0.6, 0.4, 0.0])
    assert sparsemax(torch.tensor([3.0, 0.0])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_the_result_is_a_probability_with_the_same_argmax_and_keeps_the_radius(radius):
    p = sparsestmax(LOGITS, radius)
    torch.testing.assert_close(p.sum(-1), torch.ones(500, dtype=torch.double))
    assert (p >= -1e-12).all()
    assert (p.argmax(-1) == LOGITS.argmax(-1)).all()
    assert ((p - 0.2).norm(dim=-1) >= radius * 0.8**0.5 - 1e-6).all()


def test_radius_0_is_sparsemax_and_radius_1_a_single_choice():
    assert torch.equal(sparsestmax(LOGITS, 0.0), sparsemax(LOGITS))
    assert ((sparsestmax(LOGITS, 1.0) > 0).sum(-1) == 1).all()


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.8])
def test_the_gradient_is_that_of_finite_differences(radius):
    z = torch.tensor([0.31, 0.12, 0.05, -0.4], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sparsestmax(x, radius), (z,))


def test_a_single_choice_still_has_a_gradient():
    z = torch.tensor([0.2, 0.1], requires_grad=True)
    (sparsestmax(z, 1.0) @ torch.tensor([1.0, 3.0])).backward()
    assert z.grad[1] > z.grad[0]


def test_a_gumbel_draw_has_the_frequencies_of_softmax():
    z = torch.tensor([1.0, 0.0, -1.0])
    draws = gumbel_softmax(z.expand(20_000, 3), 0.1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.sum(-1), torch.ones(20_000))
    chosen = torch.bincount(draws.argmax(-1), minlength=3) / 20_000
    torch.testing.assert_close(chosen, z.softmax(-1), atol=0.01, rtol=0)


@pytest.mark.parametrize("radius", [-0.1, 1.1, float("nan")])
def test_a_radius_that_is_no_share_is_refused(radius):
    with pytest.raises(InputError, match="the radius of sparsestmax is from 0 to 1"):
        sparsestmax(LOGITS, radius)


def test_a_temperature_of_0_is_refused():
    with pytest.raises(InputError, match="a temperature must be positive"):
        gumbel_softmax(LOGITS, 0.0)
