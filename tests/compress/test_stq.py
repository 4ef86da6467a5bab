import math

import pytest
import torch

from hwprof.compress.choice import Choice
from hwprof.compress.stq import TERNARY_ANGLE, Stq, gammas, wells
from hwprof.testing import check_method
from hwprof.training import TrainSettings, fit
from hwprof.variants.low_bit import layers
from tests.compress.board import task

SHORT = TrainSettings(epochs=6, batch_size=8, rate=0.02)


def saving(saved_ms):
    """The cost of a network whose layers save so much with binary weights, ms, by layer."""
    return lambda choices: torch.tensor(3.0 - sum(saved_ms[n] for n, c in choices.items() if c.bits == 1))


def bits_after_training(opened, gamma, saved_ms):
    network, method = opened.copy(), Stq(gamma)
    hooks = method.attach(network, saving(saved_ms))
    fit(network.module, task(), SHORT, [hooks])
    return {name: choice.bits for name, choice in method.choices().items()}


def test_the_contract_of_methods_holds(opened):
    check_method(Stq, opened)


def test_the_regularizer_has_three_wells_and_then_two():
    x = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert wells(x, torch.tensor(TERNARY_ANGLE)).tolist() == pytest.approx([0, 0.5, 0, 0.5, 0])
    nearly = wells(torch.tensor([-1.0, 0.02, 1.0]), torch.tensor(math.atan(100.0)))
    assert nearly.tolist() == pytest.approx([0, 0.98, 0], abs=1e-5)


def test_gamma_is_in_proportion_to_the_share_of_the_latency_that_a_layer_saves():
    assert gammas(["a", "b", "c"], saving({"a": 0.3, "b": 0.6, "c": -0.3}), 2.0) == pytest.approx(
        {"a": 0.2, "b": 0.4, "c": -0.2}, rel=1e-5
    )


def test_gamma_is_0_where_the_cost_is_not_known():
    assert gammas(["a", "b"], lambda _choices: torch.tensor(math.nan), 2.0) == {"a": 0, "b": 0}


def test_more_gamma_makes_no_fewer_layers_binary(opened):
    saved_ms = {name: place + 1.0 for place, name in enumerate(layers(opened.graph))}
    binary = [list(bits_after_training(opened, g, saved_ms).values()).count(1) for g in (0.0, 0.2, 0.5, 1.0)]
    assert binary == sorted(binary)
    assert binary[0] == 0 < binary[-1]


def test_the_layer_that_saves_most_becomes_binary_first(opened):
    first, second, third = layers(opened.graph)
    found = bits_after_training(opened, 3.0, {first: 0.0, second: 0.05, third: 1.0})
    assert found == {first: 2, second: 2, third: 1}


def test_where_binary_weights_are_slower_all_layers_become_ternary(opened):
    found = bits_after_training(opened, 1.0, dict.fromkeys(layers(opened.graph), -0.1))
    assert set(found.values()) == {2}


def test_the_stored_network_computes_what_the_trained_one_computes(opened):
    first, second, third = layers(opened.graph)
    network, method = opened.copy(), Stq(3.0)
    hooks = method.attach(network, saving({first: -1.0, second: 1.0, third: 1.0}))
    fit(network.module, task(), SHORT, [hooks])
    assert {choice.bits for choice in method.choices().values()} == {1, 2}
    (images,) = (torch.from_numpy(x[:, 0]) for x in opened.examples.values())
    small = method.finish(method.choices())
    with torch.no_grad():
        torch.testing.assert_close(small.module.eval()(images), network.module.eval()(images), atol=1e-5, rtol=1e-5)


def test_a_binary_layer_loses_at_least_what_a_ternary_one_loses(opened):
    method = Stq()
    method.attach(opened.copy(), saving(dict.fromkeys(layers(opened.graph), 1.0)))
    for name in layers(opened.graph):
        assert 0 < method.harm(name, Choice(bits=2)) <= method.harm(name, Choice(bits=1)) < 1
