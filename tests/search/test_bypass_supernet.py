import pytest
import torch

from hwprof.errors import InputError
from hwprof.search.bypass_supernet import BypassConv, BypassSupernet, OrderedDropout
from hwprof.search.supernet_score import SupernetScore
from hwprof.spaces.bypass import BypassSpace
from hwprof.tasks import Classification
from hwprof.tasks.examples import TensorExamples
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, fit

SPACE = BypassSpace(filters=(0, 2, 4), layers=3, halved_before=(2,), images=(1, 4, 4), classes=3)


def images(n=6):
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def layer():
    torch.manual_seed(0)
    made = BypassConv(4).eval()
    made.norm.running_mean.uniform_(-0.5, 0.5)
    return made


def supernet():
    """With statistics of its own, as after a training."""
    made = BypassSupernet(SPACE)
    for _ in range(3):
        made(images())
    return made.eval()


def task():
    targets = (images(60).mean((1, 2, 3)) > 0.5).long()
    part = TensorExamples(images(60), targets)
    return Classification("bright", part, part, part)


@torch.no_grad()
def test_without_filters_a_layer_is_the_identity_and_with_all_it_is_the_convolution():
    made, x = layer(), torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made(x, torch.tensor([0])), x)
    assert torch.equal(made(x, torch.tensor([4])), made.norm(made.conv(x)).relu())


@torch.no_grad()
def test_each_image_has_a_number_of_filters_of_its_own():
    made, x = layer(), torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    both = made(x, torch.tensor([1, 3]))
    for number, n_filters in enumerate((1, 3)):
        assert torch.equal(both[number], made(x, torch.tensor([n_filters]))[number])


def test_each_number_of_filters_gets_an_equal_part_of_a_batch():
    drawn = supernet()._draw(12).tolist()
    assert sorted(drawn) == [0] * 4 + [2] * 4 + [4] * 4
    assert drawn != sorted(drawn)


def test_numbers_of_filters_are_enabled_one_by_one_the_largest_first():
    made = supernet()
    found = []
    for progress in (0.0, 0.3, 0.5, 1.0):
        made.anneal(progress)
        found.append(made.enabled())
    assert found == [(4,), (4, 2), (4, 2, 0), (4, 2, 0)]


@torch.no_grad()
@pytest.mark.parametrize("arch", [(2, 2, 2), (0, 0, 0), (1, 0, 1), (1, 2, 1), (0, 1, 2), (2, 1, 1)], ids=str)
def test_the_derived_network_computes_what_the_sub_network_does(arch):
    made = supernet()
    derived = trainable(SPACE.graph(arch), made.weights_at(arch)).eval()
    assert torch.allclose(derived(images()), made.at(arch)(images()), atol=1e-6)


def test_in_evaluation_all_images_pass_the_largest_network():
    made = supernet()
    assert torch.equal(made(images()), made.at((2, 2, 2))(images()))


def test_its_training_scores_networks_of_all_widths():
    made = BypassSupernet(SPACE)
    settings = TrainSettings(epochs=10, batch_size=12, optimizer="adam", rate=1e-2, validation=None)
    fit(made, task(), settings, [OrderedDropout(made)])
    assert made.enabled() == (4, 2, 0)
    score = SupernetScore(made, task())
    assert min(score(arch) for arch in ((2, 2, 2), (1, 1, 1), (0, 0, 0))) > 60


def test_an_architecture_outside_of_the_space_is_refused():
    with pytest.raises(InputError):
        supernet().at((3, 0, 0))
