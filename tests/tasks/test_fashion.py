import gzip

import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.tasks.fashion import fashion
from tests.tasks.files import SHARED, fashion_like, idx


@pytest.mark.parametrize("packed", [True, False])
def test_the_training_file_is_divided_and_the_other_is_the_test(tmp_path, packed):
    task = fashion(fashion_like(tmp_path, packed=packed))
    train, search, test = (task.examples(part) for part in ("train", "search", "test"))
    assert train.inputs.shape == (10, 1, 28, 28)
    assert search.inputs.shape == (2, 1, 28, 28)
    numbers = (255 * torch.cat([train.inputs, search.inputs])[:, 0, 0, 0]).round().int()
    assert sorted(numbers.tolist()) == list(range(12))
    assert torch.equal(numbers[:10] % 10, train.targets)
    assert test.targets.tolist() == [0, 1, 2, 3]


def test_small_images_are_means_of_four_pixels(tmp_path):
    folder = fashion_like(tmp_path)
    large, small = (fashion(folder, side).examples("test").inputs for side in (28, 14))
    assert small.shape == (4, 1, 14, 14)
    assert small[2, 0, 3, 5] == pytest.approx(float(large[2, 0, 6:8, 10:12].mean()), rel=1e-6)
    assert (small[:, 0, 0, 0] * 255).round().tolist() == [0, 1, 2, 3]


def test_fewer_images_can_be_used(tmp_path):
    task = fashion(fashion_like(tmp_path), n=6)
    assert [len(task.examples(part)) for part in ("train", "search", "test")] == [5, 1, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"side": 20}, "a side of 28 or 14 pixels, not 20"), ({"n": 13}, "2 to 12 images"), ({"n": 1}, "2 to 12 images")],
)
def test_what_cannot_be_had_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        fashion(fashion_like(tmp_path), **options)


def test_an_absent_folder_is_refused_with_the_package_that_has_the_files(tmp_path):
    with pytest.raises(InputError, match=r"has no file train-images-idx3-ubyte or .*apt install dataset-fashion-mnist"):
        fashion(tmp_path / "absent")


def test_labels_of_another_set_are_refused(tmp_path):
    fashion_like(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(3, np.uint8))))
    with pytest.raises(InputError, match=r"has 4 images and .* 3 labels"):
        fashion(tmp_path)


def test_images_of_another_size_are_refused(tmp_path):
    fashion_like(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((4, 8, 8), np.uint8))))
    with pytest.raises(InputError, match=r"has images of shape \(4, 8, 8\), not \(n, 28, 28\)"):
        fashion(tmp_path)


@pytest.mark.skipif(SHARED is None, reason="needs Fashion-MNIST beside the repository (../shared/data)")
def test_the_real_set_is_read():
    task = fashion(SHARED / "fashion-mnist", side=14, n=1200)
    train, search, test = (task.examples(part) for part in ("train", "search", "test"))
    assert [len(part) for part in (train, search, test)] == [1000, 200, 10000]
    assert task.n_classes == 10
    assert torch.bincount(test.targets).tolist() == [1000] * 10
    assert 0.28 < float(train.inputs.mean()) < 0.3
