"""Examples from what users have: arrays and tensors, a Dataset, or a DataLoader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from hwprof.errors import InputError
from hwprof.interfaces import Batch, Examples, Part, Task

Array: TypeAlias = "np.ndarray | Tensor"
Pair: TypeAlias = "tuple[Array | tuple[Array, ...], Array]"  # inputs [n, ...] and targets [n, ...]
Data: TypeAlias = "Examples | Pair | Dataset[Any] | Loader"
_WANTED = "a pair of arrays (inputs, targets), a Dataset, or a DataLoader or list of such pairs"


def examples_of(task: Task, part: Part) -> Examples:
    """The task's examples of the part. Raises InputError where they are not `Examples`."""
    found = task.examples(part)
    if missing := [name for name in ("batches", "n_batches") if not callable(getattr(found, name, None))]:
        raise InputError(
            f"the examples {part!r} of task {task.name!r} (a {type(found).__name__}) do not have "
            f"{' and '.join(missing)}; make them with hwprof.tasks.as_examples"
        )
    return found


class Loader(Protocol):
    """A DataLoader, or a list of batches: pairs of inputs [batch, ...] and targets [batch, ...]."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True, eq=False)
class TensorExamples:
    """inputs: [n, ...], or a tuple of such tensors; targets: [n, ...]."""

    inputs: Tensor | tuple[Tensor, ...]
    targets: Tensor

    def __post_init__(self) -> None:
        lengths = {len(tensor) for tensor in (*_tuple(self.inputs), self.targets)}
        if len(lengths) > 1:
            shapes = " and ".join(str(tuple(tensor.shape)) for tensor in _tuple(self.inputs))
            raise InputError(f"inputs of shape {shapes} do not fit targets of shape {tuple(self.targets.shape)}")

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, index: Tensor) -> TensorExamples:
        """index: [m], int64. Returns m examples."""
        batch = self._batch(index)
        return TensorExamples(batch.inputs, batch.targets)

    def n_batches(self, size: int) -> int:
        return _n_whole(len(self), size)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        yield from (self._batch(index) for index in _indices(len(self), size, generator))

    def _batch(self, index: Tensor) -> Batch:
        inputs = self.inputs
        taken = tuple(tensor[index] for tensor in inputs) if isinstance(inputs, tuple) else inputs[index]
        return Batch(taken, self.targets[index])


@dataclass(frozen=True, slots=True, eq=False)
class DatasetExamples:
    """A map-style Dataset of pairs (input, target), read when a batch needs them."""

    dataset: Any

    def n_batches(self, size: int) -> int:
        return _n_whole(len(self.dataset), size)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        for index in _indices(len(self.dataset), size, generator):
            yield _as_batch(default_collate([self.dataset[i] for i in index.tolist()]))


@dataclass(frozen=True, slots=True, eq=False)
class LoaderExamples:
    """A DataLoader, which chooses the size of its batches itself, or a list of batches.

    Where the loader shuffles, the generator decides the order, and without one it is always the same; a loader with a
    generator of its own follows that one.
    """

    loader: Loader

    def n_batches(self, size: int) -> int:  # noqa: ARG002 -- the loader's own size
        return len(self.loader)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:  # noqa: ARG002
        seed = 0 if generator is None else int(torch.randint(1 << 31, (), generator=generator))
        pairs = iter(self.loader)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # the CPU's alone: those of GPUs are the training's
            first = list(islice(pairs, 1))  # a sampler draws its order when it is first asked
        return map(_as_batch, chain(first, pairs))


def as_examples(data: Data) -> Examples:
    """Examples from arrays or tensors (as `from_arrays`), a Dataset or a DataLoader. Raises InputError for anything
    else."""
    if hasattr(data, "batches") and hasattr(data, "n_batches"):
        examples: Examples = data  # type: ignore[assignment]  # it has both methods
        return examples
    if isinstance(data, DataLoader):
        return LoaderExamples(data)
    if _is_pair(data):
        return from_arrays(*data)
    if isinstance(data, Dataset) and hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return DatasetExamples(data)
    if isinstance(data, Iterable) and hasattr(data, "__len__") and not isinstance(data, (tuple, str, Tensor)):
        return LoaderExamples(data)
    raise InputError(f"examples cannot be made from {type(data).__name__}; give {_WANTED}")


def from_arrays(inputs: Array | tuple[Array, ...], targets: Array) -> TensorExamples:
    """inputs: [n, ...], or a tuple of such arrays; targets: [n, ...]. float64 becomes float32, integer targets int64.

    Raises InputError where their lengths differ.
    """
    several = isinstance(inputs, tuple)
    tensors = tuple(_tensor(array) for array in _tuple(inputs))
    return TensorExamples(tensors if several else tensors[0], _target(targets))


def split(examples: TensorExamples, shares: Sequence[float], seed: int) -> tuple[TensorExamples, ...]:
    """Disjoint random parts, one for each share; the shares add up to at most 1."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    ends = [round(len(examples) * float(end)) for end in np.cumsum([0.0, *shares])]
    return tuple(examples.at(order[start:end]) for start, end in pairwise(ends))


def _indices(n: int, size: int, generator: torch.Generator | None) -> Sequence[Tensor]:
    if n == 0:
        return ()
    if generator is None:
        return torch.split(torch.arange(n), size)
    n_used = max(n - n % size, min(size, n))
    return torch.split(torch.randperm(n, generator=generator)[:n_used], size)


def _n_whole(n: int, size: int) -> int:
    return max(n // size, min(n, 1))


def _is_pair(data: object) -> TypeGuard[Pair]:
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], (np.ndarray, Tensor))


def _as_batch(pair: Any) -> Batch:
    try:
        inputs, targets = pair
    except (TypeError, ValueError):
        raise InputError(f"a batch is {type(pair).__name__}, not a pair (inputs, targets)") from None
    return Batch(tuple(inputs) if isinstance(inputs, (list, tuple)) else inputs, targets)


def _tuple(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _tensor(array: Array) -> Tensor:
    if isinstance(array, np.ndarray):
        array = torch.from_numpy(np.array(array))  # a copy: PyTorch warns about arrays that cannot be written
    return array.float() if array.dtype == torch.float64 else array


def _target(array: Array) -> Tensor:
    tensor = _tensor(array)
    return tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.long()
