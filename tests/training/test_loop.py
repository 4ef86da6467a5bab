import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hwprof.errors import InputError
from hwprof.tasks import Classification
from hwprof.tasks.signals import signals
from hwprof.training import Hooks, ParamGroup, TrainSettings, evaluate, fit

SMALL = signals(n=200, length=16, n_classes=3)
SHORT = TrainSettings(epochs=2, batch_size=40, rate=0.1)


def network(seed=0, *, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 3)
    )


def weights(of):
    return torch.cat([tensor.flatten().float() for tensor in of.state_dict().values()])


class Recorder(Hooks):
    def __init__(self):
        self.calls = []

    def before_step(self, step):
        self.calls.append(("before_step", step))

    def batch_loss(self, batch, output):
        assert len(output) == len(batch.targets)
        self.calls.append("batch_loss")
        return 0.0

    def penalty(self, progress):
        self.calls.append(("penalty", progress))
        return 0.0

    def after_backward(self, step):
        self.calls.append(("after_backward", step))

    def after_step(self, step):
        self.calls.append(("after_step", step))

    def after_epoch(self, epoch):
        self.calls.append(("after_epoch", epoch))


class Changing(Hooks):
    """Changes the network at a moment."""

    def __init__(self, moment, change):
        setattr(self, moment, change)


def test_a_network_learns():
    trained, task = network(), signals(n=1000, length=16, n_classes=3)
    before = evaluate(trained, task)
    history = fit(trained, task, TrainSettings(epochs=5, batch_size=20, rate=0.1))
    assert before < 50
    assert evaluate(trained, task) > 80
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.metric == evaluate(trained, task, "search")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_same_seed_gives_the_same_weights(optimizer):
    def trained(seed):
        made = network(dropout=0.5)
        return fit(made, SMALL, TrainSettings(epochs=2, optimizer=optimizer, rate=0.01, seed=seed)), weights(made)

    (history, first), (again, second), (_, other) = trained(0), trained(0), trained(1)
    assert history == again
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_training_leaves_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    made = network(dropout=0.5)
    torch.manual_seed(5)
    fit(made, SMALL, SHORT)
    assert torch.rand(1) == wanted


def test_hooks_are_called_at_their_moments():
    recorder = Recorder()
    fit(network(), SMALL, TrainSettings(epochs=2, batch_size=60), [recorder])
    step = ["batch_loss"]
    assert recorder.calls == [
        ("before_step", 0), *step, ("penalty", 0.0), ("after_backward", 0), ("after_step", 0),
        ("before_step", 1), *step, ("penalty", 0.25), ("after_backward", 1), ("after_step", 1),
        ("after_epoch", 0),
        ("before_step", 2), *step, ("penalty", 0.5), ("after_backward", 2), ("after_step", 2),
        ("before_step", 3), *step, ("penalty", 0.75), ("after_backward", 3), ("after_step", 3),
        ("after_epoch", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("moment", ["penalty", "batch_loss"])
def test_what_a_hook_adds_to_the_loss_is_learned_and_not_reported(moment):
    plain, pulled = network(), network()
    hook = Changing(moment, lambda *_: 100 * pulled[1].weight.square().sum())
    expected = fit(plain, SMALL, TrainSettings(epochs=1, batch_size=200, rate=1e-4)).epochs[0].loss
    history = fit(pulled, SMALL, TrainSettings(epochs=1, batch_size=200, rate=1e-4), [hook])
    assert history.epochs[0].loss == expected
    assert pulled[1].weight.norm() < plain[1].weight.norm()


def test_a_hook_can_project_the_weights_after_each_step():
    made = network()

    def truncated(_step):
        u, s, v = torch.linalg.svd(made[1].weight.detach(), full_matrices=False)
        made[1].weight.data = u[:, :2] * s[:2] @ v[:2]

    fit(made, SMALL, SHORT, [Changing("after_step", truncated)])
    assert torch.linalg.matrix_rank(made[1].weight, rtol=1e-4) == 2


def test_a_hook_can_change_gradients():
    made = network()
    before = made[1].weight.detach().clone()
    fit(made, SMALL, SHORT, [Changing("after_backward", lambda _step: made[1].weight.grad.zero_())])
    assert torch.equal(made[1].weight, before)


def test_the_parameters_of_a_hook_are_trained_with_their_own_rate():
    class Gate(Hooks):
        gate = nn.Parameter(torch.zeros(1))

        def parameters(self):
            return [ParamGroup([self.gate], rate=0.125)]

        def penalty(self, progress):
            return -self.gate.sum()

    hook = Gate()
    settings = TrainSettings(epochs=2, batch_size=200, schedule="constant", momentum=0)
    fit(network(), SMALL, settings, [hook])
    assert hook.gate.item() == 0.25


def test_only_the_parameters_that_are_given_learn():
    made = network()
    first, last = made[1].weight.detach().clone(), made[5].weight.detach().clone()
    fit(made, SMALL, SHORT, parameters=list(made[5].parameters()))
    assert torch.equal(made[1].weight, first)
    assert not torch.equal(made[5].weight, last)


def test_the_best_epoch_is_kept_and_none_that_a_hook_forbids():
    made, metrics, states = network(), iter([50.0, 90.0, 95.0, 40.0]), []

    class Scripted(Classification):
        def metric(self, output, targets):
            return next(metrics)

    class Forbidding(Hooks):
        def after_epoch(self, epoch):
            self.epoch = epoch
            states.append(weights(made))

        def may_be_kept(self):
            return self.epoch != 2

    task = Scripted("scripted", *(SMALL.examples(part) for part in ("train", "search", "test")))
    history = fit(made, task, TrainSettings(epochs=4, keep="best"), [Forbidding()])
    assert history.kept == 1
    assert history.metric == 90.0
    assert torch.equal(weights(made), states[1])


class Errors(Classification):
    """A task whose metric was written down beforehand, and is an error."""

    higher_is_better = False

    def __init__(self, *metrics):
        super().__init__("errors", *(SMALL.examples(part) for part in ("train", "search", "test")))
        self.metrics = iter(metrics)

    def metric(self, output, targets):
        return next(self.metrics)


def test_the_epoch_with_the_smallest_error_is_kept():
    history = fit(network(), Errors(0.5, 0.2, 0.9), TrainSettings(epochs=3, keep="best"))
    assert (history.kept, history.metric) == (1, 0.2)


@pytest.mark.parametrize("better", [True, False])
def test_an_epoch_whose_metric_is_not_a_number_is_not_the_best(better):
    task = Errors(math.nan, 0.3, math.nan)
    task.higher_is_better = better
    assert fit(network(), task, TrainSettings(epochs=3, keep="best")).kept == 1


def test_a_checkpoint_does_not_continue_where_the_direction_of_the_metric_changed(tmp_path):
    task = Errors(0.5, 0.2)
    fit(network(), task, TrainSettings(epochs=2, keep="best"), checkpoint=tmp_path / "c.safetensors")
    task.higher_is_better = True
    with pytest.raises(InputError, match="training had another higher_is_better of task 'errors'"):
        fit(network(), task, TrainSettings(epochs=2, keep="best"), checkpoint=tmp_path / "c.safetensors")


def test_a_loss_that_is_not_finite_ends_the_training_with_the_last_finite_weights():
    made = network()
    kept = {}

    def broken_in_the_second_epoch(step):
        if step == 3:  # the first of epoch 1
            kept["weights"] = weights(made)
        if step == 4:
            made[1].weight.data.fill_(math.nan)

    hook = Changing("before_step", broken_in_the_second_epoch)
    with pytest.raises(InputError, match=r"the loss is nan at step 4 \(epoch 1\); the network is as it was before ep"):
        fit(made, SMALL, TrainSettings(epochs=3, batch_size=40), [hook])
    assert torch.equal(weights(made), kept["weights"])


def test_a_weight_that_is_not_finite_after_the_last_step_is_noticed():
    made = network()
    hook = Changing("after_step", lambda step: made[1].weight.data.fill_(math.inf) if step == 2 else None)
    with pytest.raises(InputError, match=r"a weight is not finite any more after step 2 \(epoch 0\)"):
        fit(made, SMALL, TrainSettings(epochs=1, batch_size=40, validation=None), [hook])
    assert weights(made).isfinite().all()


def test_data_that_is_not_finite_leaves_the_network_as_it_was():
    broken = (torch.full((4, 1, 16), math.nan), torch.zeros(4).long())
    made = network()
    before = weights(made)
    with pytest.raises(InputError, match="loss is nan at step 0"):
        fit(made, Classification("broken", broken, broken, broken), SHORT)
    assert torch.equal(weights(made), before)


def test_every_epoch_is_told():
    told = []
    history = fit(network(), SMALL, SHORT, on_epoch=told.append)
    assert tuple(told) == history.epochs
    assert [result.number for result in told] == [0, 1]


def test_evaluation_gives_one_figure_for_all_examples_and_puts_the_modes_back():
    made = network(dropout=0.5).train()
    made[2].eval()
    assert evaluate(made, SMALL, batch_size=7) == evaluate(made, SMALL, batch_size=500)
    assert made.training
    assert not made[2].training


def test_a_network_is_left_in_evaluation_mode():
    made = network()
    fit(made, SMALL, SHORT)
    assert not made.training


def test_a_network_with_several_inputs_is_trained():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x, y):
            return self.head(x + y)

    inputs = (torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.ones(8, 4))
    part = (inputs, torch.arange(8) % 2)
    task = Classification("two inputs", part, part, part)
    fit(Sum(), task, SHORT)
    with pytest.raises(InputError, match=r"does not take the inputs of task 'two inputs', of shape \(8, 4\) and \(8"):
        evaluate(nn.Linear(4, 2), task)


def test_a_data_loader_is_trained_from():
    part = SMALL.examples("train")
    loader = DataLoader(TensorDataset(part.inputs, part.targets), 30, shuffle=True)
    task = Classification("loaders", loader, loader, loader)

    def trained():
        made = network()
        fit(made, task, SHORT)
        return weights(made)

    assert torch.equal(trained(), trained())


def test_inputs_that_do_not_fit_the_network_are_refused_with_their_shape():
    with pytest.raises(
        InputError, match=r"does not take the inputs of task 'signals', of shape \(40, 1, 16\): .*40x16"
    ):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), SMALL, SHORT)


def test_an_output_that_does_not_fit_the_task_is_refused_with_both_shapes():
    with pytest.raises(InputError, match=r"output has shape \(40, 2\); task 'signals' needs scores \(40, 3\)"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), SMALL, SHORT)

    class Regression(Classification):
        def loss(self, output, targets):
            return nn.functional.l1_loss(output @ torch.ones(5, 1), targets)

    task = Regression("regression", *(SMALL.examples(part) for part in ("train", "search", "test")))
    with pytest.raises(
        InputError, match=r"task 'regression' fails on an output of shape \(40, 3\) and targets of shape \(40,\): "
    ):
        fit(copy.deepcopy(network()), task, SHORT)


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError, AssertionError, ZeroDivisionError])
def test_an_error_in_the_user_s_loss_is_one_line(error):
    class Faulty(Classification):
        def loss(self, output, targets):
            raise error("of mine")

    task = Faulty("faulty", *(SMALL.examples(part) for part in ("train", "search", "test")))
    with pytest.raises(InputError, match=r"the loss or metric of task 'faulty' fails on an output .*: '?of mine"):
        fit(copy.deepcopy(network()), task, SHORT)


def test_nothing_to_train_or_to_evaluate_on_is_refused():
    none = (torch.zeros(0, 1, 16), torch.zeros(0).long())
    task = Classification("empty", none, none, none)
    with pytest.raises(InputError, match="task 'empty' has no batch to train on"):
        fit(network(), task, SHORT)
    with pytest.raises(InputError, match="task 'empty' has no example in its part 'test'"):
        evaluate(network(), task)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(InputError, match="no parameter that can learn"):
        fit(nn.Flatten(), SMALL, SHORT)


def test_a_hook_can_compute_with_other_weights_than_those_that_learn():
    """BinaryConnect (arXiv 1511.00363): signs in the forward and backward pass, real weights in the step."""
    made = network()
    weight = made[1].weight
    seen = []

    class Signs(Hooks):
        def before_step(self, step):
            self.real = weight.detach().clone()
            weight.data = self.real.sign()

        def batch_loss(self, batch, output):
            seen.append(weight.detach().abs().unique().tolist())
            return 0.0

        def after_backward(self, step):
            weight.data = self.real

    before = weight.detach().clone()
    fit(made, SMALL, SHORT, [Signs()])
    assert set(map(tuple, seen)) == {(1.0,)}
    assert weight.detach().abs().unique().numel() > 1
    assert 0 < float((weight.detach() - before).abs().max()) < 1
