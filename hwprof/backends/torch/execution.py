"""Ways to run a module: call by call, compiled, or as a captured CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from hwprof.backends.torch.settings import Settings

_RUNS_BEFORE_CAPTURE = 3  # libraries create their workspaces and plans in the first runs

Run = Callable[[], Sequence[Tensor]]


def prepare(module: nn.Module, inputs: Sequence[Tensor], settings: Settings, threads: int) -> Run:
    """A function that launches one inference on the inputs, each of its shape [...]. Compiling and capturing happen
    here, before anything is timed."""
    called = compiled(module, settings, threads) if settings.is_compiled else module
    if settings.is_captured:
        return _captured(called, inputs, settings.place)
    if settings.is_compiled:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # between parts of PyTorch itself
            called(*inputs)
    return lambda: called(*inputs)


def compiled(
    module: nn.Module, settings: Settings, threads: int, shows_kernels: bool = False
) -> Callable[..., Sequence[Tensor]]:
    """The whole module under torch.compile with fixed shapes, for inputs of any shape [...]; the first call compiles
    it.

    shows_kernels: code for the host's processor reports each kernel to the profiler, which costs time.
    """
    import torch._inductor.config as inductor

    inductor.compile_threads = threads
    inductor.cpp.enable_kernel_profile = shows_kernels
    with suppress(AttributeError):  # older versions always reject recurrent modules
        torch._dynamo.config.allow_rnn = True
    mode = "max-autotune-no-cudagraphs" if settings.options.autotune else None
    return torch.compile(module, fullgraph=True, dynamic=False, mode=mode)


def _captured(called: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], place: torch.device) -> Run:
    """A CUDA graph with its inputs and outputs at fixed addresses."""
    side = _capture_stream(place)
    graph = torch.cuda.CUDAGraph()
    # Around the capture as well: a failed one leaves its stream the current stream.
    with torch.cuda.device(place), torch.cuda.stream(side):
        side.wait_stream(torch.cuda.default_stream())
        for _ in range(_RUNS_BEFORE_CAPTURE):
            called(*inputs)
        with torch.cuda.graph(graph, stream=side):
            outputs = called(*inputs)
    torch.cuda.current_stream(place).wait_stream(side)
    return _Replay(graph, outputs, (called, inputs))


@lru_cache(maxsize=8)
def _capture_stream(place: torch.device) -> torch.cuda.Stream:
    """One stream for all networks of a process: cuBLAS keeps a workspace per stream (32 MiB on Hopper)."""
    return torch.cuda.Stream(place)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Replay:
    """`held`: the owners of the memory at the addresses that the graph reads."""

    graph: torch.cuda.CUDAGraph
    outputs: Sequence[Tensor]
    held: tuple[object, ...]

    def __call__(self) -> Sequence[Tensor]:
        self.graph.replay()
        return self.outputs


def forget_compiled() -> None:
    """Drops torch.compile's caches of all networks, open ones too: their next calls compile again. The caches of a
    closed network go with that network."""
    torch._dynamo.reset()
