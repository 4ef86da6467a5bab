"""ONNX Runtime, on the CPU unless the device's option `provider` names another: https://onnxruntime.ai"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import onnx

from hwprof import onnx_io, plugins
from hwprof.backends import host_resources, onnx_file, options
from hwprof.backends import onnxruntime_kernels as kernels
from hwprof.backends.host_timer import HostTimer
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.graph import Graph, Tensor
from hwprof.interfaces import ExecutedKernel
from hwprof.measurement import DeviceState, Evidence, OperatorTime
from hwprof.onnx_io.proto import NARROW, dtype_code, storage_of
from hwprof.onnx_io.runtime import ERRORS, onnxruntime, plain_errors

T = TypeVar("T")
_LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_LEVELS_WITH_LAYOUT = ("layout", "all")
_LOG_NOTHING_BELOW_FATAL = 4  # errors reach the user as exceptions, once
_PROVIDER_OPTION = "provider_options."
_WEIGHT_COPIES = 2  # while it is loaded: the model's and the session's
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_PROFILE_WARMUP = 10
_CPU = "CPUExecutionProvider"
_ON_NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")


@dataclass(frozen=True, slots=True)
class Options:
    """`spinning`: whether idle threads busy-wait; None means yes where there are several. Options for the provider
    itself are written "provider_options.NAME". Tensors are in the memory of the NVIDIA GPU for its providers, else in
    the host's."""

    graph_optimization_level: str = "all"
    spinning: bool | None = None
    arena: bool = True
    provider: str = _CPU


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a session is created with; no default of the runtime is left open."""

    options: Options
    provider_options: tuple[tuple[str, str], ...]
    threads: int

    @property
    def place(self) -> tuple[str, int]:
        """The kind of device that holds the tensors, and its index."""
        if self.options.provider not in _ON_NVIDIA:
            return "cpu", 0
        return "cuda", int(dict(self.provider_options).get("device_id", "0"))

    def at(self, level: str) -> Settings:
        """The same settings with another level of graph optimization."""
        return replace(self, options=replace(self.options, graph_optimization_level=level))


class BoundTimer(HostTimer):
    """Runs a session with inputs and outputs that are bound once."""

    def __init__(self, session: onnxruntime.InferenceSession, graph: Graph, settings: Settings) -> None:
        binding = session.io_binding()
        self._tensors = _bind(session, binding, graph, settings.place)  # the binding does not keep them alive
        names = [o.name for o in session.get_outputs()]
        super().__init__(
            run=_runner(session, binding, settings.place),
            read=lambda: dict(zip(names, binding.copy_outputs_to_cpu(), strict=True)),
        )


class GpuTimer(BoundTimer):
    """On an NVIDIA GPU, which has sensors of its own. It does not time operators: the runtime's profile states how long
    the host took to launch their kernels, not how long they ran."""

    def __init__(
        self, session: onnxruntime.InferenceSession, graph: Graph, settings: Settings,
        sensors: Callable[[], DeviceState | None],
    ) -> None:  # fmt: skip
        super().__init__(session, graph, settings)
        self.state = sensors


class OnnxRuntimeTimer(BoundTimer):
    """On the host's processor, or wherever another provider runs the network."""

    def __init__(self, session: onnxruntime.InferenceSession, graph: Graph, settings: Settings) -> None:
        super().__init__(session, graph, settings)
        self._graph = graph
        self._settings = settings
        self.profiled_ns: float | None = None
        self.idle: tuple[str, ...] = ()

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean over n runs of a second, profiled session after its warm-up. Raises as `open` does."""
        with TemporaryDirectory() as folder:
            kernels_, self.profiled_ns, self.idle = _profile(self._graph, self._settings, n, Path(folder))
        return kernels_


class OnnxRuntimeBackend:
    """Sequential execution; the number of threads is always set, since the runtime ignores the limits of a cgroup."""

    evidence = Evidence.MEASURED
    kernels = frozenset({"int8"})

    def versions(self) -> Mapping[str, str]:
        found = {"onnxruntime": str(onnxruntime.__version__)}
        if not set(_ON_NVIDIA).isdisjoint(onnxruntime.get_available_providers()):
            found |= _nvidia_versions()
        return found

    def hardware(self, device: Device) -> Mapping[str, Any]:
        """Raises EnvironmentUnfitError where the provider's GPU is missing or cannot be queried."""
        sensors = _sensors(_settings(device))
        return sensors.hardware() if sensors else {}

    def state(self, device: Device) -> DeviceState | None:
        """Raises as `hardware` does."""
        sensors = _sensors(_settings(device))
        return sensors.read() if sensors else None

    def saturates(self, device: Device, features: Collection[str]) -> bool:
        return device.option.get("provider", _CPU) == _CPU and host_resources.saturates(features)

    def executed(self, graph: Graph, device: Device) -> tuple[ExecutedKernel, ...]:
        """Raises as `open` does."""
        settings = _settings(device)
        options.require_onnx(graph, device)
        host_resources.require_memory(graph, _WEIGHT_COPIES)
        with TemporaryDirectory() as folder, plain_errors(graph):
            use = partial(_executed_form, graph=graph, settings=settings, folder=Path(folder))
            return _accepted(graph, Path(folder), use)

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[BoundTimer]:
        """Raises InputError for an option, precision or graph that it cannot run, EnvironmentUnfitError for a
        provider that is not installed and for too little memory."""
        settings = _settings(device)
        options.require_onnx(graph, device)
        host_resources.require_memory(graph, _WEIGHT_COPIES)
        with TemporaryDirectory() as folder, plain_errors(graph):
            session = _accepted(graph, Path(folder), partial(_started, settings=settings))
            if sensors := _sensors(settings):
                yield GpuTimer(session, graph, settings, sensors.read)
            else:
                yield OnnxRuntimeTimer(session, graph, settings)


def _settings(device: Device) -> Settings:
    own = {k: v for k, v in device.option.items() if not k.startswith(_PROVIDER_OPTION)}
    chosen = options.read(Options, device, own)
    options.require_float32(device)
    if chosen.graph_optimization_level not in _LEVELS:
        raise InputError(
            f"device {device.name!r}: option graph_optimization_level must be one of {', '.join(_LEVELS)}, "
            f"not {chosen.graph_optimization_level!r}"
        )
    installed = onnxruntime.get_available_providers()
    if chosen.provider not in installed:
        raise EnvironmentUnfitError(
            f"device {device.name!r}: this onnxruntime does not have the provider {chosen.provider!r}; "
            f"it has {', '.join(installed)}"
        )
    for_provider = {k.removeprefix(_PROVIDER_OPTION): str(v) for k, v in device.options if k not in own}
    return Settings(chosen, tuple(for_provider.items()), host_resources.threads(device))


def _session_options(settings: Settings, dimensions: Mapping[str, int]) -> onnxruntime.SessionOptions:
    chosen = settings.options
    spinning = settings.threads > 1 if chosen.spinning is None else chosen.spinning
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = settings.threads
    made.inter_op_num_threads = 1
    made.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    made.graph_optimization_level = _LEVELS[chosen.graph_optimization_level]
    made.enable_cpu_mem_arena = chosen.arena
    made.log_severity_level = _LOG_NOTHING_BELOW_FATAL
    made.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    for name, size in dimensions.items():
        made.add_free_dimension_override_by_name(name, size)
    return made


def _accepted(
    graph: Graph, folder: Path, use: Callable[[Path | onnx.ModelProto, Mapping[str, int]], T]
) -> T:  # fmt: skip
    """The result of `use` with the first form of the model that the runtime takes. Raises the error of the first."""
    first: Exception | None = None
    for model, dimensions in onnx_file.forms(graph, folder):
        try:
            return use(model, dimensions)
        except ERRORS as error:
            first = first or error
    assert first is not None, "a model has a form"
    raise first


def _started(
    model: Path | onnx.ModelProto, dimensions: Mapping[str, int], settings: Settings
) -> onnxruntime.InferenceSession:
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    return _session(content, _session_options(settings, dimensions), settings)


def _session(
    model: str | bytes, session_options: onnxruntime.SessionOptions, settings: Settings
) -> onnxruntime.InferenceSession:
    provider = (settings.options.provider, dict(settings.provider_options))
    session = onnxruntime.InferenceSession(model, session_options, providers=[provider])
    session.disable_fallback()
    if session.get_providers()[0] != settings.options.provider:
        raise EnvironmentUnfitError(f"onnxruntime could not start its provider {settings.options.provider!r}")
    return session


def _runner(
    session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding, place: tuple[str, int]
) -> Callable[[], object]:
    if place[0] == "cpu":
        return lambda: session.run_with_iobinding(binding)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _bind(
    session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding, graph: Graph, place: tuple[str, int]
) -> list[object]:
    """Binds seeded inputs, and outputs, whose memory the first run allocates. Returns the inputs."""
    bound: list[object] = []
    for name, array in onnx_io.random_inputs(graph).items():
        bound.append(tensor := _ort_value(graph.type_of(name), array, place))
        binding.bind_ortvalue_input(name, tensor)
    for output in session.get_outputs():
        binding.bind_output(output.name, *place)
    return bound


def _ort_value(tensor: Tensor, array: np.ndarray, place: tuple[str, int]) -> onnxruntime.OrtValue:
    """The array [tensor.shape] in the tensor's type, also where NumPy has no such type."""
    if tensor.dtype not in NARROW:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array, *place)
    stored = storage_of(tensor, array)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(stored, dtype_code(tensor.dtype))


# -- on an NVIDIA GPU ----------------------------------------------------------------------------------


def _nvidia_versions() -> dict[str, str]:
    """Versions of the libraries that the providers use, as far as they can be found."""
    built_for = {"cuda": str(getattr(onnxruntime, "cuda_version", ""))}
    found = {name: _version_of(name) for name in ("tensorrt", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13")}
    return {name: version for name, version in (built_for | found).items() if version}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _sensors(settings: Settings) -> Any:
    """The GPU's sensors; None for other providers."""
    kind, index = settings.place
    if kind == "cpu":
        return None
    with plugins.optional_library(f"provider {settings.options.provider!r}"):
        from hwprof.backends import nvml
    try:
        return nvml.GpuSensors(nvml.gpu_of(index))
    except nvml.Error as error:
        raise EnvironmentUnfitError(
            f"the GPU of provider {settings.options.provider!r} is not available: {error}"
        ) from None


# -- errors --------------------------------------------------------------------------------------------


# -- the profiled pass ---------------------------------------------------------------------------------


def _profile(
    graph: Graph, settings: Settings, n: int, folder: Path
) -> tuple[tuple[OperatorTime, ...], float, tuple[str, ...]]:
    """Times the kernels of the model that the runtime has optimized, with numbered nodes, so that it states which.

    Returns them and the mean latency of the profiled runs, ns.
    """
    return _accepted(graph, folder, partial(_profile_form, graph=graph, settings=settings, n=n, folder=folder))


def _profile_form(
    form: Path | onnx.ModelProto, dimensions: Mapping[str, int], graph: Graph, settings: Settings, n: int, folder: Path
) -> tuple[tuple[OperatorTime, ...], float, tuple[str, ...]]:
    found = _optimize(form, dimensions, graph, settings, folder)
    warmup = min(_PROFILE_WARMUP, n)  # a network of seconds is asked for few runs
    events, latencies_ns = _profile_events(found.model, graph, settings.at("disabled"), warmup + n, folder)
    by_place = kernels.mean_times(events, warmup)
    times = kernels.operator_times(graph, found.extended, found.executed, by_place)
    without_work = kernels.idle(events)
    idle = tuple(time.name for place, time in zip(by_place, times, strict=True) if place in without_work)
    return times, kernels.middle_mean(latencies_ns[warmup:]), idle


def _executed_form(
    form: Path | onnx.ModelProto, dimensions: Mapping[str, int], graph: Graph, settings: Settings, folder: Path
) -> tuple[ExecutedKernel, ...]:
    found = _optimize(form, dimensions, graph, settings, folder)
    return kernels.executed(graph, found.extended, found.executed)


@dataclass(frozen=True, slots=True)
class _Optimized:
    """The model that the runtime would run, and its kernels at level "extended" and as they run."""

    model: onnx.ModelProto
    extended: Sequence[kernels.Kernel]
    executed: Sequence[kernels.Kernel]


def _optimize(
    form: Path | onnx.ModelProto, dimensions: Mapping[str, int], graph: Graph, settings: Settings, folder: Path
) -> _Optimized:
    model = onnx_file.read(form) if isinstance(form, Path) else form
    kernels.label(model, graph)
    weights_from = form.parent if isinstance(form, Path) else folder
    optimized = _optimized(model, settings, dimensions, weights_from, folder / "optimized.onnx")
    if settings.options.graph_optimization_level not in _LEVELS_WITH_LAYOUT:
        executed = kernels.label_kernels(optimized)
        return _Optimized(optimized, executed, executed)
    below = _optimized(model, settings.at("extended"), dimensions, weights_from, folder / "extended.onnx")
    return _Optimized(optimized, kernels.label_kernels(below), kernels.label_kernels(optimized))


def _optimized(
    model: onnx.ModelProto, settings: Settings, dimensions: Mapping[str, int], weights_from: Path, target: Path
) -> onnx.ModelProto:
    """The model as the runtime would run it. Its weights are in a file next to `target`."""
    made = _session_options(settings, dimensions)
    made.optimized_model_filepath = str(target)
    made.add_session_config_entry("session.optimized_model_external_initializers_file_name", target.name + ".data")
    made.add_session_config_entry(_WEIGHTS_FOLDER, str(weights_from))
    _session(model.SerializeToString(), made, settings)
    return onnx_file.read(target)


def _profile_events(
    model: onnx.ModelProto, graph: Graph, settings: Settings, runs: int, folder: Path
) -> tuple[list[Mapping[str, Any]], Sequence[int]]:
    """The events of the profile, and the latency of each run, ns."""
    made = _session_options(settings, {})
    made.enable_profiling = True
    made.profile_file_prefix = str(folder / "profile")
    made.add_session_config_entry(_WEIGHTS_FOLDER, str(folder))
    session = _session(model.SerializeToString(), made, settings)
    latencies_ns = OnnxRuntimeTimer(session, graph, settings)(runs)
    events: list[Mapping[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return events, latencies_ns


BACKEND = OnnxRuntimeBackend()
