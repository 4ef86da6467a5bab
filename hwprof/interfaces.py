"""The few interfaces that everything else meets at, with shapes and units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.instructions import Counts
from hwprof.measurement import Evidence, OperatorTime

Arch: TypeAlias = tuple[int, ...]  # one choice per position
LatencyFunction: TypeAlias = Callable[[Sequence[Graph]], np.ndarray]  # ms, [n_graphs]


class Timer(Protocol):
    """A network that is open on a device, with its inputs in place."""

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        """Runs n inferences back to back. Returns n latencies, ns; with each=False one number: the time of
        all n together, stamped only at both ends (for networks so short that the stamps would show)."""
        ...


class OperatorTimer(Timer, Protocol):
    """A timer whose runtime can also time single operators.

    `profiled_ns`: the mean latency of the runs that the last `operators` profiled, which are slower than
    plain ones; None before, or where the runtime does not show it.
    """

    profiled_ns: float | None

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean time per inference of each executed kernel over n profiled runs."""
        ...


@runtime_checkable
class OutputTimer(Protocol):
    """A timer that can show what the network computed."""

    def outputs(self) -> Mapping[str, np.ndarray]:
        """The outputs of one inference, by name."""
        ...


class Backend(Protocol):
    """A runtime. It opens a graph on a device and times it; nothing else.

    `evidence` says what its times are worth; `versions` names the libraries that decide them.
    """

    evidence: Evidence

    def versions(self) -> Mapping[str, str]: ...

    def open(self, graph: Graph, device: Device) -> AbstractContextManager[Timer]:
        """Raises InputError for a graph, option or precision that the runtime cannot run,
        EnvironmentUnfitError when memory or a library is missing."""
        ...


class InstructionCounter(Protocol):
    """A network that is open on an emulated core, with its inputs in place."""

    def count(self, n: int) -> Sequence[Counts]:
        """Runs n inferences. Returns the executed instructions of each."""
        ...


@runtime_checkable
class CountingBackend(Protocol):
    """A `Backend` whose core is emulated, so that it has no times: it counts, and its `open` raises InputError."""

    evidence: Evidence

    def versions(self) -> Mapping[str, str]: ...

    def open_counter(self, graph: Graph, device: Device) -> AbstractContextManager[InstructionCounter]:
        """Raises as `Backend.open` does."""
        ...


class SearchSpace(Protocol):
    """`choices`: how many options each position has."""

    choices: Sequence[int]

    def graph(self, arch: Arch) -> Graph: ...


class Encoder(Protocol):
    """A scikit-learn transformer from graphs or architectures to arrays [n, n_features]."""

    def fit(self, X: Sequence[Any], y: Any = None) -> Encoder: ...
    def transform(self, X: Sequence[Any]) -> np.ndarray: ...


class Predictor(Protocol):
    """A scikit-learn regressor of latency. X: [n] graphs or architectures; y, ms: [n]."""

    def fit(self, X: Sequence[Any], y: np.ndarray) -> Predictor: ...
    def predict(self, X: Sequence[Any]) -> np.ndarray: ...
    def predict_interval(self, X: Sequence[Any], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds, ms, each [n]."""
        ...
