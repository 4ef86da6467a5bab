import numpy as np
import pytest
import torch

from hwprof import onnx_io
from hwprof.compress.loop import compress
from hwprof.compress.low_bit import nearest, projected, step_of, stored, straight_through
from hwprof.errors import InputError
from hwprof.variants.low_bit import layers
from tests.compress.board import job

METHODS = ["ana", "binary_connect", "foothill", "prox_connect", "prox_quant", "reverse_prox_connect", "stq"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_runs_as_a_whole_even_where_its_weights_are_not_faster(name, tmp_path):
    started = job(tmp_path)
    made = compress(started, name, 10.0)
    bits = {choice["bits"] for choice in made.result.choices.values()}
    assert bits <= {1, 2}
    assert made.result.size_bytes < 0.5 * (tmp_path / "small-baseline.onnx").stat().st_size
    packed = [t for t in onnx_io.load(made.path).weights if t.dtype == "uint8"]
    assert len(packed) == len(made.result.choices) == 3


def test_a_binary_step_is_the_mean_size_of_an_outputs_weights():
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.5]])
    assert step_of(weight, 0, 1).tolist() == [[2.0], [0.5]]
    assert step_of(weight, 1, 1).tolist() == [[0.75, 1.75]]
    assert projected(weight, 0, 1).tolist() == [[2.0, -2.0], [0.5, 0.5]]


def test_a_ternary_step_is_the_mean_of_the_large_weights():
    weight = torch.tensor([[0.1, -2.0, 3.0, 0.3]])
    assert step_of(weight, 0, 2).tolist() == [[2.5]]
    assert projected(weight, 0, 2).tolist() == [[0.0, -2.5, 2.5, 0.0]]


def test_weights_that_are_all_0_stay_finite():
    assert bool(projected(torch.zeros(2, 3), 0, 2).isfinite().all())


def test_0_is_a_ternary_value_and_counts_as_positive_in_binary():
    x = torch.tensor([-0.2, 0.0, 0.2])
    assert nearest(x, 1).tolist() == [-1, 1, 1]
    assert nearest(x, 2).tolist() == [0, 0, 0]


def test_the_value_is_exact_and_the_gradient_goes_straight_through():
    weight = torch.tensor([0.1, 0.7], requires_grad=True)
    value = straight_through(weight, torch.tensor([1e-8, 1.0]))
    value.backward(torch.tensor([2.0, 3.0]))
    assert value.tolist() == torch.tensor([1e-8, 1.0]).tolist()
    assert weight.grad.tolist() == [2.0, 3.0]


def test_other_bits_are_refused():
    with pytest.raises(InputError, match="of 1 or 2 bits, not of 3"):
        step_of(torch.ones(2, 2), 0, 3)


def test_a_layer_that_is_not_stored_keeps_its_floats(opened):
    first, *others = layers(opened.graph)
    small = stored(opened, {first: 1})
    kept = [layers(opened.graph)[name].weight.name for name in others]
    for name in kept:
        np.testing.assert_array_equal(small.weights[name], opened.weights[name])
    assert layers(opened.graph)[first].weight.name not in small.weights
