"""The one loop in which networks are trained. Methods add hooks to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import NoReturn, TypeAlias

import torch
from torch import Tensor, nn

from hwprof.errors import InputError
from hwprof.interfaces import Batch, Part, Task, higher_is_better
from hwprof.tasks.examples import examples_of
from hwprof.training import state
from hwprof.training.history import EpochResult, History
from hwprof.training.hooks import Hooks
from hwprof.training.optimizers import Optimizers
from hwprof.training.settings import TrainSettings

OnEpoch: TypeAlias = Callable[[EpochResult], None]
_TRIED = 2  # examples
_OF_USERS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError)


def fit(
    network: nn.Module,
    task: Task,
    settings: TrainSettings | None = None,
    hooks: Sequence[Hooks] = (),
    on_epoch: OnEpoch = lambda _result: None,
    *,
    parameters: Sequence[nn.Parameter] | None = None,
    checkpoint: str | Path | None = None,
) -> History:
    """Trains the network in place on the task's part "train", where it is (CPU or GPU), and leaves it in evaluation
    mode. The same seed gives the same result, bit for bit, on one CPU with one number of threads.

    network: takes inputs [n, ...], or several where the task's inputs are a tuple. parameters: those of the network
    that learn; by default all that require a gradient. checkpoint: a file, written after each epoch; if it exists, the
    training continues from it. Raises InputError where the task does not fit the network, where there is nothing to
    train on, where the checkpoint belongs to another training; NotFiniteError, with the network as it was when the loss
    was last known to be finite, where the loss is not finite any more.
    """
    settings = settings or TrainSettings()
    with _seeded(settings.seed, device_of(network)):
        loop = _Loop(network, task, settings, tuple(hooks), parameters)
        history = loop.run(on_epoch, None if checkpoint is None else Path(checkpoint))
    network.eval()
    return history


def evaluate(network: nn.Module, task: Task, part: Part = "test", batch_size: int = 500) -> float:
    """The task's metric on all examples of the part, by the network in evaluation mode; the mode is then put back.

    Raises InputError for a part without examples, and where the task does not fit the network.
    """
    outputs, targets = [], []
    with _evaluating(network), torch.no_grad():
        device = device_of(network)
        for batch in examples_of(task, part).batches(batch_size):
            output = output_of(network, task, on_device(batch, device))
            if not isinstance(output, Tensor):
                raise InputError(
                    f"the network returns a {type(output).__name__}, and the metric of task {task.name!r} needs one "
                    "tensor: return one (concatenate several outputs), and tell them apart in the loss and the metric"
                )
            outputs.append(output.cpu())
            targets.append(batch.targets)
    if not outputs:
        raise InputError(f"task {task.name!r} has no example in its part {part!r} to evaluate the network on")
    output, wanted = torch.cat(outputs), torch.cat(targets)
    with _fitting(task, output, wanted):
        return float(task.metric(output, wanted))


def require_loss(network: nn.Module, task: Task) -> None:
    """Raises InputError where the task's loss fails on some examples of the part "train", of which the network, in
    evaluation mode, computes the outputs."""
    batch = next(iter(examples_of(task, "train").batches(_TRIED)), None)
    if batch is None:
        raise InputError(f"task {task.name!r} has no batch to train on")
    with _evaluating(network), torch.no_grad():
        batch = on_device(batch, device_of(network))
        output = output_of(network, task, batch)
        with _fitting(task, output, batch.targets):
            task.loss(output, batch.targets)


def output_of(network: nn.Module, task: Task, batch: Batch) -> Tensor:
    """The network's output for the batch, [n, ...]. Raises InputError where its inputs do not fit the network."""
    inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
    try:
        output: Tensor = network(*inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise InputError(
            f"the network does not take the inputs of task {task.name!r}, of shape {shapes}: {_first_line(error)}"
        ) from error
    return output


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch, copied where it is not there yet."""
    inputs = batch.inputs
    moved = tuple(tensor.to(device) for tensor in inputs) if isinstance(inputs, tuple) else inputs.to(device)
    return Batch(moved, batch.targets.to(device))


def device_of(network: nn.Module) -> torch.device:
    """Where the first of its tensors is; the CPU if it has none."""
    first = next(chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if first is None else first.device


class NotFiniteError(InputError):
    """A training whose loss or weights are not finite any more. The network has the last state that was finite."""


class _Loop:
    def __init__(
        self,
        network: nn.Module,
        task: Task,
        settings: TrainSettings,
        hooks: tuple[Hooks, ...],
        parameters: Sequence[nn.Parameter] | None,
    ) -> None:
        self._network, self._task, self._settings, self._hooks = network, task, settings, hooks
        groups = [group for hook in hooks for group in hook.parameters()]
        self._optimizers = Optimizers(network.parameters() if parameters is None else parameters, groups, settings)
        if not self._optimizers.parameters:
            raise InputError("the network has no parameter that can learn")
        self._device = device_of(network)
        self._order = torch.Generator().manual_seed(settings.seed)
        self._examples = examples_of(task, "train")
        self._n_batches = self._examples.n_batches(settings.batch_size)
        if not self._n_batches:
            raise InputError(f"task {task.name!r} has no batch to train on")
        self._step = 0
        self._epochs: list[EpochResult] = []
        self._best: tuple[int, state.Tensors] | None = None
        self._finite = 0, state.tensors_of(network, hooks)  # before which epoch

    def run(self, on_epoch: OnEpoch, checkpoint: Path | None) -> History:
        if checkpoint is not None and checkpoint.exists():
            self._continue_from(state.read(checkpoint, self._settings, self._task.name))
        while len(self._epochs) < self._settings.epochs and not self._should_stop():
            self._epochs.append(self._epoch(len(self._epochs)))
            self._keep_the_best()
            if checkpoint is not None:
                state.write(checkpoint, self._checkpoint(), self._settings, self._task.name)
            on_epoch(self._epochs[-1])
        kept = self._epochs[-1].number
        if self._best is not None:
            kept, tensors = self._best
            state.restore(self._network, self._hooks, tensors)
        return History(tuple(self._epochs), kept)

    def _epoch(self, number: int) -> EpochResult:
        start = perf_counter()
        self._network.train()
        before = state.tensors_of(self._network, self._hooks)
        losses = []
        for index, batch in enumerate(self._examples.batches(self._settings.batch_size, self._order)):
            losses.append(self._learn(batch, number + min(index / self._n_batches, 1.0)))
            if index == 0:  # it was finite
                self._finite = number, before
        if not losses:
            raise InputError(f"task {self._task.name!r} has no batch to train on in epoch {number}")
        if not all(bool(parameter.isfinite().all()) for parameter in self._optimizers.parameters):
            self._give_up(f"a weight is not finite any more after step {self._step - 1} (epoch {number})")
        for hook in self._hooks:
            hook.after_epoch(number)
        part = self._settings.validation
        metric = None if part is None else evaluate(self._network, self._task, part)
        seconds = perf_counter() - start
        return EpochResult(number, math.fsum(losses) / len(losses), metric, seconds, higher_is_better(self._task))

    def _learn(self, batch: Batch, epochs_done: float) -> float:
        """One step. Returns the task's loss before it."""
        step, hooks = self._step, self._hooks
        self._optimizers.set_rates(epochs_done)
        for hook in hooks:
            hook.before_step(step)
        batch = on_device(batch, self._device)
        output = output_of(self._network, self._task, batch)
        with _fitting(self._task, output, batch.targets):
            loss = self._task.loss(output, batch.targets)
        progress = epochs_done / self._settings.epochs
        total = loss
        for hook in hooks:
            total = total + hook.batch_loss(batch, output) + hook.penalty(progress)
        if not math.isfinite(total.item()):
            self._give_up(f"the loss is {total.item()} at step {step} (epoch {int(epochs_done)})")
        self._optimizers.zero_grad()
        total.backward(inputs=self._optimizers.parameters)  # type: ignore[no-untyped-call]
        for hook in hooks:
            hook.after_backward(step)
        self._optimizers.step()
        for hook in hooks:
            hook.after_step(step)
        self._step += 1
        return loss.item()

    def _give_up(self, reason: str) -> NoReturn:
        before, tensors = self._finite
        state.restore(self._network, self._hooks, tensors)
        raise NotFiniteError(
            f"{reason}; the network is as it was before epoch {before}: lower the rate, or look for values in the "
            "data that are not finite"
        )

    def _should_stop(self) -> bool:
        return bool(self._epochs) and any(hook.should_stop(self._epochs) for hook in self._hooks)

    def _keep_the_best(self) -> None:
        last = self._epochs[-1]
        if self._settings.keep != "best" or last.score is None or not all(hook.may_be_kept() for hook in self._hooks):
            return
        best = None if self._best is None else self._epochs[self._best[0]].score
        if best is None or last.score > best:
            self._best = last.number, state.tensors_of(self._network, self._hooks)

    def _checkpoint(self) -> state.Checkpoint:
        number, best = self._best or (None, {})
        tensors = {
            **state.tensors_of(self._network, self._hooks),
            **state.optimizer_tensors(self._optimizers.each),
            **{f"best.{name}": tensor for name, tensor in best.items()},
            "random.order": self._order.get_state(),
            "random.cpu": torch.get_rng_state(),
        }
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        return state.Checkpoint(tensors, tuple(self._epochs), self._step, number)

    def _continue_from(self, stored: state.Checkpoint) -> None:
        """Raises InputError where the task said otherwise about which metrics are better."""
        if any(epoch.higher_is_better != higher_is_better(self._task) for epoch in stored.epochs):
            raise InputError(
                f"the checkpoint's training had another higher_is_better of task {self._task.name!r}; give another path"
            )
        state.restore(self._network, self._hooks, stored.tensors)
        state.restore_optimizers(self._optimizers.each, stored.tensors)
        self._order.set_state(stored.tensors["random.order"])
        torch.set_rng_state(stored.tensors["random.cpu"])
        if "random.cuda" in stored.tensors and self._device.type == "cuda":
            torch.cuda.set_rng_state(stored.tensors["random.cuda"], self._device)
        self._epochs, self._step = list(stored.epochs), stored.step
        self._best = None if stored.best is None else (stored.best, state.below("best.", stored.tensors))
        self._finite = len(self._epochs), state.tensors_of(self._network, self._hooks)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's own generators start from the seed, and are afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _fitting(task: Task, output: Tensor, targets: Tensor) -> Iterator[None]:
    """Turns an error of the user's loss or metric into an InputError that says both shapes."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _OF_USERS as error:
        raise InputError(
            f"the loss or metric of task {task.name!r} fails on an output of shape {_shape(output)} and targets of "
            f"shape {_shape(targets)}: {_first_line(error)}"
        ) from error


def _shape(values: object) -> str:
    return str(tuple(values.shape)) if isinstance(values, Tensor) else type(values).__name__


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
