import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hwprof.errors import InputError
from hwprof.tasks import Classification, DatasetExamples, LoaderExamples, TensorExamples, as_examples
from hwprof.tasks.examples import examples_of, from_arrays, split


def five():
    return torch.arange(5.0)[:, None], torch.arange(5)


def dataset():
    return as_examples(TensorDataset(*five()))


def seen(examples, size=2, seed=None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = list(examples.batches(size, generator))
    for batch in batches:
        assert torch.equal(batch.inputs.flatten().long(), batch.targets)
    return [batch.targets.tolist() for batch in batches]


@pytest.mark.parametrize("examples", [as_examples(five()), dataset()])
@pytest.mark.parametrize(("size", "lengths"), [(2, [2, 2]), (5, [5]), (8, [5])])
def test_shuffled_batches_have_one_size_and_a_smaller_rest_is_left_out(examples, size, lengths):
    batches = seen(examples, size, seed=0)
    assert [len(batch) for batch in batches] == lengths
    assert len({target for batch in batches for target in batch}) == sum(lengths)
    assert examples.n_batches(size) == len(lengths)


@pytest.mark.parametrize("examples", [as_examples(five()), dataset()])
def test_without_a_generator_all_examples_come_in_order(examples):
    assert seen(examples) == [[0, 1], [2, 3], [4]]


def test_the_generator_decides_the_order():
    examples = as_examples(five())
    assert seen(examples, seed=1) == seen(examples, seed=1) != seen(examples, seed=2)


def test_no_examples_make_no_batch():
    none = TensorExamples(torch.zeros(0, 1), torch.zeros(0))
    assert none.n_batches(2) == 0
    assert list(none.batches(2)) == list(none.batches(2, torch.Generator())) == []


def test_a_shuffling_loader_obeys_the_generator():
    examples = as_examples(DataLoader(TensorDataset(*five()), 2, shuffle=True))
    assert isinstance(examples, LoaderExamples)
    assert examples.n_batches(100) == 3
    assert seen(examples) == seen(examples)
    assert seen(examples, seed=1) == seen(examples, seed=1) != seen(examples, seed=2)


def test_a_list_of_batches_is_a_loader():
    inputs, targets = five()
    examples = as_examples([(inputs[:3], targets[:3]), (inputs[3:], targets[3:])])
    assert seen(examples) == [[0, 1, 2], [3, 4]]


def test_a_batch_that_is_not_a_pair_is_refused():
    with pytest.raises(InputError, match="a batch is int, not a pair"):
        list(as_examples([1, 2]).batches(1))


def test_a_dataset_is_read_when_a_batch_needs_it():
    read = []

    class Reading(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            read.append(index)
            return torch.zeros(1), index

    examples = as_examples(Reading())
    assert isinstance(examples, DatasetExamples)
    batch = next(examples.batches(2))
    assert read == [0, 1]
    assert batch.targets.tolist() == [0, 1]


def test_arrays_become_tensors_that_networks_take():
    fixed = np.arange(3, dtype=np.uint8)
    fixed.flags.writeable = False
    examples = from_arrays(np.zeros((3, 2)), fixed)
    assert (examples.inputs.dtype, examples.targets.dtype) == (torch.float32, torch.int64)


def test_several_inputs_stay_together():
    examples = as_examples(((np.zeros((4, 2)), np.ones((4, 3))), np.arange(4)))
    batch = next(examples.batches(3))
    assert [tuple(tensor.shape) for tensor in batch.inputs] == [(3, 2), (3, 3)]


def test_inputs_and_targets_of_different_lengths_are_refused():
    with pytest.raises(InputError, match=r"inputs of shape \(3, 2\) do not fit targets of shape \(4,\)"):
        from_arrays(np.zeros((3, 2)), np.arange(4))


@pytest.mark.parametrize("data", ["digits", 3, torch.zeros(3), (1, 2, 3)])
def test_other_data_is_refused(data):
    with pytest.raises(InputError, match=r"examples cannot be made from .*; give a pair of arrays"):
        as_examples(data)


def test_parts_are_disjoint_and_decided_by_the_seed():
    parts = split(from_arrays(*five()), (0.4, 0.6), seed=1)
    assert [len(part) for part in parts] == [2, 3]
    assert sorted(target for part in parts for target in part.targets.tolist()) == [0, 1, 2, 3, 4]
    again, other = (split(from_arrays(*five()), (0.4, 0.6), seed)[0].targets for seed in (1, 2))
    assert torch.equal(parts[0].targets, again)
    assert not torch.equal(parts[0].targets, other)


def test_examples_without_their_members_are_refused_with_what_makes_them():
    class Listed(Classification):
        def examples(self, part):
            return [(torch.zeros(2, 3), torch.zeros(2).long())]

    pair = (torch.zeros(2, 3), torch.zeros(2).long())
    task = Listed("mine", pair, pair, pair)
    with pytest.raises(InputError, match=r"examples 'train' of task 'mine' \(a list\) do not have batches and n_"):
        examples_of(task, "train")
