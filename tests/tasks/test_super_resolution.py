import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.tasks.super_resolution import SuperResolution, enlarged, psnr_db, super_resolution
from hwprof.testing import check_task
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.workloads.super_resolution import super_resolution as network_of


def picture(seed):
    """Edges in all directions, which bicubic interpolation blurs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96]
    waves = [np.sign(np.sin(a * x + b * y)) for a, b in rng.uniform(-0.3, 0.3, (4, 2))]
    return np.mean(waves, axis=0) / 2 + 0.5


def task():
    return SuperResolution([picture(0), picture(1)], [picture(2)], side=8)


def test_it_keeps_the_contract():
    check_task(task(), trainable(network_of(side=8)))


def test_a_network_that_adds_nothing_has_the_psnr_of_bicubic():
    batch = next(task().examples("test").batches(1000))
    high = enlarged(batch.inputs) + batch.targets
    assert task().metric(torch.zeros_like(batch.targets), batch.targets) == pytest.approx(
        psnr_db(enlarged(batch.inputs), high)
    )


def test_a_short_training_beats_bicubic():
    network = trainable(network_of(side=8, channels=8))
    fit(network, task(), TrainSettings(epochs=40, batch_size=8, optimizer="adam", rate=1e-2, validation=None))
    batch = next(task().examples("test").batches(1000))
    assert evaluate(network, task()) > task().metric(torch.zeros_like(batch.targets), batch.targets) + 0.3


def test_an_error_of_a_tenth_is_20_db():
    assert psnr_db(torch.full((2, 2), 0.1), torch.zeros(2, 2)) == pytest.approx(20.0)


def test_photographs_are_divided_and_none_of_the_test_is_trained_on():
    pytest.importorskip("skimage.data", reason="scikit-image's photographs are not installed")
    made = super_resolution(side=32)
    assert all(made.examples(part).n_batches(8) > 1 for part in ("train", "search", "test"))


def test_photographs_without_a_patch_are_refused():
    with pytest.raises(InputError, match="the photographs have no patch of 256 x 256 pixels"):
        SuperResolution([picture(0)], [picture(1)], side=128)


def test_an_unknown_part_is_refused():
    with pytest.raises(InputError, match="has no part 'all'"):
        task().examples("all")
