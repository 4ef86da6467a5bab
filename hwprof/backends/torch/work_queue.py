"""PyTorch's work queue: a CUDA stream, which runs asynchronously, or the host itself, which runs at once."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Protocol

import torch


class WorkQueue(Protocol):
    """Runs work in the order of submission. A mark is a moment in that order; `clock` names the clock that reads it,
    empty for the wall clock of this machine."""

    clock: str

    def mark(self) -> Any: ...

    def wait(self) -> None:
        """Returns when all submitted work is done."""
        ...

    def elapsed_ns(self, start: Any, end: Any) -> int:
        """Time between two marks; only after `wait`."""
        ...


class HostQueue:
    """A call returns when its work is done, so there is nothing to wait for."""

    clock = ""

    def mark(self) -> int:
        return perf_counter_ns()

    def wait(self) -> None:
        pass

    def elapsed_ns(self, start: int, end: int) -> int:
        return end - start


class CudaQueue:
    """The current stream of a GPU; marks are CUDA events, with a resolution of about half a microsecond."""

    clock = "CUDA events"

    def __init__(self, place: torch.device) -> None:
        self._place = place
        self._stream = torch.cuda.current_stream(place)

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def wait(self) -> None:
        torch.cuda.synchronize(self._place)

    def elapsed_ns(self, start: torch.cuda.Event, end: torch.cuda.Event) -> int:
        return max(1, round(float(start.elapsed_time(end)) * 1e6))  # milliseconds, truncated to the events' resolution
