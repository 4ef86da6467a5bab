import pytest
import torch

from hwprof.compress.foothill import FoothillBinary, regularizer
from hwprof.compress.low_bit import projected, step_of
from hwprof.predictors.foothill import foothill_curvature
from hwprof.testing import check_method
from hwprof.training import TrainSettings, fit
from hwprof.variants.low_bit import layers
from tests.compress.board import task


def nothing_known(_choices):
    return torch.tensor(float("nan"))


def test_the_contract_of_methods_holds(opened):
    check_method(FoothillBinary, opened)


def test_the_wells_of_the_regularizer_are_at_plus_and_minus_a_step():
    torch.manual_seed(0)
    weight = torch.randn(4, 9)
    assert regularizer(projected(weight, 0, 1), 0).item() == pytest.approx(0, abs=1e-12)
    assert regularizer(weight, 0).item() > 0.05


def test_the_gradient_of_the_sign_is_the_curvature_of_foothill(opened):
    network, method = opened.copy(), FoothillBinary(strength=0.0)
    method.attach(network, nothing_known)
    layer = list(layers(network.graph).values())[-1]
    weight = network.module.tensor(layer.weight.name)
    (images,) = (torch.from_numpy(x[:, 0]) for x in opened.examples.values())
    network.module.eval()(images).sum().backward()
    binary = opened.copy()
    for each in layers(binary.graph).values():
        kept = binary.module.tensor(each.weight.name)
        kept.data.copy_(projected(kept, each.axis, 1))
    binary.module.eval()(images).sum().backward()
    straight = binary.module.tensor(layer.weight.name).grad
    in_steps = weight.detach() / step_of(weight, layer.axis, 1)
    torch.testing.assert_close(weight.grad, straight * foothill_curvature(in_steps, 1.0, 2.0))


def test_the_regularizer_pulls_the_weights_to_their_wells(opened):
    distances = []
    for strength in (0.0, 1.0):
        network, method = opened.copy(), FoothillBinary(strength)
        hooks = method.attach(network, nothing_known)
        fit(network.module, task(), TrainSettings(epochs=4, batch_size=16, rate=0.05), [hooks])
        weights = [(network.module.tensor(x.weight.name), x.axis) for x in layers(network.graph).values()]
        distances.append(sum(regularizer(weight, axis).item() for weight, axis in weights))
    assert distances[1] < 0.9 * distances[0]


def test_the_stored_network_computes_what_the_trained_one_computes(opened):
    network, method = opened.copy(), FoothillBinary()
    hooks = method.attach(network, nothing_known)
    fit(network.module, task(), TrainSettings(epochs=2, batch_size=16, rate=0.05), [hooks])
    small = method.finish(method.choices())
    (images,) = (torch.from_numpy(x[:, 0]) for x in opened.examples.values())
    with torch.no_grad():
        torch.testing.assert_close(small.module.eval()(images), network.module.eval()(images), atol=1e-5, rtol=1e-5)
