import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwprof.compress.low_bit import nearest, projected
from hwprof.compress.method import load
from hwprof.compress.prox_connect import BinaryConnect, ProxConnect, ProxQuant, ReverseProxConnect, proximal
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.training import TrainSettings, fit
from tests.compress.board import task

ALL = [BinaryConnect, ProxConnect, ProxQuant, ReverseProxConnect]
SHORT = TrainSettings(epochs=3, batch_size=16, rate=0.05)
SHARES = st.floats(0, 1)
X = torch.linspace(-2.5, 2.5, 4001, dtype=torch.float64)


def trained(method, opened, settings=SHORT):
    network = opened.copy()
    hooks = method.attach(network, lambda _choices: torch.tensor(float("nan")))
    fit(network.module, task(), settings, [hooks])
    return network


@pytest.mark.parametrize("make", ALL)
def test_the_contract_of_methods_holds(make, opened):
    check_method(make, opened)


@pytest.mark.parametrize("bits", [1, 2])
def test_the_map_is_the_identity_without_strength_and_the_projection_with_all_of_it(bits):
    assert torch.equal(proximal(X, bits, 0.0), X)
    assert torch.equal(proximal(X, bits, 1.0), nearest(X, bits))


@pytest.mark.parametrize("bits", [1, 2])
@given(strength=SHARES, jump=SHARES)
def test_the_map_never_falls_and_never_leaves_the_way_to_the_nearest_value(bits, strength, jump):
    mapped, value = proximal(X, bits, strength, jump), nearest(X, bits)
    assert bool((mapped.diff() >= -1e-12).all())
    assert bool(((mapped - value).abs() <= torch.maximum((X - value).abs(), torch.tensor(1 / bits)) + 1e-12).all())


@pytest.mark.parametrize("bits", [1, 2])
@given(strength=st.floats(0, 0.95))
def test_without_a_jump_two_weights_come_apart_by_no_more_than_the_strength_allows(bits, strength):
    steepest = (proximal(X, bits, strength).diff() / X.diff()).max()
    assert steepest <= 1 / (1 - strength) + 1e-6


def test_a_strength_that_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"from 0 to 1, not 1\.5 and 0"):
        proximal(X, 1, 1.5)


def test_prox_connect_with_full_strength_is_binary_connect_bit_for_bit(opened):
    ours, theirs = (trained(make, opened).weights for make in (ProxConnect(full_at=0), BinaryConnect()))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_with_a_strength_that_grows_it_is_not(opened):
    ours, theirs = (trained(make, opened).weights for make in (ProxConnect(full_at=0.5), BinaryConnect()))
    assert any(not np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("make", ALL)
def test_the_stored_network_computes_what_the_trained_one_computes(make, opened):
    method = make()
    network = trained(method, opened)
    small = method.finish(method.choices())
    (images,) = (torch.from_numpy(x[:, 0]) for x in opened.examples.values())
    with torch.no_grad():
        torch.testing.assert_close(small.module.eval()(images), network.module.eval()(images), atol=1e-5, rtol=1e-5)
    assert sum(a.nbytes for a in small.weights.values()) < 0.5 * sum(a.nbytes for a in opened.weights.values())


def test_the_weights_of_prox_quant_are_on_their_values_at_the_end(opened):
    method = ProxQuant()
    network = trained(method, opened)
    for layer in method._layers.values():
        weight = network.module.tensor(layer.weight.name)
        torch.testing.assert_close(weight.detach(), projected(weight, layer.axis, 2))


def test_a_step_of_the_reverse_method_starts_from_the_mapped_weights(opened):
    method = ReverseProxConnect(full_at=0)
    network = opened.copy()
    hooks = method.attach(network, lambda _choices: torch.tensor(float("nan")))
    layer = next(iter(method._layers.values()))
    kept = network.module.tensor(layer.weight.name)
    before = kept.detach().clone()
    (images,) = (torch.from_numpy(x[:, 0]) for x in opened.examples.values())
    network.module.train()(images).sum().backward()
    gradient = kept.grad.clone()
    opened.module.train()(images).sum().backward()
    torch.testing.assert_close(gradient, opened.module.tensor(layer.weight.name).grad)  # at w*
    hooks.after_backward(0)
    torch.testing.assert_close(kept.detach(), projected(before, layer.axis, 2))


def test_hard_quantization_of_torchao_is_the_same_training():
    optim = pytest.importorskip("torchao.prototype.parq.optim", reason="torchao is not installed")
    quant = pytest.importorskip("torchao.prototype.parq.quant", reason="torchao is not installed")
    torch.manual_seed(0)
    x, y, start = torch.randn(64, 12), torch.randn(64, 5), torch.randn(5, 12)
    theirs = torch.nn.Parameter(start.clone())
    sgd = torch.optim.SGD([{"params": [theirs], "quant_bits": 1}], lr=0.05)
    wrapped = optim.QuantOptimizer(
        sgd, quant.LSBQuantizer(), optim.ProxHardQuant(), quant_period=1, quant_per_channel=True
    )
    method, ours = ProxConnect(bits=1, full_at=0), start.clone()
    for step in range(20):
        if step:  # its first gradient is taken before anything is quantized
            computed = method.computed(ours, 0).requires_grad_()
        else:
            computed = ours.clone().requires_grad_()
        (computed_gradient,) = torch.autograd.grad((x @ computed.T - y).square().mean(), computed)
        ours = ours - 0.05 * computed_gradient
        wrapped.zero_grad()
        (x @ theirs.T - y).square().mean().backward()
        wrapped.step()
        torch.testing.assert_close(method.computed(ours, 0), theirs.detach())


def test_each_of_them_is_installed_under_its_own_name():
    assert [type(load(make.name)) for make in ALL] == ALL
