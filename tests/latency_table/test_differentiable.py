import pytest
import torch

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, NumericAttribute, Row
from tests.latency_table.tables import METADATA, choices, staircase


def test_forward_is_the_step_and_backward_its_secant():
    gates = torch.full((20,), 0.6, requires_grad=True)  # 12 channels: the step from 8 to 16
    ms = staircase()(op="Conv", kernel=3, cin=4, cout=gates.sum())
    assert ms.item() == 3.0
    ms.backward()
    torch.testing.assert_close(gates.grad, torch.full((20,), (3.0 - 1.0) / 8))


def test_each_attribute_has_its_own_slope_with_the_others_held_at_their_steps():
    cin = torch.tensor(6.0, requires_grad=True)
    cout = torch.tensor(20.0, requires_grad=True)
    staircase()(op="Conv", kernel=3, cin=cin, cout=cout).backward()
    assert cin.grad.item() == (8.0 - 4.0) / 4  # cout at 24, cin from 4 to 8
    assert cout.grad.item() == (8.0 - 6.0) / 8  # cin at 8, cout from 16 to 24


def test_the_first_step_borrows_the_slope_of_the_next():
    cout = torch.tensor(5.0, requires_grad=True)
    staircase()(op="Conv", kernel=3, cin=4, cout=cout).backward()
    assert cout.grad.item() == (3.0 - 1.0) / 8


def test_a_slope_of_falling_latency_is_negative():
    rows = tuple(Row.of("Conv", {"sparsity": s}, ms) for s, ms in ((0.0, 4.0), (0.5, 3.0), (0.9, 1.0)))
    table = LatencyTable(METADATA, rows, (NumericAttribute("sparsity", rounds="down"),))
    sparsity = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    ms = table(op="Conv", sparsity=sparsity)
    ms.backward()
    assert ms.item() == 3.0
    assert sparsity.grad.item() == pytest.approx((1.0 - 3.0) / 0.4)


def test_a_batch_of_values_keeps_its_shape():
    cout = torch.tensor([[4.0, 12.0], [20.0, 24.0]], requires_grad=True)
    ms = staircase()(op="Conv", kernel=3, cin=4, cout=cout)
    assert ms.tolist() == [[1.0, 3.0], [4.0, 4.0]]
    ms.sum().backward()
    assert cout.grad.tolist() == [[0.25, 0.25], [0.125, 0.125]]


def test_an_unknown_slope_is_an_error_and_not_zero():
    cout = torch.tensor(8.0, requires_grad=True)
    ms = staircase()(op="Conv", kernel=5, cin=4, cout=cout)
    assert ms.item() == 7.0
    with pytest.raises(InputError, match="slope along cout is unknown"):
        ms.backward()


def test_a_tensor_for_an_exact_attribute_is_refused_because_its_gradient_would_vanish():
    with pytest.raises(InputError, match="kernel is not a numeric attribute"):
        staircase()(op="Conv", kernel=torch.tensor(3.0), cin=4, cout=8)


def test_a_tensor_out_of_range_is_refused():
    with pytest.raises(InputError, match="out of the table's range"):
        staircase()(op="Conv", kernel=3, cin=4, cout=torch.tensor(30.0))


def test_expected_differentiates_to_the_latencies_of_the_choices():
    keys = [{"op": "choice", "position": 0, "choice": c} for c in range(3)]
    probs = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64, requires_grad=True)
    table = choices([[1.0, 2.0, 4.0]])
    assert torch.autograd.gradcheck(lambda p: table.expected(p, keys), (probs,))
    table.expected(probs, keys).backward()
    assert probs.grad.tolist() == [1.0, 2.0, 4.0]
