"""The task of telling classes apart, for data of any kind."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.interfaces import Examples, Part
from hwprof.tasks.examples import Data, TensorExamples, as_examples


class Classification:
    """A `Task`: cross-entropy as the loss, the percentage of right labels as the metric.

    Inputs: [n, ...]; targets: [n], int64, from 0. A network gives scores [n, n_classes].
    """

    metric_name = "accuracy, %"

    def __init__(self, name: str, train: Data, search: Data, test: Data, n_classes: int | None = None) -> None:
        """train, search, test: each a pair of arrays or tensors (inputs, targets), a Dataset or a DataLoader.

        n_classes: by default found from the largest label where all parts are arrays, otherwise not checked. Raises
        InputError for data of another kind and for labels that are not integers from 0.
        """
        self.name = name
        self._parts: dict[str, Examples] = {
            "train": as_examples(train), "search": as_examples(search), "test": as_examples(test),
        }  # fmt: skip
        self.n_classes = n_classes or _counted_classes(name, self._parts)

    def examples(self, part: Part) -> Examples:
        """inputs: [n, ...]; targets: [n], int64. Raises InputError for a part that does not exist."""
        if part not in self._parts:
            raise InputError(f"task {self.name!r} has no part {part!r}; its parts: {', '.join(self._parts)}")
        return self._parts[part]

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """output: [n, n_classes], scores; targets: [n], int64. Returns the mean cross-entropy, a scalar, in nats.

        Raises InputError for scores of another shape.
        """
        self._check(output, targets)
        return functional.cross_entropy(output, targets)

    def metric(self, output: Tensor, targets: Tensor) -> float:
        """output: [n, n_classes], scores; targets: [n], int64. Returns the percentage of right labels."""
        self._check(output, targets)
        return 100 * float((output.argmax(-1) == targets).double().mean())

    def _check(self, output: Tensor, targets: Tensor) -> None:
        n, classes = len(targets), self.n_classes or 1
        if output.ndim != 2 or len(output) != n or output.shape[1] < classes:
            given = tuple(output.shape)
            wanted = f"({n}, {self.n_classes or 'n_classes'})"
            raise InputError(f"the network's output has shape {given}; task {self.name!r} needs scores {wanted}")


def _counted_classes(task: str, parts: Mapping[str, Examples]) -> int | None:
    known = [part for part in parts.values() if isinstance(part, TensorExamples)]
    for targets in (part.targets for part in known):
        if targets.ndim != 1 or targets.is_floating_point() or (len(targets) and int(targets.min()) < 0):
            given = f"{targets.dtype}".removeprefix("torch.")
            raise InputError(
                f"task {task!r} needs labels of shape (n,), integers from 0; given: {given} {tuple(targets.shape)}"
            )
    largest = [int(part.targets.max()) for part in known if len(part)]
    return 1 + max(largest) if largest and len(known) == len(parts) else None
