"""The arguments of a trace: Python values, keyword arguments, and what the user gives by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.torch_io import with_given
from hwprof.torch_io.example_inputs import arguments


class Scaled(nn.Module):
    def forward(self, x, times: int, mask=None):
        return x * times if mask is None else x * times * mask


def test_a_sequence_and_a_mapping_together_are_both_kinds_of_arguments():
    x = torch.ones(1)
    assert arguments(((x,), {"times": 2})) == ((x,), {"times": 2})
    assert arguments([x, 2]) == ((x, 2), {})


def test_integers_are_drawn_where_a_range_and_a_shape_are_given():
    made = with_given(nn.Embedding(50, 4), None, {"input": (2, 6)}, {"input": "randint:3:50"})
    assert made["input"].dtype is torch.int64
    assert tuple(made["input"].shape) == (2, 6)
    assert 3 <= made["input"].min() <= made["input"].max() < 50


def test_a_number_without_a_shape_is_a_python_argument():
    made = with_given(Scaled(), None, {"x": (2, 3)}, {"times": "3"})
    assert made["times"] == 3
    assert made["x"].dtype is torch.float32


def test_given_values_take_the_place_of_example_inputs(tmp_path):
    np.save(tmp_path / "x.npy", np.full((2, 3), 5, np.float32))
    given = {"x": str(tmp_path / "x.npy"), "mask": "true"}
    (x, times), kwargs = with_given(Scaled(), (torch.zeros(2, 3), 4), None, given)
    assert (x.unique().tolist(), times, kwargs) == ([5.0], 4, {"mask": True})


def test_a_name_that_is_not_an_argument_is_refused_with_the_names():
    with pytest.raises(InputError, match=r"'z', which is not an argument; arguments: x, times, mask$"):
        with_given(Scaled(), None, None, {"z": "1"})


def test_a_range_without_a_shape_asks_for_one():
    with pytest.raises(InputError, match="give --shape input=1,128"):
        with_given(nn.Embedding(5, 4), None, None, {"input": "randint:0:5"})
