import numpy as np
import pytest
import torch

from hwprof.compress.choice import Choice
from hwprof.compress.dnq import BITS, Dnq, search
from hwprof.compress.loop import compress
from hwprof.compress.quantized_weights import computed_weights
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.variants.low_bit import layers, rounded
from tests.compress.board import job, latency_ns, network
from tests.compress.small_digits import compressed, trained

LAYERS = 8


def no_table(_choices):
    return torch.tensor(float("nan"))


def few(**settings):
    return Dnq(episodes=30, **settings)


@pytest.mark.parametrize("order", ["near", "far"])
def test_the_contract_of_methods_holds(opened, order):
    check_method(lambda: few(order=order), opened)


def additive_rewards(seed: int) -> np.ndarray:
    """For all choices of eight layers, [3] * 8: layers that are harmed and that cost differently."""
    rng = np.random.default_rng(seed)
    harm = np.outer(rng.exponential(0.05, LAYERS), [0.01, 0.15, 1.0])
    cost = np.outer(rng.dirichlet(np.ones(LAYERS)), np.array(BITS) / max(BITS))
    rewards = np.ones([len(BITS)] * LAYERS)
    for layer in range(LAYERS):
        shape = [len(BITS) if i == layer else 1 for i in range(LAYERS)]
        rewards = rewards - harm[layer].reshape(shape) - 0.25 * cost[layer].reshape(shape)
    return rewards


def test_the_policy_finds_almost_the_best_of_all_choices_and_more_than_chance_does():
    found, drawn, best = [], [], []
    for seed in range(5):
        rewards = additive_rewards(seed)
        found.append(rewards[search(LAYERS, lambda arch, r=rewards: float(r[arch]), 300, seed)])
        drawn.append(np.random.default_rng(seed).choice(rewards.ravel(), 300, replace=False).max())
        best.append(rewards.max())
    assert min(np.divide(found, best)) >= 0.98
    assert np.mean(found) > np.mean(drawn)


def test_the_reward_is_what_stays_of_the_outputs_less_the_price():
    net, _ = trained()
    method = few(price=0.25)
    method.attach(net, no_table)
    reward = method.reward(no_table)
    assert reward((0, 0, 0)) == pytest.approx(1 - 0.25, abs=0.01)  # 8 bits
    assert reward((1, 1, 1)) + 0.25 / 2 > reward((2, 2, 2)) + 0.25 / 4  # 4 bits keep more of the outputs than 2
    method.attach(trained()[0], lambda choices: torch.tensor(float(sum(c.bits == 8 for c in choices.values()))))
    by_table = method.reward(lambda choices: torch.tensor(float(sum(c.bits == 8 for c in choices.values()))))
    assert by_table((1, 1, 1)) - by_table((0, 0, 0)) == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize("order", ["near", "far"])
def test_weights_become_final_in_the_order_of_their_distance(order):
    net, _ = trained()
    method = few(order=order)
    hooks = method.attach(net, no_table)
    layer = layers(net.graph)["Conv_2"]
    weight = net.module.tensor(layer.weight.name).detach().clone()
    hooks.penalty(0.0)
    part = method._parts["Conv_2"]
    distance = (weight - part.values).abs()
    fixed, free = distance[part.is_fixed], (weight - rounded_weight(method, "Conv_2", weight)).abs()[~part.is_fixed]
    assert len(fixed) == round(0.5 * weight.numel())
    assert fixed.max() <= free.min() if order == "near" else fixed.min() >= free.max()
    for progress in (0.3, 0.6, 0.8):
        hooks.penalty(progress)
    assert part.is_whole
    assert hooks.may_be_kept()


def rounded_weight(method, name, weight):
    layer = layers(trained()[0].graph)[name]
    return torch.from_numpy(rounded(layer, weight.numpy(), method._bits[name], method._steps[name]))


def test_the_chosen_bits_are_those_of_the_network_and_it_is_almost_as_good_as_floats():
    method = few()
    small, choices, accuracy = compressed(method)
    assert {choice.bits for choice in choices.values()} <= set(BITS)
    assert accuracy > trained()[1] - 4
    weights = computed_weights(method._network, method._parts)
    for name, layer in layers(method._network.graph).items():
        steps = layer.along(method._steps[name])
        integers = weights[layer.weight.name] / steps
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-4)
        assert np.abs(integers).max() <= 2 ** (choices[name].bits - 1) - 1 + 1e-4
    assert small.graph.weight_bytes < trained()[0].graph.weight_bytes / 2


def test_it_runs_in_the_loop(tmp_path):
    made = compress(job(tmp_path), "dnq", 2 * latency_ns(network(16)) / 1e6)
    assert {tuple(choice) for choice in made.result.choices.values()} == {("bits",)}
    assert made.result.size_bytes == made.path.stat().st_size


def test_fewer_bits_than_it_learned_are_finished_too():
    method = few()
    _, choices, _ = compressed(method, epochs=1)
    made = method.finish(dict.fromkeys(choices, Choice(bits=2)))
    assert made.graph.weight_bytes < method.finish(dict.fromkeys(choices, Choice(bits=8))).graph.weight_bytes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": 0}, "DNQ needs a price of at least 0 and an episode, not 0.25 and 0"),
        ({"order": "largest"}, "DNQ has no order 'largest'; known: near, far"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(settings, message):
    with pytest.raises(InputError, match=message):
        Dnq(**settings)
