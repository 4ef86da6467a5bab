"""Times a network in PyTorch with the device's clock or the host's, with hot or cold caches, and its copies
separately."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from hwprof.backends.torch.memory import GpuMemory
from hwprof.backends.torch.settings import Options
from hwprof.backends.torch.work_queue import WorkQueue
from hwprof.measurement import DeviceState, OperatorTime

ProfilePass: TypeAlias = Callable[[int], tuple[Sequence[OperatorTime], float]]


@dataclass(frozen=True, slots=True)
class Network:
    """The network to time. `run` launches one inference and returns its outputs, which are on the device; `inputs` are
    the tensors that it reads, `outputs` the names of the results."""

    run: Callable[[], Sequence[Tensor]]
    inputs: Sequence[Tensor]
    outputs: Sequence[str]


class TorchTimer:
    """`guard` turns PyTorch's errors into hwprof's. `evict` overwrites the caches, `profile` times the operators."""

    def __init__(
        self, network: Network, queue: WorkQueue, options: Options, *, evict: Callable[[], object],
        profile: ProfilePass, guard: Callable[[], AbstractContextManager[None]], warnings: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.warnings = warnings
        self.clock = queue.clock if options.clock == "device" else ""
        self.profiled_ns: float | None = None
        self.network = network
        self._queue = queue
        self._options = options
        self._evict = evict
        self._profile = profile
        self._guard = guard

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        clock, caches = self._options.clock, self._options.caches
        with self._guard(), torch.inference_mode():
            if each or caches == "cold":
                times = self._timed(n, self.network.run, clock, caches)
                return times if each else [sum(times)]
            return [self._together(n, clock)]

    def outputs(self) -> Mapping[str, np.ndarray]:
        """The outputs on the host, by name, each of its shape [...]; half-precision values as float32."""
        with self._guard(), torch.inference_mode():
            values = [as_array(value) for value in self.network.run()]
        return dict(zip(self.network.outputs, values, strict=True))

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean times over n profiled runs. Raises as `open` does."""
        with self._guard(), torch.inference_mode():
            kernels, self.profiled_ns = self._profile(n)
        return kernels

    def figures(self, n: int) -> Mapping[str, float]:
        """On the host's processor both clocks are the same."""
        with self._guard(), torch.inference_mode():
            return {"hot_ns": self._median(n, "host", "hot"), "cold_ns": self._median(n, "host", "cold")}

    def _median(self, n: int, clock: str, caches: str) -> float:
        return float(np.median(self._timed(n, self.network.run, clock, caches)))

    def _timed(self, n: int, work: Callable[[], object], clock: str, caches: str) -> list[int]:
        """Latencies, ns, of n single pieces of work."""
        prepare = self._evict if caches == "cold" else _nothing
        if clock == "host":
            return [self._on_host(work, prepare) for _ in range(n)]
        queue, marks = self._queue, []
        for _ in range(n):
            prepare()
            start = queue.mark()
            work()
            marks.append((start, queue.mark()))
        queue.wait()
        return [queue.elapsed_ns(start, end) for start, end in marks]

    def _on_host(self, work: Callable[[], object], prepare: Callable[[], object]) -> int:
        """The time from the call until the device has finished, ns."""
        prepare()
        self._queue.wait()
        start = perf_counter_ns()
        work()
        self._queue.wait()
        return perf_counter_ns() - start

    def _together(self, n: int, clock: str) -> int:
        """Time, ns, of n inferences, measured only at both ends; with the host's clock each is waited for."""
        queue, run = self._queue, self.network.run
        queue.wait()
        if clock == "host":
            start_ns = perf_counter_ns()
            for _ in range(n):
                run()
                queue.wait()
            return perf_counter_ns() - start_ns
        start = queue.mark()
        for _ in range(n):
            run()
        end = queue.mark()
        queue.wait()
        return queue.elapsed_ns(start, end)


class GpuTimer(TorchTimer):
    """A timer of an accelerator, which has two clocks, memory, a bus and sensors of its own."""

    def __init__(
        self, network: Network, queue: WorkQueue, options: Options, *, evict: Callable[[], object],
        profile: ProfilePass, guard: Callable[[], AbstractContextManager[None]], warnings: Sequence[str],
        memory: GpuMemory, sensors: Callable[[], DeviceState | None],
    ) -> None:  # fmt: skip
        super().__init__(network, queue, options, evict=evict, profile=profile, guard=guard, warnings=warnings)
        self._memory = memory
        self.state = sensors

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        times = super().__call__(n, each)
        self._memory.note_peak()
        return times

    def figures(self, n: int) -> Mapping[str, float]:
        with self._guard(), torch.inference_mode():
            held = [value.cpu().pin_memory() for value in self.network.inputs]
            results = list(self.network.run())
            taken = [torch.empty_like(value, device="cpu", pin_memory=True) for value in results]
            return {
                "hot_device_ns": self._median(n, "device", "hot"),
                "cold_device_ns": self._median(n, "device", "cold"),
                "hot_host_ns": self._median(n, "host", "hot"),
                "copy_in_ns": self._copied(n, held, self.network.inputs),
                "copy_out_ns": self._copied(n, results, taken),
                **self._memory.figures(),
            }

    def _copied(self, n: int, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> float:
        """Median time, ns, of a copy between the device and pinned memory of the host."""

        def copy() -> None:
            for source, target in zip(sources, targets, strict=True):
                target.copy_(source, non_blocking=True)

        return float(np.median(self._timed(n, copy, "device", "hot")))


def as_array(value: Tensor) -> np.ndarray:
    """The value [...] on the host; bfloat16, which NumPy lacks, as float32."""
    value = value.detach().cpu()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()


def _nothing() -> None:
    pass
