"""The backends `integer`, which times kernels, and `integer-reference`, whose times do not represent a device."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

import hwprof
from hwprof import onnx_io
from hwprof.backends import fusion, host_resources, options
from hwprof.backends.host_timer import HostTimer
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.graph import Graph, is_quantized
from hwprof.integer.lowering import lowering
from hwprof.integer.program import weight_formats
from hwprof.integer.program.program import Operation, Program, Reshape
from hwprof.integer.run import library, reference, work
from hwprof.integer.run.engine import Engine
from hwprof.interfaces import ExecutedKernel
from hwprof.measurement import Evidence, OperatorTime
from hwprof.variants.weights import load_weights

_WEIGHT_COPIES = 3  # while it is loaded: the file's, the program's and the packed ones
_BEST = "best"


@dataclass(frozen=True, slots=True)
class Options:
    """`instruction_set`: one of `library.INSTRUCTION_SETS`, or "best" for the fastest that runs here.

    `weights`: "stored" keeps INT4 weights in 4 bits and others in 8; "smallest" uses the smallest format of
    `weight_formats` that holds a weight's values; "int8" uses 8 bits for all. The results are the same.
    """

    instruction_set: str = _BEST
    weights: str = "stored"


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The reference backend has no options."""


class IntegerTimer(HostTimer):
    """Runs a plan, from float inputs to float outputs."""

    def __init__(self, engine: Engine, graph: Graph) -> None:
        self._engine = engine
        self._graph = graph
        self.profiled_ns: float | None = None
        super().__init__(run=engine.run, read=engine.outputs)

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean times over n passes in which each operation is called and timed separately."""
        engine, count = self._engine, len(self._engine.operations)
        total = [0] * count
        start = perf_counter_ns()
        for _ in range(n):
            for i in range(count):
                before = perf_counter_ns()
                engine.run_operation(i)
                total[i] += perf_counter_ns() - before
        self.profiled_ns = (perf_counter_ns() - start) / n
        nodes = _members(self._graph, engine.operations)
        return [
            OperatorTime(operation.name, type(operation).__name__, total[i] / n,
                         fusion.member_names(self._graph, nodes[i]))
            for i, operation in enumerate(engine.operations)
        ]  # fmt: skip


def _members(graph: Graph, operations: Sequence[Operation]) -> list[frozenset[int]]:
    """The numbers of the nodes that each operation computes."""
    places = {node.label: i for i, node in enumerate(graph.nodes)}
    claims = {i: frozenset(places[label] for label in op.members) for i, op in enumerate(operations)}
    return list(fusion.absorb(graph, claims).values())


class IntegerBackend:
    """Integer arithmetic only, between the quantization of the inputs and the dequantization of the outputs."""

    evidence = Evidence.MEASURED
    variant = "integer"
    kernels = frozenset({"int8", "low-bit weights", "dictionary"})

    def versions(self) -> Mapping[str, str]:
        """Returns hwprof's version and the digest of the compiled kernels, whose code decides a latency."""
        compiled = library.digest()
        return {"hwprof-integer": hwprof.__version__, **({"hwprof-integer-kernels": compiled} if compiled else {})}

    def saturates(self, device: Device, features: Collection[str]) -> bool:
        """Whether the kernels sum two products in 16 bits where weights allow it, and else take longer."""
        chosen = device.option.get("instruction_set", _BEST)
        return host_resources.saturates(features) if chosen == _BEST else chosen == "avx2"

    def executed(self, graph: Graph, device: Device) -> tuple[ExecutedKernel, ...]:
        """Returns the operations, each as one kernel for each of its loops, of which only the first has the nodes; and,
        without nodes, what quantizes the inputs and dequantizes the outputs. Raises InputError for an option or a graph
        that `open` cannot run either."""
        chosen = options.read(Options, device)
        options.require_float32(device)
        program = _with_weights(chosen.weights, _lowered(graph), device)
        operations = [op for op in program.operations if not isinstance(op, Reshape)]  # which moves nothing
        found = [ExecutedKernel("border", (), work=end) for end in work.of_ends(program)]
        for operation, own in zip(operations, _members(graph, operations), strict=True):
            op = type(operation).__name__
            for i, loop in enumerate(work.of(operation, program)):
                found.append(ExecutedKernel(op, () if i else tuple(sorted(own)), work=loop))
        return tuple(found)

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[IntegerTimer]:
        """Raises InputError for an option or a graph that it cannot run, EnvironmentUnfitError where the kernels
        are not installed, the processor lacks the instruction set, or memory is missing."""
        chosen = options.read(Options, device)
        options.require_float32(device)
        program = _with_weights(chosen.weights, _lowered(graph), device)
        kernels = library.load()
        name = _instruction_set(chosen.instruction_set, kernels, device)
        inputs = onnx_io.random_inputs(graph)
        with closing(Engine(program, inputs, kernels, name, host_resources.threads(device))) as engine:
            yield IntegerTimer(engine, graph)


class ReferenceBackend:
    """Computes the same numbers with NumPy. Its times do not represent a device."""

    evidence = Evidence.SIMULATED
    variant = "integer"

    def versions(self) -> Mapping[str, str]:
        return {"hwprof-integer": hwprof.__version__, "numpy": np.__version__}

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[HostTimer]:
        """Raises InputError for an option or a graph that it cannot run."""
        options.read(NoOptions, device)
        options.require_float32(device)
        program = _lowered(graph)
        inputs = onnx_io.random_inputs(graph)
        results: dict[str, np.ndarray] = {}
        yield HostTimer(run=lambda: results.update(reference.run(program, inputs)), read=lambda: results)


def _lowered(graph: Graph) -> Program:
    host_resources.require_memory(graph, _WEIGHT_COPIES)
    try:
        return lowering.lower(graph, load_weights(graph))
    except InputError as error:
        advice = (
            "" if any(map(is_quantized, graph.nodes)) else "it is a float network; profile it with --variant integer; "
        )
        raise InputError(f"backend 'integer' cannot run {graph.name!r}: {advice}{error}") from None


def _with_weights(policy: str, program: Program, device: Device) -> Program:
    policies = {"smallest": weight_formats.smallest, "int8": weight_formats.plain}
    if policy == "stored":
        return program
    if policy not in policies:
        known = ", ".join(("stored", *policies))
        raise InputError(f"device {device.name!r}: option weights must be one of {known}, not {policy!r}")
    return weight_formats.with_format(program, policies[policy])


def _instruction_set(name: str, kernels: library.Library, device: Device) -> str:
    if name != _BEST and name not in library.INSTRUCTION_SETS:
        known = ", ".join((_BEST, *library.INSTRUCTION_SETS))
        raise InputError(f"device {device.name!r}: option instruction_set must be one of {known}, not {name!r}")
    available = kernels.available()
    if name != _BEST and name not in available:
        raise EnvironmentUnfitError(
            f"device {device.name!r}: this processor has no {name!r}; it runs {', '.join(available)}"
        )
    return available[0] if name == _BEST else name


BACKEND = IntegerBackend()
REFERENCE = ReferenceBackend()
