import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hwprof.errors import InputError
from hwprof.tasks.signals import signals
from hwprof.training import Hooks, ParamGroup, TrainSettings, fit

TASK = signals(n=100, length=16, n_classes=3)
SETTINGS = TrainSettings(epochs=4, batch_size=20, rate=0.05, keep="best", warmup_epochs=1.5)


class KilledError(Exception):
    pass


class Gate(Hooks):
    def __init__(self):
        self.gate = nn.Parameter(torch.zeros(1))

    def parameters(self):
        return [ParamGroup([self.gate], rate=0.01, optimizer="adam")]

    def penalty(self, progress):
        return (self.gate - 1).square().sum()


def network(units=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(0.3), nn.Linear(units, 3)
    )


def kill_after_the_second(result):
    if result.number == 1:
        raise KilledError


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "training.safetensors"
    with pytest.raises(KilledError):
        fit(network(), TASK, SETTINGS, [Gate()], kill_after_the_second, checkpoint=path)
    return path


def test_a_killed_training_continues_as_if_it_had_not_been_killed(checkpoint):
    whole, continued, gate, gate_continued = network(), network(), Gate(), Gate()
    wanted = fit(whole, TASK, SETTINGS, [gate])
    told = []
    found = fit(continued, TASK, SETTINGS, [gate_continued], told.append, checkpoint=checkpoint)
    assert found == wanted
    assert [result.number for result in told] == [2, 3]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(continued.state_dict()[name], tensor)
    assert torch.equal(gate_continued.gate, gate.gate)
    assert gate.gate.item() > 0


def test_a_finished_training_is_not_repeated(checkpoint):
    first, again, told = network(), network(), []
    wanted = fit(first, TASK, SETTINGS, [Gate()], checkpoint=checkpoint)
    assert fit(again, TASK, SETTINGS, [Gate()], told.append, checkpoint=checkpoint) == wanted
    assert told == []
    assert torch.equal(again[1].weight, first[1].weight)


def test_a_checkpoint_of_other_settings_is_refused(checkpoint):
    other = TrainSettings(epochs=4, batch_size=20, rate=0.1, keep="best", warmup_epochs=1.5)
    with pytest.raises(InputError, match=r"belongs to a training with rate 0\.05, not 0\.1; give another path"):
        fit(network(), TASK, other, [Gate()], checkpoint=checkpoint)


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"belongs to another network: '1\.bias' has shape \(8,\), here \(9,\)"):
        fit(network(9), TASK, SETTINGS, [Gate()], checkpoint=checkpoint)


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        fit(network(), TASK, SETTINGS, checkpoint=path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"is not a checkpoint of format hwprof\.training/1"):
        fit(network(), TASK, SETTINGS, checkpoint=path)


def test_a_channels_last_network_is_restored_in_its_format(tmp_path):
    def convolution():
        torch.manual_seed(0)
        layers = nn.Unflatten(2, (2, 8)), nn.Conv2d(1, 3, 2), nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(21, 3)
        return nn.Sequential(*layers).to(memory_format=torch.channels_last)

    path = tmp_path / "training.safetensors"
    fit(convolution(), TASK, SETTINGS, checkpoint=path)
    made = convolution()
    strides = made[2].weight.stride()
    fit(made, TASK, SETTINGS, checkpoint=path)
    assert made[2].weight.stride() == strides
