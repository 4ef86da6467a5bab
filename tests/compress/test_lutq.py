import numpy as np
import pytest
import torch

from hwprof.compress.choice import Choice
from hwprof.compress.loop import compress
from hwprof.compress.lutq import Dictionary, LutQ
from hwprof.compress.quantized_weights import computed_weights
from hwprof.errors import InputError
from hwprof.testing import check_method
from hwprof.training import evaluate
from hwprof.variants.low_bit import layers, low_bits_weights
from tests.compress.board import job
from tests.compress.small_digits import TASK, compressed, trained


def test_the_contract_of_methods_holds(opened):
    check_method(LutQ, opened)


def quantized(method: LutQ) -> dict[str, np.ndarray]:
    """The weights of the layers, by label, after a training of one epoch."""
    compressed(method, epochs=1)
    weights = computed_weights(method._network, method._dictionaries)
    return {name: weights[layer.weight.name] for name, layer in layers(method._network.graph).items()}


def test_four_values_are_almost_as_good_as_floats_where_two_bits_after_training_are_not():
    network, accuracy = trained()
    small, choices, four = compressed(LutQ(4))
    two_bits = network.with_weights(*low_bits_weights(network.graph, network.weights, dict.fromkeys(choices, 2)))
    assert four > accuracy - 4  # the network is tiny; tests/benchmarks/compress_methods_quant.py has the real figures
    assert four > evaluate(two_bits.module, TASK) + 8
    assert small.graph.weight_bytes < network.graph.weight_bytes / 5
    assert set(choices.values()) == {Choice(levels=4)}


def test_what_is_written_computes_what_was_trained_bit_for_bit():
    method = LutQ(4)
    small, _, _ = compressed(method, epochs=1)
    images = TASK.examples("test").inputs[:16]
    with torch.no_grad():
        assert torch.equal(small.module.eval()(images), method._network.module.eval()(images))


@pytest.mark.parametrize("levels", [2, 5, 16])
def test_a_layer_has_no_more_values_than_levels(levels):
    for weight in quantized(LutQ(levels)).values():
        assert len(np.unique(weight)) <= levels


def test_powers_of_two_are_exact():
    for weight in quantized(LutQ(8, "pow2")).values():
        mantissas, _ = np.frexp(np.abs(weight))
        assert set(np.unique(mantissas)) == {0.5}


def test_the_share_that_was_asked_for_is_zero():
    for weight in quantized(LutQ(4, pruned=0.7)).values():
        assert np.count_nonzero(weight) == weight.size - round(0.7 * weight.size)
        assert len(np.unique(weight)) <= 4


def test_a_step_of_k_means_moves_values_to_the_means_of_their_elements():
    weight = torch.tensor([0.0, 1.0, 2.0, 10.0, 12.0])
    dictionary = Dictionary(weight, 2, "free", 0.0)
    assert dictionary.values.tolist() == [1.0, 11.0]
    dictionary.update(torch.tensor([0.0, 1.0, 7.0, 10.0, 12.0]))
    assert dictionary.places.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(dictionary.values, torch.tensor([0.5, 29 / 3]))


def test_the_gradient_at_the_dictionary_changes_the_floats():
    weight = torch.tensor([0.0, 1.0, 10.0], requires_grad=True)
    out = Dictionary(weight.detach(), 2, "free", 0.0)(weight)
    assert out.tolist() == [0.5, 0.5, 10.0]
    (out * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]


def test_it_runs_in_the_loop(tmp_path):
    started = job(tmp_path)
    made = compress(started, "lutq", 1.0)
    assert set(map(str, made.result.choices.values())) == {"{'levels': 4}"}
    assert made.result.size_bytes == made.path.stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "LUT-Q needs 1 to 256 levels, not 0"),
        ((1, "free", 0.5), "LUT-Q needs 2 to 256 levels, not 1"),
        ((4, "free", 1.0), "LUT-Q cannot prune a share of 1.0"),
        ((4, "ternary"), "LUT-Q has no constraint 'ternary'; known: free, pow2"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(arguments, message):
    with pytest.raises(InputError, match=message):
        LutQ(*arguments)
