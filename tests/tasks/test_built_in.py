"""`hwprof.tasks.digits` and `hwprof.tasks.signals`, which need no files."""

import pytest
import torch

from hwprof.errors import InputError
from hwprof.tasks.digits import digits
from hwprof.tasks.signals import signals
from hwprof.testing import check_task


@pytest.mark.parametrize(
    ("task", "shape", "sizes"), [(digits, (1, 8, 8), [1078, 360, 359]), (signals, (1, 40), [2400, 800, 800])]
)
def test_a_task_keeps_the_contract(task, shape, sizes):
    made = task()
    check_task(made, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10)))
    parts = [made.examples(part) for part in ("train", "search", "test")]
    assert [len(part) for part in parts] == sizes
    assert parts[0].inputs.shape[1:] == shape
    assert parts[0].inputs.dtype == torch.float32
    assert made.n_classes == 10


@pytest.mark.parametrize("task", [digits, signals])
def test_the_seed_decides_the_parts(task):
    first, again, other = (task(seed=seed).examples("test").targets for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_pixels_of_digits_go_from_0_to_1():
    inputs = digits().examples("train").inputs
    assert (inputs.min(), inputs.max()) == (0, 1)


def test_signals_have_the_sizes_that_are_asked_for():
    made = signals(n=100, length=24, n_classes=4)
    assert made.examples("train").inputs.shape == (60, 1, 24)
    assert made.n_classes == 4


@pytest.mark.parametrize("sizes", [{"n": 9}, {"length": 15}, {"n_classes": 1}])
def test_signals_that_are_too_small_are_refused(sizes):
    with pytest.raises(InputError, match="signals need n >= 10, length >= 16 and n_classes >= 2"):
        signals(**sizes)
