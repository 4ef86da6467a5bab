import numpy as np
import pytest
import torch

from hwprof.compress.choice import Choice
from hwprof.compress.loop import compress
from hwprof.compress.low_bit import TERNARY, projected
from hwprof.compress.quantized_weights import computed_weights
from hwprof.compress.slq import Mlq, Slq
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.variants.low_bit import layers
from tests.compress.board import job
from tests.compress.small_digits import compressed, trained

METHODS = {
    "slq largest": lambda: Slq(4),
    "slq smallest": lambda: Slq(4, "smallest"),
    "mlq first": Mlq,
    "mlq last": lambda: Mlq("last"),
    "mlq at once": lambda: Mlq("at_once"),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_contract_of_methods_holds(opened, name):
    check_method(METHODS[name], opened)


@pytest.mark.parametrize("name", METHODS)
def test_every_layer_ends_with_its_few_values_in_either_order(name):
    method = METHODS[name]()
    small, choices, accuracy = compressed(method, epochs=4)
    levels = 4 if name.startswith("slq") else 3
    assert set(choices.values()) == {Choice(levels=levels)}
    assert accuracy > 60
    weights = computed_weights(method._network, method._parts)
    for layer in layers(method._network.graph).values():
        assert len(np.unique(weights[layer.weight.name])) <= levels
    assert small.graph.weight_bytes < trained()[0].graph.weight_bytes / 5


def attached(method):
    network, _ = trained()
    return network, method.attach(network, lambda _choices: torch.tensor(float("nan")))


def values(method, name="Conv_0"):
    part = method._parts[name]
    return part.is_fixed.clone(), part.values.clone()


@pytest.mark.parametrize("order", ["largest", "smallest"])
def test_half_of_the_clusters_that_are_left_are_quantized_and_stay(order):
    method = Slq(4, order)
    network, hooks = attached(method)
    weight = network.module.tensor(layers(network.graph)["Conv_0"].weight.name)
    found = []
    for progress in (0.0, 0.4, 0.8):
        hooks.penalty(progress)
        found.append(values(method))
        with torch.no_grad():
            weight += 0.01  # the free ones train on
    counts = [len(fixed[is_fixed].unique()) for is_fixed, fixed in found]
    assert counts == [2, 3, 4]
    (before, fixed), (_, later) = found[0], found[2]
    assert torch.equal(fixed[before], later[before])
    assert found[2][0].all()
    assert hooks.may_be_kept()


def test_the_order_decides_which_cluster_comes_first():
    weight = torch.cat([torch.full((8,), 1.0), torch.linspace(4, 6, 8)])  # without a loss, and with one
    is_free = torch.ones(16, dtype=torch.bool)
    first, _ = Slq(2, "largest")._chosen(weight, is_free, 2, 1)
    assert first.tolist() == [False] * 8 + [True] * 8
    first, quantized = Slq(2, "smallest")._chosen(weight, is_free, 2, 1)
    assert first.tolist() == [True] * 8 + [False] * 8
    assert quantized.unique().tolist() == [1.0, 5.0]


@pytest.mark.parametrize(("order", "expected"), [("first", "Conv_0"), ("last", "Gemm_5")])
def test_layers_become_ternary_one_after_the_other(order, expected):
    method = Mlq(order)
    network, hooks = attached(method)
    layer = layers(network.graph)[expected]
    weight = network.module.tensor(layer.weight.name).detach().clone()
    hooks.penalty(0.0)
    assert [name for name, part in method._parts.items() if part.is_whole] == [expected]
    ternary = projected(weight.reshape(1, -1), 0, TERNARY).reshape(weight.shape)
    torch.testing.assert_close(method._parts[expected].values, ternary)
    assert not hooks.may_be_kept()


def test_free_elements_alone_get_gradients():
    method = Slq(4)
    network, hooks = attached(method)
    hooks.penalty(0.0)
    weight = network.module.tensor(layers(network.graph)["Conv_0"].weight.name)
    network.module(torch.rand(2, 1, 8, 8)).sum().backward()
    is_fixed, _ = values(method)
    assert (weight.grad[is_fixed] == 0).all()
    assert (weight.grad[~is_fixed] != 0).any()


@pytest.mark.parametrize("name", ["slq", "mlq"])
def test_it_runs_in_the_loop(tmp_path, name):
    made = compress(job(tmp_path), name, 1.0)
    assert {tuple(choice) for choice in made.result.choices.values()} == {("levels",)}
    assert made.result.size_bytes == made.path.stat().st_size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Slq(0), "SLQ needs 1 to 256 levels, not 0"),
        (lambda: Slq(4, "near"), "SLQ has no order 'near'; known: largest, smallest"),
        (lambda: Mlq("largest"), "MLQ has no order 'largest'; known: first, last, at_once"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(make, message):
    with pytest.raises(InputError, match=message):
        make()
