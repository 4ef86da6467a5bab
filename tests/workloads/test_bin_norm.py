import pytest
import torch

from hwprof.errors import InputError
from hwprof.workloads.bin_norm import bin_norm, ones_of

LOGITS = 3 * torch.randn(20, 256, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("k", [1, 64, 255])
def test_the_bits_of_training_add_up_to_k(k):
    torch.testing.assert_close(bin_norm(LOGITS, k).sum(-1), torch.full((20,), float(k)), atol=1e-3, rtol=0)


def test_inference_has_exactly_k_ones_and_they_are_the_largest_logits():
    bits = ones_of(LOGITS, 64)
    assert (bits.sum(-1) == 64).all()
    for row, logits in zip(bits, LOGITS, strict=True):
        assert logits[row].min() >= logits[~row].max()


def test_equal_logits_still_have_k_ones():
    assert ones_of(torch.zeros(3, 8), 3).sum(-1).tolist() == [3, 3, 3]


def test_the_gradient_is_that_of_finite_differences():
    logits = torch.randn(2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: bin_norm(x, 3), (logits,))


def test_a_shift_of_all_logits_changes_nothing():
    torch.testing.assert_close(bin_norm(LOGITS + 5.0, 64), bin_norm(LOGITS, 64))


@pytest.mark.parametrize("k", [0, 256])
def test_a_number_of_ones_that_leaves_no_choice_is_refused(k):
    with pytest.raises(InputError, match="cannot be ones"):
        bin_norm(LOGITS, k)
