"""Contract checks for plug-ins: `check_backend(BACKEND, device)` in a test is enough.

Each check raises AssertionError with one line about the broken rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeAlias, get_args

import numpy as np

from hwprof import cost, onnx_io, plugins
from hwprof.builder import OPSET, GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.instructions import CLASSES, spread
from hwprof.interfaces import Arch, Backend, CountingBackend, OutputTimer, Part, SearchSpace, Task, Timer
from hwprof.measurement import Evidence
from hwprof.spaces import NotatedSpace, sampling

if TYPE_CHECKING:
    import torch

_RUNS = 5
_SIDES = (768, 1536, 3072)  # of matrix products: larger ones where a device finishes too soon
_LONG_ENOUGH_NS = 200_000  # compared with which launching the work and reading the clock are short
_WAITING_NS = 100_000_000
_FEWEST_ACCOUNTED = 0.5
_COUNTS_AGREE = 0.01  # for tiny networks, whose call from Python takes about as many instructions
_EXACT_CLASSES = ("simd", "fma", "dot")
_TASK_MEMBERS = ("name", "metric_name", "examples", "loss", "metric")
_BATCH_SIZE = 32
_MOST_SHARED = 0.01  # of a part's examples that another part has, too: public sets have a few duplicates
_Open: TypeAlias = Callable[[Graph, Device], AbstractContextManager[object]]


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


# -- backends ------------------------------------------------------------------------------------------


def check_backend(backend: Backend, device: Device, graphs: Sequence[Graph] | None = None) -> None:
    """Opens and times each graph (default: `reference_graphs`) and checks that the backend rejects bad input."""
    _require(isinstance(backend.evidence, Evidence), f"evidence is {backend.evidence!r}, not an Evidence")
    versions = backend.versions()
    _require(
        all(isinstance(v, str) and v for v in versions.values()), f"a version in {versions!r} is not a non-empty string"
    )
    opened = tuple(reference_graphs() if graphs is None else graphs)
    for graph in opened:
        digest = graph.digest
        _check_graph(backend, device, graph)
        _require(graph.digest == digest, f"opening {graph.name!r} changed its digest")
    _check_refusals(backend.open, device, opened[0])
    if graphs is None and backend.evidence is Evidence.MEASURED:
        check_waits(backend, device)  # with its own network, which not every backend can run


def check_counting_backend(backend: CountingBackend, device: Device, graphs: Sequence[Graph] | None = None) -> None:
    """Opens and counts each graph (default: `reference_graphs`), and checks that the backend rejects bad input,
    above all requests for a latency."""
    _require(
        backend.evidence is Evidence.EMULATED,
        f"evidence is {backend.evidence!r}, but this backend does not measure time",
    )
    for graph in reference_graphs() if graphs is None else graphs:
        with backend.open_counter(graph, device) as counter, backend.open_counter(graph, device) as other:
            one, two = (list(opened.count(_RUNS))[-1] for opened in (counter, other))
        for counts in (one, two):
            _require(list(counts) == list(CLASSES), f"{graph.name}: the classes are {list(counts)}")
            _require(min(counts.values()) >= 0 and sum(counts.values()) > 0, f"{graph.name}: counted {dict(counts)}")
        apart = spread((one, two))
        _require(apart < _COUNTS_AGREE, f"{graph.name}: opened twice, the counts are {apart:.2%} apart")
        for name in _EXACT_CLASSES:
            _require(one[name] == two[name], f"{graph.name}: opened twice, {name} are {one[name]} and {two[name]}")
    open_ = getattr(backend, "open", backend.open_counter)
    _refuses(open_, reference_graphs()[0], device, "a latency of an emulated core")
    _check_refusals(backend.open_counter, device, reference_graphs()[0])


def reference_graphs() -> tuple[Graph, ...]:
    """Small networks of several kinds: convolutions with a residual, an embedding with integer input, two outputs."""
    return _residual_graph(), _embedding_graph(), _two_output_graph()


def _residual_graph() -> Graph:
    b = GraphBuilder("residual")
    x = b.relu(b.conv(b.input((1, 3, 16, 16)), 8, 3, stride=2, bias=True))
    y = b.relu6(b.batch_norm(b.conv(x, 8, 3)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(b.add(x, y))), 5))


def _embedding_graph() -> Graph:
    b = GraphBuilder("embedding")
    x = b.embedding(b.input((2, 6), "int64"), rows=11, width=16)
    return b.build(b.softmax(b.linear(b.layer_norm(x), 4)))


def _two_output_graph() -> Graph:
    b = GraphBuilder("two-outputs")
    x = b.input((3, 8))
    left, right = b.split(b.linear(x, 8), (4, 4), axis=1)
    return b.build(b.unary("Sigmoid", left), b.unary("Tanh", right))


def _check_graph(backend: Backend, device: Device, graph: Graph) -> None:
    with backend.open(graph, device) as timer:
        _check_latencies(timer, graph)
        _check_operators(timer, graph)
        # Sweeps and comparisons hold several networks open, sometimes the same one twice.
        with backend.open(graph, device) as other:
            _check_latencies(other, graph)
            _check_outputs(timer, other, graph)


def _check_latencies(timer: Timer, graph: Graph) -> None:
    samples = list(timer(_RUNS))
    _require(len(samples) == _RUNS, f"{graph.name}: {_RUNS} runs gave {len(samples)} latencies")
    together = list(timer(_RUNS, each=False))
    _require(len(together) == 1, f"{graph.name}: each=False gave {len(together)} numbers instead of one total")
    for ns in (*samples, *together):
        _require(isinstance(ns, int) and ns > 0, f"{graph.name}: latency {ns!r} is not a whole number of ns above 0")


def _check_operators(timer: Timer, graph: Graph) -> None:
    profiled = getattr(timer, "operators", None)
    if profiled is None:
        return
    kernels = profiled(_RUNS)
    known = {node.label for node in graph.nodes}
    for kernel in kernels:
        _require(math.isfinite(kernel.ns) and kernel.ns >= 0, f"{graph.name}: {kernel.name} took {kernel.ns} ns")
        strangers = set(kernel.members) - known
        _require(
            not strangers,
            f"{graph.name}: {kernel.name} has members that are not nodes of the graph: {sorted(strangers)}",
        )
    _require(not kernels or sum(k.ns for k in kernels) > 0, f"{graph.name}: the operators took no time at all")


def _check_outputs(timer: Timer, other: Timer, graph: Graph) -> None:
    if not isinstance(timer, OutputTimer) or not isinstance(other, OutputTimer):
        return
    outputs = {name: np.array(value) for name, value in timer.outputs().items()}
    _require(set(outputs) == set(graph.outputs), f"{graph.name}: outputs {sorted(outputs)}, not {graph.outputs}")
    for name, value in outputs.items():
        _require(value.shape == graph.shape(name), f"{graph.name}: output {name} has shape {value.shape}")
        _require(bool(np.isfinite(value).all()), f"{graph.name}: output {name} is not finite")
    _check_same(outputs, timer.outputs(), f"{graph.name}: a second run of one timer gave other outputs")
    _check_same(outputs, other.outputs(), f"{graph.name}: opened again, the same graph gave other outputs")


def _check_same(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray], text: str) -> None:
    _require(all(np.allclose(one[name], two[name], rtol=1e-5, atol=1e-6) for name in one), text)


def check_waits(backend: Backend, device: Device) -> None:
    """The latencies of n runs account for the time until the outputs of the last one can be read.

    A timer that measures only the launch of the work (it forgot to synchronize) leaves most of that time to the
    reading. A timer without outputs cannot be checked.
    """
    for side in _SIDES:
        with backend.open(_waiting_graph(side), device) as timer:
            if not isinstance(timer, OutputTimer):
                return
            timer(1)
            one_ns = _until_read_ns(timer, 0, True)[1]
            if one_ns >= _LONG_ENOUGH_NS or side == _SIDES[-1]:
                _check_accounts(timer, int(np.clip(_WAITING_NS / one_ns, 3, 200)))
                return


def _check_accounts(timer: OutputTimer, n: int) -> None:
    for each in (True, False):
        told_ns, spent_ns = _until_read_ns(timer, n, each)
        _require(
            told_ns > _FEWEST_ACCOUNTED * spent_ns * n / (n + 1),
            f"{n} runs and one more took {spent_ns / 1e6:.3g} ms until their outputs could be read, but the "
            f"timer (each={each}) reports {told_ns / 1e6:.3g} ms: it does not wait for the device",
        )


def _waiting_graph(side: int) -> Graph:
    """Matrix products that take far longer than their launch, with a small output."""
    b = GraphBuilder("waiting")
    x = b.input((side, side))
    for features in (side, side, side, 8):
        x = b.matmul(x, b.weight((side, features)))
    return b.build(x)


def _until_read_ns(timer: OutputTimer, n: int, each: bool) -> tuple[int, int]:
    """The reported time of n runs, and the time until the outputs of one more run are available."""
    start = perf_counter_ns()
    told_ns = sum(timer(n, each)) if n else 0  # type: ignore[operator]  # an OutputTimer is a Timer
    timer.outputs()
    return told_ns, perf_counter_ns() - start


def _check_refusals(open_: _Open, device: Device, graph: Graph) -> None:
    _refuses(open_, graph, device.with_options(no_such_option=1), "an unknown option")
    _refuses(open_, graph, replace(device, precision="float3"), "an unknown precision")
    b = GraphBuilder("custom-operator")
    (y,) = b.nodes("NoSuchOperator", [b.input((1, 4))], [("float32", (1, 4))], domain="no.such.domain")
    custom = replace(b.build(y), opsets=(("", OPSET), ("no.such.domain", 1)))
    _refuses(open_, custom, device, "a custom operator")


def _refuses(open_: _Open, graph: Graph, device: Device, what: str) -> None:
    try:
        with open_(graph, device):
            pass
    except InputError as error:
        _require("\n" not in str(error).strip(), f"the error about {what} has more than one line: {error}")
    except Exception as error:
        raise AssertionError(f"{what} raised {type(error).__name__} instead of InputError: {error}") from error
    else:
        raise AssertionError(f"{what} was accepted")


# -- search spaces -------------------------------------------------------------------------------------


def check_space(space: SearchSpace, n: int = 5, seed: int = 0) -> None:
    """Builds the first and the last architecture of `choices` and `n` others between them.

    Each must have one graph, with the shapes that ONNX infers and operators of known cost. An architecture outside of
    `choices` must raise InputError, `repair` must not change its own result, and `parse` must read the text of
    `format`.
    """
    _require(len(space.choices) > 0, "`choices` has no position")
    _require(min(space.choices) >= 1, f"a position in `choices` {tuple(space.choices)} has no option")
    last = tuple(options - 1 for options in space.choices)
    rng = np.random.default_rng(seed)
    archs = sampling.stratified(space, min(n, sampling.size(space)), rng)
    for arch in ((0,) * len(last), last, *archs):
        _check_arch(space, arch)
    for arch in archs:
        _check_repair(space, arch, rng)
        if isinstance(space, NotatedSpace):
            text = space.format(arch)
            _require(space.parse(text) == arch, f"{arch} is written as {text!r}, which is read as {space.parse(text)}")
    for wrong in ((*last[:-1], last[-1] + 1), (-1, *last[1:]), last[:-1], (*last, 0)):
        _refuses_arch(space, wrong)


def _check_arch(space: SearchSpace, arch: Arch) -> None:
    graph = space.graph(arch)
    _require(space.graph(arch) == graph, f"{arch} has another graph when it is built again")
    unknown = cost.unknown_operators(graph)
    _require(not unknown, f"the graph of {arch} has operators without a cost rule: {', '.join(unknown)}")
    for inferred in onnx_io.infer_types(graph).values:
        stated = graph.type_of(inferred.name)
        _require(stated == inferred, f"the graph of {arch} has {stated}, but ONNX infers {inferred}")


def _check_repair(space: SearchSpace, arch: Arch, rng: np.random.Generator) -> None:
    again = sampling.repaired(space, arch, rng)
    _require(again == arch, f"`repair` returned {arch}, but repairs that to {again}")


def _refuses_arch(space: SearchSpace, arch: Arch) -> None:
    try:
        space.graph(arch)
    except InputError:
        return
    except Exception as error:
        raise AssertionError(f"{arch} raised {type(error).__name__} instead of InputError: {error}") from error
    raise AssertionError(f"{arch} does not fit `choices` {tuple(space.choices)}, but has a graph")


# -- tasks -----------------------------------------------------------------------------------------------


def check_task(task: Task, network: torch.nn.Module | None = None) -> None:
    """Reads all parts of the task, and gives it outputs of the network if there is one, which must fit its inputs.

    Each part has examples, the same each time (but for inputs of "train", which may be augmented), with as many targets
    as inputs; parts share no examples; an unknown part is an InputError. The loss of an output is a finite scalar with
    a gradient, its metric a finite number. Where the targets are labels (int64, [n]), scores for the right ones have a
    smaller loss and a larger metric than others.
    """
    missing = [member for member in _TASK_MEMBERS if not hasattr(task, member)]
    _require(not missing, f"a task has {', '.join(_TASK_MEMBERS)}; this one lacks {', '.join(missing)}")
    for text in ("name", "metric_name"):
        _require(bool(getattr(task, text)), f"`{text}` is {getattr(task, text)!r}, not a text")
    parts: tuple[Part, ...] = get_args(Part)
    seen = {part: _check_part(task, part) for part in parts}
    for part in parts:
        for other in parts[: parts.index(part)]:
            shared = len(seen[part] & seen[other]) / max(1, len(seen[part]))
            _require(shared <= _MOST_SHARED, f"{shared:.0%} of the inputs in {part!r} are in {other!r}, too")
    _check_unknown_part(task)
    batch = next(iter(task.examples("train").batches(_BATCH_SIZE)))
    if network is not None:
        inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
        _check_figures(task, network(*inputs), batch.targets)
    if batch.targets.ndim == 1 and not batch.targets.is_floating_point():
        _check_labels(task, batch.targets)


def _check_part(task: Task, part: Part) -> set[bytes]:
    """Returns a digest of each input."""
    with plugins.optional_library("a task"):
        import torch

    first, again = (_read(task, part, None) for _ in range(2))
    _require(bool(first[1]), f"part {part!r} has no example")
    _require(len(first[0]) == len(first[1]), f"part {part!r} has inputs and targets of different lengths")
    # The inputs of the part "train" may be augmented at random.
    same = first[1] == again[1] and (part == "train" or first[0] == again[0])
    _require(same, f"part {part!r}, read again without a generator, has other examples or another order")
    one, two = (_read(task, part, torch.Generator().manual_seed(0))[1] for _ in range(2))
    _require(one == two, f"part {part!r}, shuffled twice by one seed, has two orders")
    return set(first[0])


def _read(task: Task, part: Part, generator: torch.Generator | None) -> tuple[list[bytes], list[bytes]]:
    """Digests of the inputs and of the targets, in order."""
    examples = task.examples(part)
    batches = list(examples.batches(_BATCH_SIZE, generator))
    told = examples.n_batches(_BATCH_SIZE)
    if generator is not None:
        _require(told == len(batches), f"part {part!r} says {told} batches of {_BATCH_SIZE} and yields {len(batches)}")
    inputs = [batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,) for batch in batches]
    for tensor in chain.from_iterable(inputs):
        _require(bool(tensor.isfinite().all()), f"part {part!r} has an input that is not finite")
    targets = [(batch.targets,) for batch in batches]
    digests = [[digest for some in each for digest in _digests(some)] for each in (inputs, targets)]
    return digests[0], digests[1]


def _digests(tensors: tuple[torch.Tensor, ...]) -> list[bytes]:
    """tensors: each [n, ...]. Returns n digests."""
    rows = zip(*(tensor.detach().cpu().numpy() for tensor in tensors), strict=True)
    return [sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in row)).digest() for row in rows]


def _check_unknown_part(task: Task) -> None:
    try:
        task.examples("no such part")  # type: ignore[arg-type]
    except InputError:
        return
    except Exception as error:
        raise AssertionError(f"an unknown part raised {type(error).__name__} instead of InputError: {error}") from error
    raise AssertionError("an unknown part was accepted")


def _check_figures(task: Task, output: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    """Returns loss and metric."""
    output = output.detach().requires_grad_()
    loss = task.loss(output, targets)
    _require(loss.ndim == 0 and math.isfinite(loss.item()), f"the loss is {loss.detach()}, not a finite scalar")
    _require(loss.requires_grad, "the loss has no gradient")
    metric = task.metric(output.detach(), targets)
    _require(isinstance(metric, float) and math.isfinite(metric), f"the metric is {metric!r}, not a finite float")
    return loss.item(), metric


def _check_labels(task: Task, targets: torch.Tensor) -> None:
    largest = max(int(batch.targets.max()) for batch in task.examples("train").batches(_BATCH_SIZE))
    n_classes = max(largest + 1, getattr(task, "n_classes", None) or 2)
    classes = targets.new_tensor(range(n_classes))
    scores = [8.0 * (labels[:, None] == classes) for labels in (targets, (targets + 1) % n_classes)]
    (loss, metric), (wrong_loss, wrong_metric) = (_check_figures(task, output, targets) for output in scores)
    _require(loss < wrong_loss, f"right labels have a loss of {loss:g}, wrong ones of {wrong_loss:g}")
    _require(metric > wrong_metric, f"right labels have a metric of {metric:g}, wrong ones of {wrong_metric:g}")
