"""OpenVINO on the CPU, in the requested precision: https://docs.openvino.ai"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hwprof import onnx_io
from hwprof.backends import fusion, host_resources, onnx_file, options
from hwprof.backends.host_timer import HostTimer
from hwprof.backends.openvino_models import flatten_conditions, pad_integers
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError, one_line
from hwprof.graph import Graph, Tensor
from hwprof.interfaces import ExecutedKernel
from hwprof.measurement import Evidence, OperatorTime
from hwprof.onnx_io.proto import storage_of

# Importing openvino reports the import to its vendor through this package; without it a stub takes its place.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python marks "not there"
import openvino  # noqa: E402 -- must follow the line above

# The runtime's own default is bfloat16 where the CPU has it: twice as fast, and not the same computation.
_PRECISIONS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_NARROW_TYPES = {"bfloat16": openvino.Type.bf16, "int4": openvino.Type.i4, "uint4": openvino.Type.u4}
_WEIGHT_COPIES = 2  # the model's and the compiled network's
_PROFILE_WARMUP = 10
_LABEL = re.compile(r"#(\d+)(?:/\d+)?")
# How the lines of its errors begin that are about its own files.
_STACK = ("Exception from ", "Check '", "FrontEnd API failed", "Model wasn't fully converted")
_LONGEST_REASON = 600
_PRECISION = re.compile(r"_(fp|bf|f|i|u)\d+$", re.IGNORECASE)  # ends the name of an implementation
_NO_KERNEL = frozenset({"Input", "Const", "Output"})


@dataclass(frozen=True, slots=True)
class Options:
    """There are none yet: threads and precision are the device's own."""


@dataclass(frozen=True, slots=True)
class Profiled:
    """A kernel's entry in the runtime's profile: its average time since the network was compiled, us."""

    name: str
    op: str
    average_us: float


class OpenVinoTimer(HostTimer):
    """Runs one inference request with input tensors that are set once."""

    def __init__(self, compiled: openvino.CompiledModel, graph: Graph, device: Device) -> None:
        request = compiled.create_infer_request()
        for name, array in onnx_io.random_inputs(graph).items():
            request.set_tensor(name, _tensor(graph.type_of(name), array))
        self._graph = graph
        self._device = device
        self.profiled_ns: float | None = None
        super().__init__(
            run=lambda: request.infer(share_outputs=True),
            read=lambda: {name: request.get_tensor(name).data.copy() for name in graph.outputs},
        )
        self.request = request

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        with _plain_errors(self._graph):
            return super().__call__(n, each)

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean over n runs of a second, profiled network after its warm-up. Kernels under a microsecond are missing:
        the runtime counts them as not run. Raises as `open` does."""
        with _compiled(self._graph, self._device, profile=True) as (compiled, labels):
            kernels, self.profiled_ns = _profile(self._graph, self._device, compiled, labels, n)
        return kernels


class OpenVinoBackend:
    """One stream, the device's number of threads; the workers are pinned by hwprof, not by the runtime."""

    evidence = Evidence.MEASURED
    kernels = frozenset({"int8"})

    def versions(self) -> Mapping[str, str]:
        return {"openvino": str(openvino.__version__)}

    def saturates(self, device: Device, features: Collection[str]) -> bool:  # noqa: ARG002 -- the CPU alone
        return host_resources.saturates(features)

    def executed(self, graph: Graph, device: Device) -> tuple[ExecutedKernel, ...]:
        """Raises as `open` does."""
        options.read(Options, device)
        options.require_onnx(graph, device)
        host_resources.require_memory(graph, _WEIGHT_COPIES)
        with _compiled(graph, device, profile=True) as (compiled, labels):
            return _executed(compiled, labels, graph)

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[OpenVinoTimer]:
        """Raises InputError for an option, precision or graph that it cannot run, EnvironmentUnfitError for too little
        memory and for threads or a precision that the CPU does not grant."""
        options.read(Options, device)
        options.require_onnx(graph, device)
        host_resources.require_memory(graph, _WEIGHT_COPIES)
        with _compiled(graph, device) as (compiled, _):
            yield OpenVinoTimer(compiled, graph, device)


def _tensor(tensor: Tensor, array: np.ndarray) -> openvino.Tensor:
    """The array [tensor.shape] in the tensor's type, also where NumPy has no such type."""
    if tensor.dtype not in _NARROW_TYPES:
        return openvino.Tensor(array)
    return openvino.Tensor(storage_of(tensor, array), openvino.Shape(tensor.shape), _NARROW_TYPES[tensor.dtype])


def _properties(device: Device) -> dict[str, Any]:
    if device.precision not in _PRECISIONS:
        raise InputError(
            f"device {device.name!r} asks for precision {device.precision!r}, but backend 'openvino' computes in "
            f"{', '.join(_PRECISIONS)}; for int8 give it a quantized graph"
        )
    return {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[device.precision],
        "INFERENCE_NUM_THREADS": host_resources.threads(device),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,  # the device's `cores` decide which CPUs to use
        "SCHEDULING_CORE_TYPE": "ANY_CORE",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # no int8 in a float network without the user's knowledge
    }


@contextmanager
def _compiled(
    graph: Graph, device: Device, profile: bool = False
) -> Iterator[tuple[openvino.CompiledModel, Mapping[str, Set[int]]]]:
    """The compiled network; with `profile` also its operators' labels, and for each the indices in `graph.nodes`."""
    properties = _properties(device)
    settings = {**properties, "PERF_COUNT": profile}
    with TemporaryDirectory() as folder, _plain_errors(graph):
        core = openvino.Core()
        model = _read(core, graph, Path(folder))
        try:
            labels = _label(model, graph) if profile else {}
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError:
            if (model := _padded(core, graph)) is None:
                raise
            labels = _label(model, graph) if profile else {}
            compiled = core.compile_model(model, "CPU", settings)
    _check_granted(compiled, device, properties)
    yield compiled, labels


def _read(core: openvino.Core, graph: Graph, folder: Path) -> openvino.Model:
    """The model with the graph's input shapes; weights too large to pass in memory go through a file.

    The runtime refuses some operators of a file with open dimensions, whose ranks it does not find; it takes these from
    a model in which the shapes of the inputs are fixed."""
    is_large = graph.weight_bytes > onnx_file.PROTOBUF_LIMIT_BYTES
    try:
        model = _read_file(core, graph)
    except RuntimeError:
        if is_large:
            raise
        model = None
    if model is None and is_large:
        onnx_io.save(onnx_io.materialize(graph), folder / "model.onnx")
        model = core.read_model(folder / "model.onnx")
    elif model is None:
        made = onnx_io.materialize(graph)
        flatten_conditions(made.graph)
        model = core.read_model(made.SerializeToString())
    return _shaped(model, graph)


def _padded(core: openvino.Core, graph: Graph) -> openvino.Model | None:
    """The model with quantized tensors padded as integers; None where none is padded."""
    if graph.weight_bytes > onnx_file.PROTOBUF_LIMIT_BYTES or all(node.op != "Pad" for node in graph.nodes):
        return None
    made = onnx_io.materialize(graph)
    if not pad_integers(made.graph):
        return None
    flatten_conditions(made.graph)
    return _shaped(core.read_model(made.SerializeToString()), graph)


def _shaped(model: openvino.Model, graph: Graph) -> openvino.Model:
    model.reshape({t.name: list(t.shape) for t in graph.inputs})
    return model


def _read_file(core: openvino.Core, graph: Graph) -> openvino.Model | None:
    """The model of the graph's own file; None where it has none, or one that the runtime cannot take where it is."""
    if graph.source and onnx_file.is_in_place(Path(graph.source)) and not onnx_io.has_functions(Path(graph.source)):
        return core.read_model(graph.source)
    return None


def _check_granted(compiled: openvino.CompiledModel, device: Device, properties: Mapping[str, Any]) -> None:
    threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    if threads != properties["INFERENCE_NUM_THREADS"]:
        raise EnvironmentUnfitError(
            f"device {device.name!r} asks for {properties['INFERENCE_NUM_THREADS']} threads, but openvino uses "
            f"{threads} here; lower `threads` or give the process more CPUs"
        )
    computed_in = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if computed_in != properties["INFERENCE_PRECISION_HINT"]:
        raise EnvironmentUnfitError(
            f"device {device.name!r} asks for precision {device.precision!r}, but openvino computes in "
            f"{computed_in} on this CPU"
        )


@contextmanager
def _plain_errors(graph: Graph) -> Iterator[None]:
    """The runtime raises RuntimeError with a stack of its own files, then the operator and the reason."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"openvino cannot run {graph.name!r}: {_reason(str(error))}") from None


def _reason(text: str) -> str:
    """The part of the runtime's message that says which operator it refuses and why, in one line."""
    if missing := re.search(r"No conversion rule found for operations: (.*)", text):
        return f"operator {missing[1]} is not implemented"
    lines = text.partition("\nSummary:")[0].strip().splitlines()
    told = [line for line in lines if line and not line.startswith(_STACK)]
    return one_line("; ".join(line.removesuffix(":") for line in told) or lines[-1], _LONGEST_REASON)


# -- the profiled pass ---------------------------------------------------------------------------------


def _label(model: openvino.Model, graph: Graph) -> dict[str, frozenset[int]]:
    """Names each operator of the model #N, N the index in `graph.nodes` of the node it came from: a node's last
    operator carries the node's tensor, those before it belong to the operator that reads them."""
    index = fusion.producer_indices(graph)
    labels: dict[str, frozenset[int]] = {}
    number_of: dict[str, int] = {}
    for place, op in enumerate(reversed(model.get_ordered_ops())):
        if op.get_type_name() in ("Parameter", "Constant", "Result"):
            continue
        numbers = frozenset(index[name] for out in op.outputs() for name in out.get_names() if name in index)
        readers = [t.get_node().get_name() for out in op.outputs() for t in out.get_target_inputs()]
        inherited = [number_of[name] for name in readers if name in number_of]
        number = min(numbers) if numbers else min(inherited, default=None)
        if number is None:
            continue
        number_of[op.get_name()] = number
        label = f"#{number}" if numbers else f"#{number}/{place}"
        labels[label] = numbers or frozenset({number})
        op.set_friendly_name(label)
    return labels


def _profile(
    graph: Graph, device: Device, compiled: openvino.CompiledModel, labels: Mapping[str, Set[int]], n: int
) -> tuple[tuple[OperatorTime, ...], float]:
    """The kernels, and the mean latency of the runs that timed them, ns."""
    timer = OpenVinoTimer(compiled, graph, device)
    timer(_PROFILE_WARMUP)
    warm = {k.name: k.average_us for k in _profiled(timer.request)}
    latencies_ns = timer(n)
    nodes = fusion.absorb(graph, _claims(compiled, labels))
    times = []
    for kernel in _profiled(timer.request):
        own = nodes.get(kernel.name, frozenset())
        name = fusion.title(graph, own) if own else _readable(kernel.name, graph)
        us = _mean_us(kernel.average_us, warm.get(kernel.name, 0.0), n)
        times.append(OperatorTime(name, kernel.op, us * 1e3, fusion.member_names(graph, own)))
    return tuple(times), sum(latencies_ns) / n


def _mean_us(average: float, warm_average: float, n: int) -> float:
    """The mean over the last n runs, from two averages since the first run that are truncated to whole microseconds."""
    cut = 0.5  # added back: the average truncation
    total = (_PROFILE_WARMUP + n) * (average + cut) - _PROFILE_WARMUP * (warm_average + cut)
    return max(total / n, cut)


def _profiled(request: openvino.InferRequest) -> list[Profiled]:
    """The kernels that ran, in the order of execution."""
    return [
        Profiled(p.node_name, f"{p.node_type} {p.exec_type}", p.real_time / timedelta(microseconds=1))
        for p in request.profiling_info
        if p.real_time > timedelta(0)
    ]


def _claims(compiled: openvino.CompiledModel, labels: Mapping[str, Set[int]]) -> dict[str, Set[int]]:
    """For each kernel the nodes whose labels the runtime lists for it."""
    claims: dict[str, Set[int]] = {}
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        if info["layerType"].astype(str) in _NO_KERNEL:
            continue
        found = [m[0] for text in info["originalLayersNames"].astype(str).split(",") if (m := _LABEL.fullmatch(text))]
        claims[op.get_friendly_name()] = frozenset().union(*(labels.get(label, frozenset()) for label in found))
    return claims


def _executed(
    compiled: openvino.CompiledModel, labels: Mapping[str, Set[int]], graph: Graph
) -> tuple[ExecutedKernel, ...]:
    """The kernels that run, in their order. The runtime does not say which tensor a kernel moves that it inserted: one
    of its shape stands for it."""
    nodes = fusion.absorb(graph, _claims(compiled, labels))
    ops = {op.get_friendly_name(): op for op in compiled.get_runtime_model().get_ordered_ops()}
    types = {name: ops[name].get_rt_info()["layerType"].astype(str) for name in nodes}
    of_shape: dict[tuple[int, ...] | None, str] = {t.shape: t.name for t in (*graph.values, *graph.inputs)}
    moved = {name: "" if own else of_shape.get(_shape(ops[name]), "") for name, own in nodes.items()}
    how = {name: _PRECISION.sub("", ops[name].get_rt_info()["primitiveType"].astype(str)) for name in nodes}
    return tuple(ExecutedKernel(types[name], tuple(sorted(own)), moved[name], how[name]) for name, own in nodes.items())


def _shape(op: openvino.Node) -> tuple[int, ...] | None:
    shape = op.get_output_partial_shape(0)
    return tuple(shape.to_shape()) if shape.is_static else None


def _readable(name: str, graph: Graph) -> str:
    """The name of a kernel that the runtime inserted, with the nodes' names in place of their labels."""
    return _LABEL.sub(lambda m: graph.nodes[int(m[1])].label, name)


BACKEND = OpenVinoBackend()
