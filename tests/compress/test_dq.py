import pytest
import torch

from hwprof.compress.choice import Choice
from hwprof.compress.dq import Dq, mean_of
from hwprof.compress.learned_grid import PARAMETRIZATIONS
from hwprof.compress.loop import compress
from hwprof.compress.method import within
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.low_bit import layers
from tests.compress.board import job
from tests.compress.small_digits import TASK, compressed, trained


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_the_contract_of_methods_holds(opened, parametrization):
    check_method(lambda: Dq(parametrization), opened)


def mean_bits(choices) -> float:
    sizes = {name: layer.weight.numel for name, layer in layers(trained()[0].graph).items()}
    bits = {name: choice.bits or (choice.levels - 1).bit_length() for name, choice in choices.items()}
    return float(mean_of({name: torch.tensor(float(b)) for name, b in bits.items()}, sizes))


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_bits_end_on_or_below_the_constraint(parametrization):
    small, choices, accuracy = compressed(Dq(parametrization, 3.0), epochs=3)
    assert mean_bits(choices) <= 3
    assert accuracy > 80
    assert small.graph.weight_bytes < trained()[0].graph.weight_bytes / 4


def test_layers_get_bits_of_their_own_and_are_almost_as_good_as_floats():
    method = Dq(mean_bits=2.6)
    small, choices, accuracy = compressed(method)
    assert len({choice.bits for choice in choices.values()}) > 1
    assert accuracy > trained()[1] - 4
    images = TASK.examples("test").inputs[:16]
    with torch.no_grad():
        assert torch.equal(small.module.eval()(images), method._network.module.eval()(images))


def test_only_states_on_the_constraint_are_kept():
    network, _ = trained()
    method = Dq(mean_bits=2.5)
    hooks = method.attach(network, lambda _choices: torch.tensor(float("nan")))
    kept = []
    fit(
        network.module, TASK, TrainSettings(epochs=3, batch_size=64, rate=0.02, keep="best"), [hooks],
        lambda _result: kept.append(hooks.may_be_kept()),
    )  # fmt: skip
    assert kept == [False, False, True]
    assert mean_bits(method.choices()) <= 2.5


def test_a_latency_can_be_the_constraint():
    network, _ = trained()
    method = Dq(latency_ms=2.0)
    sizes = {name: layer.weight.numel for name, layer in layers(network.graph).items()}

    def cost(choices):  # 1 ms for each bit of the mean
        return mean_of({name: torch.as_tensor(choice.bits) for name, choice in choices.items()}, sizes)

    assert set(method.options(network.graph)) == set(sizes)
    hooks = method.attach(network, cost)
    fit(network.module, TASK, TrainSettings(epochs=2, batch_size=64, rate=0.02), [hooks])
    assert set(method.choices().values()) == {Choice(bits=2)}  # which is all that 2 ms leave


def test_within_a_latency_its_bits_are_constrained_by_that():
    method = within(Dq("b_d", 4.0), 2.5)
    network, _ = trained()
    assert set(method.options(network.graph)) == set(layers(network.graph))
    assert vars(method) == vars(Dq("b_d", 4.0, latency_ms=2.5))


def test_a_latency_without_a_table_is_an_error():
    network, _ = trained()
    method = Dq(latency_ms=2.0)
    method.attach(network, lambda _choices: torch.tensor(float("nan")))
    with pytest.raises(InputError, match="DQ learns bits for a latency only where a table of latencies is given"):
        method.choices()


def test_bits_of_the_projection_are_finished_too():
    method = Dq(mean_bits=4.0)
    _, choices, _ = compressed(method, epochs=1)
    accuracies = []
    for bits in (8, 2):
        made = method.finish(dict.fromkeys(choices, Choice(bits=bits)))
        accuracies.append(evaluate(made.module, TASK))
    assert accuracies[0] > 85
    assert accuracies[0] > accuracies[1]


def test_it_runs_in_the_loop(tmp_path):
    made = compress(job(tmp_path), "dq", 1.0)
    assert {tuple(choice) for choice in made.result.choices.values()} == {("bits",)}
    assert made.result.size_bytes == made.path.stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("d_b",), "DQ has no parametrization 'd_b'; known: d_qmax"), (("d_qmax", 1.5), "DQ learns 2 to 8 bits, not 1.5")],
)
def test_a_setting_that_cannot_be_is_an_error(arguments, message):
    with pytest.raises(InputError, match=message):
        Dq(*arguments)
