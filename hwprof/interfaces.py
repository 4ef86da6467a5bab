"""The few interfaces between the parts of hwprof, with shapes and units."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.instructions import Counts
from hwprof.measurement import DeviceState, Evidence, OperatorTime

if TYPE_CHECKING:  # this file is imported where PyTorch is not installed
    import torch
    from torch import Tensor, nn

Arch: TypeAlias = tuple[int, ...]  # one choice per position
Part: TypeAlias = Literal["train", "search", "test"]
Takes: TypeAlias = Literal["graph", "arch"]  # how a source of latencies wants networks: as graphs or architectures
# [n] graphs to ms, [n]: a function or a table. One whose attribute `takes` is "arch" maps architectures instead; a
# function without that attribute maps graphs.
LatencyFunction: TypeAlias = Callable[[Sequence[Graph]], np.ndarray]


class Timer(Protocol):
    """A network that is open on a device, with its inputs in place."""

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        """Runs n inferences back to back. Returns n latencies, ns; with each=False one number: the time of all n
        together, stamped only at both ends (for networks so short that the stamps would distort the times)."""
        ...


@runtime_checkable
class NotedTimer(Protocol):
    """A timer with warnings for the reader of its times, one line each."""

    warnings: Sequence[str]


@runtime_checkable
class OperatorTimer(Protocol):
    """A timer whose runtime can also time single operators.

    It may have `profiled_ns`, the mean latency of the runs that the last `operators` profiled, which are slower than
    plain ones, and `idle`, the names of the kernels of that pass whose results had no elements.
    """

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean time per inference of each executed kernel over n profiled runs."""
        ...


@runtime_checkable
class BuiltTimer(Protocol):
    """A timer of a network that was built for the device, where another build could differ.

    `build` describes the build in one line; `warnings` apply to all of its times.
    """

    build: str
    warnings: Sequence[str]


@runtime_checkable
class ClockedTimer(Protocol):
    """A timer that names the clock of its times ("CUDA events"); empty for the wall clock of this machine."""

    clock: str


@runtime_checkable
class OutputTimer(Protocol):
    """A timer that can return the results of the network."""

    def outputs(self) -> Mapping[str, np.ndarray]:
        """The outputs of one inference by name, each of its shape [...]."""
        ...


@runtime_checkable
class FigureTimer(Protocol):
    """A timer that measures more than the latency: other clocks, cold caches, copies, memory."""

    def figures(self, n: int) -> Mapping[str, float]:
        """Medians of n runs by name; the name ends with the unit (copy_in_ns, allocated_bytes)."""
        ...


@runtime_checkable
class MonitoredTimer(Protocol):
    """A timer whose device has clocks and sensors of its own."""

    def state(self) -> DeviceState | None:
        """The current state, or None where the device has no sensors."""
        ...


@runtime_checkable
class AcceleratorBackend(Protocol):
    """A backend that may run on something other than the host's processor."""

    def hardware(self, device: Device) -> Mapping[str, Any]:
        """The properties that decide a latency there, JSON-ready, without serial numbers; empty for the host's
        processor."""
        ...

    def state(self, device: Device) -> DeviceState | None:
        """The current state, or None for the host's processor and for a device without sensors."""
        ...


class Backend(Protocol):
    """A runtime. It opens a graph on a device and times it; nothing else.

    `evidence` is the kind of its times; `versions` names the libraries that decide them.
    """

    evidence: Evidence

    def versions(self) -> Mapping[str, str]: ...

    def open(self, graph: Graph, device: Device) -> AbstractContextManager[Timer]:
        """Returns a context with the timer. Work before it is entered (compiling, in some runtimes) counts neither as
        time nor as memory of loading the network. Raises InputError for a graph, option or precision that the runtime
        does not support, EnvironmentUnfitError when memory or a library is missing."""
        ...


class Work(NamedTuple):
    """The work of a kernel, where the runtime knows it better than the graph. kind: which of its loops runs. sizes:
    amounts and shape, by the names of `hwprof.encoders.kernels.FEATURES`; those that are missing are 0."""

    kind: str
    sizes: Mapping[str, float]


class ExecutedKernel(NamedTuple):
    """A kernel that a runtime executes. op: its operator there. nodes: those of the graph whose work it does, by their
    number; none of one that the runtime inserted, which moves the tensor `moved` where that is known. how: the
    implementation that the runtime chose, in its words, where it has several. work: told by few runtimes, and then of
    all kernels of a network."""

    op: str
    nodes: tuple[int, ...]
    moved: str = ""
    how: str = ""
    work: Work | None = None

    @classmethod
    def of(cls, op: Any, nodes: Any, moved: Any = "", how: Any = "", work: Any = None) -> ExecutedKernel:
        """Returns the kernel of these fields as JSON holds them. Raises TypeError or ValueError for others."""
        if work is not None:
            kind, sizes = work
            work = Work(str(kind), {str(name): float(size) for name, size in dict(sizes).items()})
        return cls(str(op), tuple(nodes), str(moved), str(how), work)


# A graph to the kernels that a runtime executes of it; None where that is not known. Raises InputError, with the
# runtime's reason, for a graph that the runtime refuses.
Execute: TypeAlias = Callable[[Graph], Sequence[ExecutedKernel] | None]


@runtime_checkable
class OptimizingBackend(Protocol):
    """A backend that says what its runtime executes of a network, without running it."""

    def executed(self, graph: Graph, device: Device) -> Sequence[ExecutedKernel]:
        """The kernels in their order. Nodes in none of them are computed when the network is loaded, or never. Raises
        as `Backend.open` does."""
        ...


@dataclass(frozen=True, slots=True)
class TuningProgress:
    """The progress of a search for fast kernels, including earlier runs.

    `kernels`: how many kernels of the network can be tuned; `tuned`: how many are. `best_ms`: the sum of their best
    times, None while one of them has no time.
    """

    trials: int
    seconds: float
    kernels: int
    tuned: int
    best_ms: float | None


@runtime_checkable
class TunableBackend(Protocol):
    """A backend that searches for fast kernels and keeps the results."""

    def tuning(self, graph: Graph, device: Device) -> str:
        """Identifies the kept results for the network on the device; empty if there are none."""
        ...

    def tune(self, graph: Graph, device: Device, trials: int, budget_s: float, build: int) -> Iterator[TuningProgress]:
        """Searches until the build has `trials` trials or `budget_s` seconds have passed in this call. Each step is
        kept before it is yielded, and another call continues from the last one. Raises as `open` does."""
        ...


@runtime_checkable
class OneVariantBackend(Protocol):
    """A backend that runs networks in one variant only, named as in `hwprof.variants.spec`."""

    variant: str


@runtime_checkable
class ProgramBackend(Protocol):
    """A backend that runs traced PyTorch programs. Others get a user's module as an ONNX network.

    `programs`: the endings of the files that it runs."""

    programs: Collection[str]


@runtime_checkable
class KernelBackend(Protocol):
    """A backend that says for which compressed networks it has kernels of its own, in the words of
    `hwprof.compress.method.Outcome`. It runs others by the kernels of the network as it was."""

    kernels: Collection[str]


@runtime_checkable
class SaturatingBackend(Protocol):
    """A backend whose kernels for uint8 by int8 may sum two products in 16 bits: weights beyond +-64 saturate there, or
    take slower kernels."""

    def saturates(self, device: Device, features: Collection[str]) -> bool:
        """Whether they do on a processor with these instruction sets (`avx2`, `avx512_vnni`)."""
        ...


@runtime_checkable
class RemoteBackend(Protocol):
    """A backend that also reaches devices other than this machine (`Device.remote`)."""

    def remote_hardware(self, device: Device) -> Mapping[str, Any]:
        """The known properties of the machine at the address, JSON-ready. Raises EnvironmentUnfitError when it does not
        answer."""
        ...


class InstructionCounter(Protocol):
    """A network that is open on an emulated core, with its inputs in place."""

    def count(self, n: int) -> Sequence[Counts]:
        """Runs n inferences. Returns the executed instructions of each."""
        ...


@runtime_checkable
class CountingBackend(Protocol):
    """A `Backend` with an emulated core, which has no times: it counts instructions, and `open` raises InputError."""

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

    def fit(self, X: Sequence[Any], y: Any = None) -> Encoder:
        """X: [n] networks."""
        ...

    def transform(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n] networks. Returns [n, n_features]."""
        ...


class Predictor(Protocol):
    """A scikit-learn regressor of latency. Networks are graphs or architectures, as `takes` says."""

    @property
    def takes(self) -> Takes: ...
    def fit(self, X: Sequence[Any], y: np.ndarray) -> Predictor:
        """X: [n] networks; y, ms: [n]."""
        ...

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n] networks. Returns ms, [n]."""
        ...

    def predict_interval(self, X: Sequence[Any], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """X: [n] networks. Returns lower and upper bounds, ms, each [n]."""
        ...


class Batch(NamedTuple):
    """inputs: [n, ...], or a tuple of such tensors for a network with several inputs; targets: [n, ...]."""

    inputs: Tensor | tuple[Tensor, ...]
    targets: Tensor


class Examples(Protocol):
    """Inputs with their targets."""

    def n_batches(self, size: int) -> int:
        """How many batches `batches` yields when it is given a generator."""
        ...

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of `size` examples. With a generator: in random order, and a last batch that would be smaller is
        left out unless it is the only one. Without: all examples, always in the same order."""
        ...


class Task(Protocol):
    """Everything that a training, a search or a compression knows about the user's problem.

    `metric_name` has the unit ("accuracy, %"; "PSNR, dB"). The parts have no example in common: "train" is for the
    weights, "search" for everything that is chosen (architectures, bit widths, the best epoch), "test" for the figure
    that is reported.

    One member is optional: `higher_is_better`, False where smaller figures of the metric are better (an error, a loss).
    `hwprof.interfaces.higher_is_better` reads it.
    """

    name: str
    metric_name: str

    def examples(self, part: Part) -> Examples:
        """The same examples each time."""
        ...

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """output: [n, ...], what the network computed; targets: [n, ...]. Returns a scalar with a gradient."""
        ...

    def metric(self, output: Tensor, targets: Tensor) -> float:
        """output, targets: [n, ...]. Returns one figure for all n examples; larger is better, unless the task says
        otherwise."""
        ...


def higher_is_better(judge: object) -> bool:
    """Whether larger figures of a task, or of a metric that is a function, are better: its attribute of this name, True
    if it has none. Raises InputError where that is neither True nor False."""
    told = getattr(judge, "higher_is_better", True)
    if not isinstance(told, bool):
        name = getattr(judge, "name", None) or getattr(judge, "__name__", type(judge).__name__)
        raise InputError(f"higher_is_better of {name!r} is {told!r}; it must be True or False")
    return told


@dataclass(frozen=True, slots=True)
class Trial:
    """An architecture that a search asked for: everything that the search learns about it.

    score: larger is better; None where the network was refused, unscored, because its latency is above the limit.
    latency_ms: what the network stays below, with the confidence of the latency budget.
    """

    arch: Arch
    score: float | None
    latency_ms: float


class Search(Protocol):
    """Proposes architectures of a space and learns from their trials. One seed and one sequence of calls: one result.

    An entry point `hwprof.searches` is a class or function called as make(space, seed), which raises InputError for a
    space that it cannot search. Its `version`, 1 if it is missing, rises with each change of the code after which it
    asks for other architectures: results in a store count for their version alone.
    """

    def ask(self, n: int) -> list[Arch]:
        """At most n architectures, fewer or none where nothing is left to propose. Repeats cost nothing."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """The trials of all architectures of the last `ask`, in their order, refused ones included."""
        ...


class Supernet(Protocol):
    """All networks of a space at once, with shared weights: a `torch.nn.Module` from a task's inputs to its outputs."""

    space: SearchSpace

    def probabilities(self) -> Tensor | Sequence[Tensor]:
        """The probability of each choice, by position, in the order of the space, for an `ExpectedLatency`:
        [n_positions, n_choices], or one tensor [n_choices] for each position."""
        ...

    def architecture_parameters(self) -> Sequence[nn.Parameter]:
        """The parameters that `probabilities` depends on; all others are weights."""
        ...

    def derive(self) -> Arch:
        """The architecture that the probabilities favour."""
        ...

    def at(self, arch: Arch) -> nn.Module:
        """The network of the architecture, which shares the weights. Raises InputError for one outside the space."""
        ...


@runtime_checkable
class AnnealedSupernet(Protocol):
    """A supernet whose choices harden during a search."""

    def anneal(self, progress: float) -> None:
        """progress: 0 at the start of the search, 1 at its end."""
        ...
