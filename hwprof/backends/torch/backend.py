"""Opens graphs and exported programs in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from hwprof import onnx_io, plugins, torch_io
from hwprof.backends import host_resources
from hwprof.backends.torch import execution, memory, settings
from hwprof.backends.torch.errors import plain_errors
from hwprof.backends.torch.kernels import OperatorPass
from hwprof.backends.torch.settings import Settings
from hwprof.backends.torch.timer import GpuTimer, Network, TorchTimer
from hwprof.backends.torch.work_queue import CudaQueue, HostQueue
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.graph import Graph
from hwprof.measurement import DeviceState, Evidence
from hwprof.variants.batch import with_batch
from hwprof.variants.weights import load_weights

_WEIGHT_COPIES = 3  # while it is loaded: the model's, NumPy's and PyTorch's
_FAKE_QUANTIZED = (
    "fake quantization: PyTorch computes this quantized network in floating point and rounds in between; "
    "this is not the latency of integer kernels"
)


class TorchBackend:
    """One stream, one network at a time; inputs and outputs stay on the device."""

    evidence = Evidence.MEASURED
    programs = (".pt2",)

    def versions(self) -> Mapping[str, str]:
        found = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": _cudnn_version()}
        if torch.version.cuda is not None:
            found["driver"] = _driver_version()
            found["triton"] = _triton_version()
        return {name: str(version) for name, version in found.items() if version}

    def hardware(self, device: Device) -> Mapping[str, Any]:
        """Raises as `open` does for a GPU that is missing."""
        asked = settings.read(device)
        if not asked.is_cuda:
            return {}
        gpu = torch.cuda.get_device_properties(asked.place)
        return {
            "gpu": gpu.name,
            "gpu_compute_capability": f"{gpu.major}.{gpu.minor}",
            "gpu_multiprocessors": gpu.multi_processor_count,
            "gpu_memory_gib": round(gpu.total_memory / 2**30),
            "gpu_l2_mib": round(gpu.L2_cache_size / 2**20),
        }

    def state(self, device: Device) -> DeviceState | None:
        """Raises as `open` does for a GPU that is missing."""
        asked = settings.read(device)
        sensors, _ = _sensors(asked.place) if asked.is_cuda else (None, "")
        return sensors.read() if sensors else None

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[TorchTimer]:
        """Raises InputError for an option, precision or graph that PyTorch cannot run and for a network that needs more
        memory than the device has, UnknownOperatorError for an operator without a counterpart, EnvironmentUnfitError
        for a missing GPU or library."""
        asked = settings.read(device)
        batched = with_batch(graph, device.batch)
        host_resources.require_memory(batched, _WEIGHT_COPIES, runs_here=not asked.is_cuda)
        guard = partial(plain_errors, graph.name, asked.place)
        with guard():
            try:
                with torch.inference_mode():
                    timer = _timer(graph, batched, asked, host_resources.threads(device), guard)
                yield timer
            finally:
                if asked.is_cuda:
                    with suppress(RuntimeError):  # of a GPU that failed; the first error is the one to report
                        torch.cuda.empty_cache()


def _timer(graph: Graph, batched: Graph, asked: Settings, threads: int, guard: Any) -> TorchTimer:
    """graph: with the names of the weights' file; batched: the graph with the batch that runs."""
    _set_up(asked, threads)
    evict = memory.evictor(asked.place)
    if asked.options.caches == "cold":
        evict()  # its buffer must not count as the network's memory
    held = memory.GpuMemory(asked.place) if asked.is_cuda else None
    module, inputs = _loaded(graph, batched, asked)
    network = Network(execution.prepare(module, inputs, asked, threads), inputs, graph.outputs)
    queue = CudaQueue(asked.place) if asked.is_cuda else HostQueue()
    profile = OperatorPass(batched, module, inputs, network.run, queue, asked, threads)
    warnings = [_FAKE_QUANTIZED] if any(n.op == "QuantizeLinear" for n in graph.nodes) else []
    if held is None:
        return TorchTimer(network, queue, asked.options, evict=evict, profile=profile, guard=guard, warnings=warnings)
    sensors, missing = _sensors(asked.place)
    return GpuTimer(
        network, queue, asked.options, evict=evict, profile=profile, guard=guard,
        warnings=[*warnings, *([missing] if missing else [])], memory=held,
        sensors=sensors.read if sensors else _no_state,
    )  # fmt: skip


def _set_up(asked: Settings, threads: int) -> None:
    """Settings that PyTorch keeps for the whole process. cuDNN's own default would be tf32 for float32."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = asked.has_tf32
    torch.backends.cudnn.allow_tf32 = asked.has_tf32
    torch.backends.cudnn.benchmark = asked.options.autotune
    if asked.is_cuda:
        torch.cuda.set_device(asked.place)


def _loaded(graph: Graph, batched: Graph, asked: Settings) -> tuple[fx.GraphModule, list[Tensor]]:
    """The module and its inputs, on the device and in the device's types."""
    if graph.is_program:
        module, values = torch_io.load_program(graph, asked.floats, asked.place)
    else:
        module = torch_io.to_module(batched, load_weights(graph), asked.floats).to(asked.place)
        values = [v.to(asked.place) for v in _inputs(batched, asked)]
    if not asked.options.channels_last:
        return module, values
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module, [v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for v in values]


def _inputs(graph: Graph, asked: Settings) -> list[Tensor]:
    arrays: Mapping[str, np.ndarray] = onnx_io.random_inputs(graph)
    return [torch_io.as_tensor(arrays[t.name], t.dtype, asked.floats) for t in graph.inputs]


# -- information from a GPU's driver -------------------------------------------------------------------


def _no_state() -> None:
    return None


@lru_cache(maxsize=8)
def _sensors(place: torch.device) -> tuple[Any, str]:
    """Sensors of the GPU or, where they cannot be read, None and the reason."""
    try:
        with plugins.optional_library("reading a GPU's clocks, power and temperature"):
            from hwprof.backends import nvml
    except EnvironmentUnfitError as error:
        return None, str(error)
    try:
        return nvml.GpuSensors(str(torch.cuda.get_device_properties(place).uuid)), ""
    except nvml.Error as error:
        return None, f"clocks, power and temperature of the GPU cannot be read: {error}"


def _driver_version() -> str | None:
    try:
        with plugins.optional_library("the driver's version"):
            from hwprof.backends import nvml
    except EnvironmentUnfitError:
        return None
    return nvml.driver_version()


def _cudnn_version() -> str | None:
    version = torch.backends.cudnn.version() if torch.version.cuda else None  # type: ignore[no-untyped-call]
    return str(version) if version else None


def _triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


BACKEND = TorchBackend()
