import math

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from hwprof.errors import InputError
from hwprof.tasks import Classification

PART = (np.zeros((4, 2), np.float32), np.array([0, 1, 2, 1]))


def task(**changes):
    return Classification("mine", **{"train": PART, "search": PART, "test": PART, **changes})


def test_the_loss_is_the_cross_entropy_and_the_metric_the_percentage_of_right_labels():
    scores, targets = torch.zeros(4, 3), torch.tensor([0, 1, 2, 1])
    scores[:3] += 50 * torch.eye(3)
    assert task().metric(scores, targets) == 75.0
    assert float(task().loss(scores, targets)) == pytest.approx(math.log(3) / 4)


def test_the_number_of_classes_comes_from_the_labels_where_all_are_known():
    assert task().n_classes == 3
    lazy = TensorDataset(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert task(search=lazy).n_classes is None
    assert task(search=lazy, n_classes=4).n_classes == 4


@pytest.mark.parametrize("shape", [(4, 2), (4,), (3, 3), (4, 3, 1)])
def test_scores_of_another_shape_are_refused_with_both(shape):
    with pytest.raises(InputError, match=r"output has shape \(.*\); task 'mine' needs scores \(4, 3\)"):
        task().loss(torch.zeros(shape), torch.zeros(4).long())


def test_more_scores_than_classes_are_taken():
    assert task().metric(torch.zeros(4, 5), torch.zeros(4).long()) == 100.0


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        (np.zeros(4), r"float32 \(4,\)"),
        (np.zeros((4, 3), int), r"int64 \(4, 3\)"),
        (np.array([0, 1, -1, 0]), r"int64 \(4,\)"),
    ],
)
def test_what_are_not_labels_is_refused(labels, given):
    with pytest.raises(InputError, match=rf"task 'mine' needs labels of shape \(n,\), integers from 0; given: {given}"):
        task(search=(PART[0], labels))


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="task 'mine' has no part 'validation'; its parts: train, search, test"):
        task().examples("validation")
