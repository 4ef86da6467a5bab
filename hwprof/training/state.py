"""The state of a training: copies of its tensors, in memory and in a file from which a killed run continues.

A checkpoint is one safetensors file: the tensors of the network ("network.*"), of the hooks ("hook.0.*") and of the
optimizers ("optimizer.0.*"), the states of the random generators ("random.*") and, where the best epoch is kept, its
tensors ("best.*"). Its metadata has the settings, the task's name and the record of the epochs as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from hwprof import files
from hwprof.errors import InputError
from hwprof.training.history import EpochResult
from hwprof.training.hooks import Hooks
from hwprof.training.settings import TrainSettings

Tensors: TypeAlias = dict[str, Tensor]
FORMAT = "hwprof.training/1"


def tensors_of(network: nn.Module, hooks: Sequence[Hooks]) -> Tensors:
    """Copies, on the CPU, of what the network and its hooks hold."""
    found = {f"network.{name}": tensor for name, tensor in _own(network).items()}
    for i, hook in enumerate(hooks):
        found |= {f"hook.{i}.{name}": tensor for name, tensor in hook.state().items()}
    return {name: _copy(tensor) for name, tensor in found.items()}


def restore(network: nn.Module, hooks: Sequence[Hooks], tensors: Mapping[str, Tensor]) -> None:
    """Restores the result of `tensors_of`, tensors [...]. Raises InputError where it belongs to another network."""
    own, given = _own(network), below("network.", tensors)
    shapes, wanted = ({name: tuple(t.shape) for name, t in some.items()} for some in (given, own))
    if shapes != wanted:
        odd = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))[0]
        raise InputError(
            f"the stored state belongs to another network: {odd!r} has shape {shapes.get(odd)}, here {wanted.get(odd)}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])
    for i, hook in enumerate(hooks):
        hook.restore(below(f"hook.{i}.", tensors))


def below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors [...] whose names start with the prefix, which is removed."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizers: Sequence[Optimizer]) -> Tensors:
    """Copies of the moments that the optimizers keep, such as "optimizer.0.3.exp_avg" for the third parameter."""
    return {
        f"optimizer.{i}.{parameter}.{name}": _copy(value)
        for i, optimizer in enumerate(optimizers)
        for parameter, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizers(optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Restores the result of `optimizer_tensors`, tensors [...]."""
    for i, optimizer in enumerate(optimizers):
        state: dict[int, Tensors] = {}
        for name, tensor in below(f"optimizer.{i}.", tensors).items():
            parameter, _, moment = name.partition(".")
            state.setdefault(int(parameter), {})[moment] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """tensors: as the module says. step: the number of the next one. best: the number of the best epoch, if one is."""

    tensors: Tensors
    epochs: tuple[EpochResult, ...]
    step: int
    best: int | None


def write(path: Path, checkpoint: Checkpoint, settings: TrainSettings, task: str) -> None:
    """Raises EnvironmentUnfitError when the file cannot be written; the one that was there is then untouched."""
    told = {
        "format": FORMAT, "settings": asdict(settings), "task": task, "step": checkpoint.step, "best": checkpoint.best,
        "epochs": [asdict(epoch) for epoch in checkpoint.epochs],
    }  # fmt: skip
    files.write_bytes(path, save(checkpoint.tensors, {"hwprof": json.dumps(told)}))


def read(path: Path, settings: TrainSettings, task: str) -> Checkpoint:
    """Raises InputError for a file that is not a checkpoint, or is one of another task or other settings."""
    try:
        with safe_open(path, framework="pt") as stored:
            told = json.loads((stored.metadata() or {}).get("hwprof", "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 -- not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"cannot read the checkpoint {str(path)!r}: {error}") from None
    _check(path, told, settings, task)
    epochs = tuple(EpochResult(**epoch) for epoch in told["epochs"])
    return Checkpoint(tensors, epochs, told["step"], told["best"])


def _check(path: Path, told: Mapping[str, Any], settings: TrainSettings, task: str) -> None:
    if told.get("format") != FORMAT:
        raise InputError(f"{str(path)!r} is not a checkpoint of format {FORMAT}; give another path")
    wanted = {"task": task, **asdict(settings)}
    given = {"task": told["task"], **told["settings"]}
    for name in wanted:
        if given.get(name) != wanted[name]:
            differs = f"{name} {given.get(name)!r}, not {wanted[name]!r}"
            raise InputError(f"the checkpoint {str(path)!r} belongs to a training with {differs}; give another path")


def _own(network: nn.Module) -> Tensors:
    return {name: tensor for name, tensor in network.state_dict().items() if isinstance(tensor, Tensor)}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
