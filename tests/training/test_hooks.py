import pytest
import torch
from torch import nn

from hwprof.tasks.signals import signals
from hwprof.training import EarlyStop, EpochResult, Hooks, ParamGroup, TrainSettings, fit


def results(*metrics):
    return [EpochResult(number, 1.0, metric, 0.1) for number, metric in enumerate(metrics)]


@pytest.mark.parametrize(
    ("metrics", "stops"),
    [((1.0,), False), ((2.0, 1.0), False), ((2.0, 1.0, 2.0), True), ((2.0, 1.0, 3.0), False), ((None, None), False)],
)
def test_a_training_ends_when_its_metric_stays(metrics, stops):
    assert EarlyStop(patience=2).should_stop(results(*metrics)) is stops


def test_a_training_whose_error_grows_ends():
    epochs = [EpochResult(i, 1.0, error, 0.1, higher_is_better=False) for i, error in enumerate((2.0, 1.0, 1.5, 3.0))]
    assert EarlyStop(patience=2).should_stop(epochs)
    assert not EarlyStop(patience=3).should_stop(epochs)


def test_the_loop_asks_its_hooks_whether_to_stop():
    class Second(Hooks):
        def should_stop(self, epochs):
            return len(epochs) == 2

    task = signals(n=50, length=16)
    history = fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 10)), task, TrainSettings(epochs=9), [Second()])
    assert len(history.epochs) == 2


def test_the_parameters_of_a_hook_are_its_state():
    class Gates(Hooks):
        def __init__(self):
            self.gates = nn.Parameter(torch.zeros(2))

        def parameters(self):
            return [ParamGroup([self.gates], rate=1.0)]

    hook = Gates()
    hook.restore({"0": torch.tensor([1.0, 2.0])})
    assert hook.gates.tolist() == [1.0, 2.0]
    assert hook.state()["0"].tolist() == [1.0, 2.0]
