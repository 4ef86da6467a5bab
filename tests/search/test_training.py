import pytest
import torch

from hwprof.errors import InputError
from hwprof.search.supernet import Supernet
from hwprof.search.training import Examples, TrainSettings, accuracy, train
from hwprof.spaces.darts import EDGES, Darts
from hwprof.torch_io import trainable

TINY = Darts(channels=4, cells=3, resolution=8, classes=2)
SKIPS = tuple(3 if source < 2 else 0 for source, _ in EDGES) * 2


def bright_or_dark(n=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    return Examples(0.1 * torch.randn(n, 3, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1), labels)


def test_a_network_learns_to_tell_bright_from_dark():
    network = trainable(TINY.graph(SKIPS))
    train(network, bright_or_dark(), TrainSettings(epochs=5, batch=8))
    assert accuracy(network, bright_or_dark(seed=1)) == 1.0


def test_training_is_decided_by_its_seed():
    def trained(seed):
        network = trainable(TINY.graph(SKIPS))
        train(network, bright_or_dark(), TrainSettings(epochs=1, batch=8, seed=seed))
        return network.weights()[0]

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_training_leaves_an_open_architecture_alone():
    supernet = Supernet(TINY)
    alphas, stem = supernet.alphas.detach().clone(), supernet.weights()[0].detach().clone()
    train(supernet, bright_or_dark(8), TrainSettings(epochs=1, batch=8))
    assert torch.equal(supernet.alphas, alphas)
    assert not torch.equal(supernet.weights()[0], stem)


def test_halves_are_disjoint_and_complete():
    examples = Examples(torch.arange(5.0).view(5, 1, 1, 1), torch.arange(5))
    first, second = examples.halves(seed=1)
    assert (len(first), len(second)) == (2, 3)
    assert sorted([*first.labels.tolist(), *second.labels.tolist()]) == [0, 1, 2, 3, 4]
    assert torch.equal(first.images.flatten().long(), first.labels)


@pytest.mark.parametrize(("size", "lengths"), [(2, [2, 2]), (5, [5]), (8, [5])])
def test_batches_have_one_size_and_a_smaller_rest_is_left_out(size, lengths):
    examples = Examples(torch.zeros(5, 1, 1, 1), torch.arange(5))
    batches = list(examples.batches(size, torch.Generator()))
    assert [len(batch) for batch in batches] == lengths
    assert len({label for batch in batches for label in batch.labels.tolist()}) == sum(lengths)


def test_accuracy_needs_examples():
    with pytest.raises(InputError, match="no example"):
        accuracy(trainable(TINY.graph(SKIPS)), Examples(torch.zeros(0, 3, 8, 8), torch.zeros(0).long()))
