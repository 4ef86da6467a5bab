"""`hwprof.testing.check_task`: which broken rule it finds."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.tasks import TensorExamples
from hwprof.testing import check_task


def part(first):
    return TensorExamples(torch.arange(40.0)[:, None] + first, torch.arange(40) % 3)


class Sound:
    """Three classes of numbers."""

    name = "numbers"
    metric_name = "accuracy, %"

    def __init__(self):
        self.parts = {"train": part(0), "search": part(100), "test": part(200)}

    def examples(self, part):
        if part not in self.parts:
            raise InputError(f"no part is named {part!r}")
        return self.parts[part]

    def loss(self, output, targets):
        return functional.cross_entropy(output, targets)

    def metric(self, output, targets):
        return 100 * float((output.argmax(-1) == targets).float().mean())


def test_a_task_whose_metric_is_an_error_says_so():
    class Errors(Sound):
        metric_name = "error, %"
        higher_is_better = False

        def metric(self, output, targets):
            return 100 - super().metric(output, targets)

    network = nn.Linear(1, 3)
    check_task(Errors(), network)
    Errors.higher_is_better = True
    with pytest.raises(AssertionError, match="right labels have a metric of 0"):
        check_task(Errors(), network)


class Images(Sound):
    """Targets that are not labels."""

    def __init__(self):
        super().__init__()
        self.parts = {name: TensorExamples(of.inputs, of.inputs.clone()) for name, of in self.parts.items()}

    def loss(self, output, targets):
        return functional.mse_loss(output, targets)

    def metric(self, output, targets):
        return -10 * math.log10(float(functional.mse_loss(output, targets)))


def with_part(name, examples):
    task = Sound()
    task.parts[name] = examples
    return task


def with_member(name, member):
    return type("Broken", (Sound,), {name: member})()


class Restless(TensorExamples):
    """Every reading has another order."""

    def batches(self, size, generator=None):
        return TensorExamples.batches(self, size, torch.Generator().manual_seed(int(torch.randint(1000, ()))))


@pytest.mark.parametrize("task", [Sound(), Images()])
def test_a_sound_task_passes(task):
    check_task(task)
    check_task(task, nn.Linear(1, 3 if type(task) is Sound else 1))


def test_an_object_without_the_members_is_told_which():
    with pytest.raises(AssertionError, match="this one lacks metric_name, examples, loss, metric"):
        check_task(type("Half", (), {"name": "half"})())


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        (with_member("metric_name", ""), "`metric_name` is '', not a text"),
        (with_part("search", TensorExamples(torch.zeros(0, 1), torch.zeros(0))), "part 'search' has no example"),
        (with_part("test", part(0)), "100% of the inputs in 'test' are in 'train', too"),
        (with_part("test", part(-20)), "50% of the inputs in 'test' are in 'train', too"),
        (with_part("train", part(math.nan)), "part 'train' has an input that is not finite"),
        (with_part("test", Restless(part(200).inputs, part(200).targets)), "has other examples or another order"),
        (with_member("examples", lambda self, part: self.parts.get(part, self.parts["test"])), "part was accepted"),
        (with_member("examples", lambda self, part: self.parts[part]), "part raised KeyError instead of InputError"),
        (with_member("loss", lambda self, output, targets: output[:, 0]), "not a finite scalar"),
        (with_member("loss", lambda self, output, targets: output.detach().mean()), "the loss has no gradient"),
        (with_member("loss", lambda self, output, targets: output.mean()), "right labels have a loss of"),
        (with_member("metric", lambda self, output, targets: math.nan), "the metric is nan, not a finite float"),
        (with_member("metric", lambda self, *given: -Sound.metric(self, *given)), "right labels have a metric of -100"),
    ],
)
def test_a_task_that_breaks_a_rule_is_told_which(task, fault):
    with pytest.raises(AssertionError, match=fault):
        check_task(task)


def test_the_inputs_to_train_may_be_augmented():
    class Noisy(TensorExamples):
        def batches(self, size, generator=None):
            for batch in TensorExamples.batches(self, size, generator):
                yield batch._replace(inputs=batch.inputs + 0.1 * torch.rand(1))

    check_task(with_part("train", Noisy(part(0).inputs, part(0).targets)))
