"""The contract of tasks: `check_task`."""

from __future__ import annotations

import math
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, get_args

import numpy as np

from hwprof import plugins
from hwprof.interfaces import Part, Task, higher_is_better
from hwprof.testing.rules import require, require_refusal

if TYPE_CHECKING:
    import torch


_TASK_MEMBERS = ("name", "metric_name", "examples", "loss", "metric")
_BATCH_SIZE = 32
_MOST_SHARED = 0.01  # of a part's examples that another part has, too: public sets have a few duplicates


def check_task(task: Task, network: torch.nn.Module | None = None) -> None:
    """Reads all parts of the task, and gives it outputs of the network if there is one, which must fit its inputs.

    Each part has examples, the same each time (but for inputs of "train", which may be augmented), with as many targets
    as inputs; parts share no examples; an unknown part is an InputError. The loss of an output is a finite scalar with
    a gradient, its metric a finite number. Where the targets are labels (int64, [n]), scores for the right ones have a
    smaller loss and a better metric than others.
    """
    missing = [member for member in _TASK_MEMBERS if not hasattr(task, member)]
    require(not missing, f"a task has {', '.join(_TASK_MEMBERS)}; this one lacks {', '.join(missing)}")
    higher_is_better(task)
    for text in ("name", "metric_name"):
        require(bool(getattr(task, text)), f"`{text}` is {getattr(task, text)!r}, not a text")
    parts: tuple[Part, ...] = get_args(Part)
    seen = {part: _check_part(task, part) for part in parts}
    for part in parts:
        for other in parts[: parts.index(part)]:
            shared = len(seen[part] & seen[other]) / max(1, len(seen[part]))
            require(shared <= _MOST_SHARED, f"{shared:.0%} of the inputs in {part!r} are in {other!r}, too")
    require_refusal(partial(task.examples, "no such part"), "an unknown part")  # type: ignore[arg-type]
    batch = next(iter(task.examples("train").batches(_BATCH_SIZE)))
    if network is not None:
        inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
        _check_figures(task, network(*inputs), batch.targets)
    if batch.targets.ndim == 1 and not batch.targets.is_floating_point():
        _check_labels(task, batch.targets)


def _check_part(task: Task, part: Part) -> set[bytes]:
    """Returns a digest of each input."""
    with plugins.optional_library("a task"):
        import torch

    first, again = (_read(task, part, None) for _ in range(2))
    require(bool(first[1]), f"part {part!r} has no example")
    require(len(first[0]) == len(first[1]), f"part {part!r} has inputs and targets of different lengths")
    # The inputs of the part "train" may be augmented at random.
    same = first[1] == again[1] and (part == "train" or first[0] == again[0])
    require(same, f"part {part!r}, read again without a generator, has other examples or another order")
    one, two = (_read(task, part, torch.Generator().manual_seed(0))[1] for _ in range(2))
    require(one == two, f"part {part!r}, shuffled twice by one seed, has two orders")
    return set(first[0])


def _read(task: Task, part: Part, generator: torch.Generator | None) -> tuple[list[bytes], list[bytes]]:
    """Digests of the inputs and of the targets, in order."""
    examples = task.examples(part)
    batches = list(examples.batches(_BATCH_SIZE, generator))
    told = examples.n_batches(_BATCH_SIZE)
    if generator is not None:
        require(told == len(batches), f"part {part!r} says {told} batches of {_BATCH_SIZE} and yields {len(batches)}")
    inputs = [batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,) for batch in batches]
    for tensor in chain.from_iterable(inputs):
        require(bool(tensor.isfinite().all()), f"part {part!r} has an input that is not finite")
    targets = [(batch.targets,) for batch in batches]
    digests = [[digest for some in each for digest in _digests(some)] for each in (inputs, targets)]
    return digests[0], digests[1]


def _digests(tensors: tuple[torch.Tensor, ...]) -> list[bytes]:
    """tensors: each [n, ...]. Returns n digests."""
    rows = zip(*(tensor.detach().cpu().numpy() for tensor in tensors), strict=True)
    return [sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in row)).digest() for row in rows]


def _check_figures(task: Task, output: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    """Returns loss and metric."""
    output = output.detach().requires_grad_()
    loss = task.loss(output, targets)
    require(loss.ndim == 0 and math.isfinite(loss.item()), f"the loss is {loss.detach()}, not a finite scalar")
    require(loss.requires_grad, "the loss has no gradient")
    metric = task.metric(output.detach(), targets)
    require(isinstance(metric, float) and math.isfinite(metric), f"the metric is {metric!r}, not a finite float")
    return loss.item(), metric


def _check_labels(task: Task, targets: torch.Tensor) -> None:
    largest = max(int(batch.targets.max()) for batch in task.examples("train").batches(_BATCH_SIZE))
    n_classes = max(largest + 1, getattr(task, "n_classes", None) or 2)
    classes = targets.new_tensor(range(n_classes))
    scores = [8.0 * (labels[:, None] == classes) for labels in (targets, (targets + 1) % n_classes)]
    (loss, metric), (wrong_loss, wrong_metric) = (_check_figures(task, output, targets) for output in scores)
    require(loss < wrong_loss, f"right labels have a loss of {loss:g}, wrong ones of {wrong_loss:g}")
    is_better = metric > wrong_metric if higher_is_better(task) else metric < wrong_metric
    require(is_better, f"right labels have a metric of {metric:g}, wrong ones of {wrong_metric:g}")
