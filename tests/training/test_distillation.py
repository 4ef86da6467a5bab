import pytest
import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.interfaces import Batch
from hwprof.tasks import Classification
from hwprof.tasks.examples import TensorExamples
from hwprof.training import TrainSettings, fit
from hwprof.training.distillation import Distillation

INPUTS = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 4)


def test_the_loss_is_the_cross_entropy_of_softened_scores_times_the_temperature_squared():
    teacher, output = linear(0), linear(1)(INPUTS)
    batch = Batch(INPUTS, torch.zeros(64, dtype=torch.long))
    expected = -((teacher(INPUTS) / 2).softmax(-1) * (output / 2).log_softmax(-1)).sum(-1).mean() * 4 * 0.5
    assert torch.allclose(Distillation(teacher, weight=0.5, temperature=2.0).batch_loss(batch, output), expected)


def test_the_network_learns_what_the_labels_do_not_say():
    """All labels are 0; the teacher tells the classes apart."""
    teacher, student = linear(0), linear(1)
    part = TensorExamples(INPUTS, torch.zeros(64, dtype=torch.long))
    settings = TrainSettings(epochs=60, batch_size=64, optimizer="adam", rate=0.05, validation=None)
    fit(student, Classification("one class", part, part, part, n_classes=4), settings, [Distillation(teacher, 20.0)])
    assert (student(INPUTS).argmax(-1) == teacher(INPUTS).argmax(-1)).float().mean() > 0.9


def test_the_teacher_stays_as_it_is():
    teacher, student = linear(0), linear(1)
    before = teacher.weight.clone()
    part = TensorExamples(INPUTS, torch.zeros(64, dtype=torch.long))
    task = Classification("one class", part, part, part, n_classes=4)
    fit(student, task, TrainSettings(epochs=1), [Distillation(teacher)])
    assert torch.equal(teacher.weight, before)
    assert teacher.training


@pytest.mark.parametrize("numbers", [{"temperature": 0.0}, {"weight": -1.0}])
def test_a_number_that_teaches_nothing_is_refused(numbers):
    with pytest.raises(InputError, match="distillation needs a positive temperature and weight"):
        Distillation(linear(0), **numbers)
