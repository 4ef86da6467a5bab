"""Contract checks for plug-ins: `check_backend(BACKEND, device)` in a test is enough.

Each check raises AssertionError with one line about the broken rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import chain
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from hwprof import cost, metrics, onnx_io, plugins
from hwprof.builder import OPSET, GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.instructions import CLASSES, spread
from hwprof.interfaces import (
    Arch,
    Backend,
    CountingBackend,
    OutputTimer,
    Part,
    Search,
    SearchSpace,
    Task,
    Timer,
    Trial,
)
from hwprof.measurement import Evidence
from hwprof.spaces import NotatedSpace, checked, sampling

if TYPE_CHECKING:
    import torch

    from hwprof.predictors.base import Regressor

_RUNS = 5
_BATCHES = 12  # that a search is asked for
_SIDES = (768, 1536, 3072)  # of matrix products: larger ones where a device finishes too soon
_LONG_ENOUGH_NS = 200_000  # compared with which launching the work and reading the clock are short
_WAITING_NS = 100_000_000
_FEWEST_ACCOUNTED = 0.5
_COUNTS_AGREE = 0.01  # for tiny networks, whose call from Python takes about as many instructions
_EXACT_CLASSES = ("simd", "fma", "dot")
_LEARNED_RANK = 0.5  # Spearman's rho on the networks that a predictor learned from
_ALONE = 1e-3  # relative, between a prediction in a batch and alone
_HOOKS = ("parameters", "before_step", "penalty", "after_backward", "after_step", "after_epoch", "state", "restore")
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
    def opened() -> None:
        with open_(graph, device):
            pass

    _raises_input_error(opened, what)


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


# -- predictors ----------------------------------------------------------------------------------------


def check_predictor(predictor: Regressor, space: SearchSpace | None = None, n: int = 36, seed: int = 0) -> None:
    """Fits clones of an unfitted predictor to `n` networks of a space, given as its `takes` says (default: 36 chains of
    convolutions), and gives it what it must refuse.

    It learns and repeats itself. Its predictions do not depend on the other networks of a call, survive `encode`,
    `state` and `restore`, and are inside their intervals, which widen with the coverage. A network of the other kind,
    and values that cannot be learned from, are an InputError. A regressor of scores is checked with values of any sign.
    """
    with plugins.optional_library("check_predictor"):
        from sklearn.base import clone
    _require(predictor.takes in ("graph", "arch"), f"takes is {predictor.takes!r}, neither 'graph' nor 'arch'")
    drawn: SearchSpace = _ChainSpace() if space is None else space
    archs = sampling.stratified(drawn, min(n, sampling.size(drawn)), np.random.default_rng(seed))
    graphs = [drawn.graph(arch) for arch in archs]
    X: Sequence[Any] = archs if predictor.takes == "arch" else graphs
    y = _targets(graphs, predictor.target.positive)
    _check_unfitted(clone(predictor), X)
    fitted = clone(predictor).fit(X, y.copy())
    predicted = _check_predictions(fitted, X, y)
    _check_interval(fitted, X, predicted)
    again = clone(predictor).fit(X, y.copy())
    _require(np.array_equal(again.predict(X), predicted), "fitted again, it predicts other values")
    _require(np.allclose(fitted.predict(fitted.encode(X)), predicted), "encoded networks have other predictions")
    restored = clone(predictor).restore(fitted.state())
    _require(np.allclose(restored.predict(X), predicted), "restored from its state, it predicts other values")
    _require(restored.takes == fitted.takes, f"restored, it takes {restored.takes!r}, not {fitted.takes!r}")
    _check_unlearnable(clone(predictor), X, y)
    if predictor.get_params(deep=False).get("space") is None:
        other = graphs if fitted.takes == "arch" else archs
        _raises_input_error(partial(fitted.predict, other), f"a network that is not given as {fitted.takes}")


class _ChainSpace(SearchSpace):
    """36 chains of one to three convolutions, of three widths and two kernels, on images of two sizes."""

    choices = (3, 3, 2, 2)

    def graph(self, arch: Arch) -> Graph:
        depth, width, kernel, stride = checked("chains", self.choices, arch)
        b = GraphBuilder("chain")
        x = b.conv(b.input((1, 3, 16, 16)), 8, 3, stride=1 + stride)
        for _ in range(depth + 1):
            x = b.relu(b.conv(x, 8 * (width + 1), 3 if kernel else 1))
        return b.build(b.global_average_pool(x))


def _targets(graphs: Sequence[Graph], positive: bool) -> np.ndarray:
    """Returns [n]: latencies, ms, of a device that is bound by launches and multiply-adds; or scores around zero that
    grow with their logarithm."""
    ms = np.array([0.05 * len(graph.nodes) + 1e-6 * cost.of(graph).macs for graph in graphs])
    return ms if positive else np.log(ms) - float(np.log(ms).mean())


def _check_unfitted(predictor: Regressor, X: Sequence[Any]) -> None:
    from sklearn.exceptions import NotFittedError

    try:
        predictor.predict(X)
    except NotFittedError:
        return
    except Exception as error:
        raise AssertionError(
            f"predict before fit raised {type(error).__name__}, not NotFittedError: {error}"
        ) from error
    raise AssertionError("it predicts before it has learned anything")


def _check_predictions(fitted: Regressor, X: Sequence[Any], y: np.ndarray) -> np.ndarray:
    """Returns [n], the predictions."""
    predicted = fitted.predict(X)
    _require(predicted.shape == y.shape, f"{len(y)} networks have predictions of shape {predicted.shape}")
    _require(bool(np.isfinite(predicted).all()), "a prediction is not finite")
    _require(not fitted.target.positive or predicted.min() > 0, f"a {fitted.target.name} of {predicted.min()}")
    rank = metrics.spearman(y, predicted)
    _require(rank > _LEARNED_RANK, f"Spearman's rho is {rank:.2f} on the networks that it learned from")
    alone = np.concatenate([fitted.predict(X[:1]), fitted.predict(X[-1:])])
    scale = np.abs(predicted).max()
    _require(bool(np.abs(alone - predicted[[0, -1]]).max() < _ALONE * scale), "alone, a network is predicted otherwise")
    _require(fitted.errors_.shape == y.shape, f"{len(y)} networks have errors_ of shape {fitted.errors_.shape}")
    return predicted


def _check_interval(fitted: Regressor, X: Sequence[Any], predicted: np.ndarray) -> None:
    slack = 1e-9 * np.abs(predicted).max()
    narrow, wide = fitted.predict_interval(X, 0.5), fitted.predict_interval(X, 0.95)
    for low, high in (narrow, wide):
        inside = (low <= predicted + slack) & (predicted <= high + slack)
        _require(bool(inside.all()), "a prediction is outside its interval")
    _require(bool((wide[0] < narrow[0]).all() and (narrow[1] < wide[1]).all()), "95 % intervals are not the wider ones")
    for coverage in (0, 1, 90):
        _raises_input_error(partial(fitted.predict_interval, X, coverage), f"a coverage of {coverage}")


def _check_unlearnable(predictor: Regressor, X: Sequence[Any], y: np.ndarray) -> None:
    name = predictor.target.name
    _raises_input_error(partial(predictor.fit, X, y[:-1]), f"a network without a {name}")
    _raises_input_error(partial(predictor.fit, X[:0], y[:0]), "no network")
    _raises_input_error(partial(predictor.fit, X, np.full(len(y), 2.0)), f"one {name} for all networks")
    for value in (math.nan, math.inf, *((0.0, -1.0) if predictor.target.positive else ())):
        _raises_input_error(partial(predictor.fit, X, np.append(y[:-1], value)), f"a {name} of {value}")


def _raises_input_error(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except InputError as error:
        _require("\n" not in str(error).strip(), f"the error about {what} has more than one line: {error}")
    except Exception as error:
        raise AssertionError(f"{what} raised {type(error).__name__} instead of InputError: {error}") from error
    else:
        raise AssertionError(f"{what} was accepted")


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


# -- compression methods -------------------------------------------------------------------------------


def check_method(make: Callable[[], Any], network: Any) -> None:
    """Attaches what `make` gives (a `hwprof.compress.method.Method`) to copies of the network (a `Network`) and asks
    for its options and choices, and for the networks that they make.

    Options go from as before to the smallest, and their harm never falls. Nothing chosen gives what the network
    computes; the smallest choices give another network for the same inputs and outputs, the same one each time. The
    network's examples must fit it.
    """
    method = make()
    for text in ("name", "paper"):
        _require(bool(getattr(method, text, "")), f"`{text}` of the method is not a text")
    unknown = set(method.needs) - {"training", "tuning", "examples"}
    _require(not unknown, f"`needs` has {', '.join(map(repr, unknown))}; a method needs training, tuning or examples")
    options = method.options(network.graph)
    hooks = method.attach(network.copy(), lambda _choices: _no_cost())
    missing = [name for name in _HOOKS if not callable(getattr(hooks, name, None))]
    _require(not missing, f"`attach` returns a {type(hooks).__name__} without {', '.join(missing)}")
    for layer, some in options.items():
        _check_options(method, layer, some)
    _require(bool(options or method.choices()), f"the method finds nothing to change in {network.graph.name!r}")
    smallest = {layer: some[-1] for layer, some in options.items()} or _with_zeros(method.choices())
    _check_finished(method, network, smallest)


def _with_zeros(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices, with half of the weights 0 in layers of which a method that has learned nothing takes none."""
    return {layer: replace(c, sparsity=0.5) if c.sparsity == 0 else c for layer, c in choices.items()}


def _no_cost() -> torch.Tensor:
    with plugins.optional_library("check_method"):
        import torch
    return torch.tensor(math.nan)


def _check_options(method: Any, layer: str, some: Sequence[Any]) -> None:
    _require(len(some) > 1, f"layer {layer!r} has nothing to choose from: leave it out of `options`")
    _require(some[0] == type(some[0])(), f"the first option of layer {layer!r} is {some[0]}, not as before")
    _require(len(set(some)) == len(some), f"an option of layer {layer!r} is there twice")
    harms = [method.harm(layer, choice) for choice in some]
    _require(all(map(math.isfinite, harms)), f"a harm of layer {layer!r} is not finite: {harms}")
    _require(harms[0] == 0, f"layer {layer!r} as before has the harm {harms[0]}, not 0")
    _require(harms == sorted(harms), f"the harm of layer {layer!r} falls for smaller options: {harms}")


def _check_finished(method: Any, network: Any, smallest: Mapping[str, Any]) -> None:
    same, small, again = method.finish({}), method.finish(smallest), method.finish(smallest)
    before, after = _outputs(network, network), _outputs(same, network)
    _require(np.allclose(before, after, atol=1e-5), "with nothing chosen, the network computes something else")
    is_other = small.graph != network.graph or not _have_equal_weights(small, network)
    _require(is_other, "the smallest choices leave the network as it was")
    _require(small.graph == again.graph, "the same choices, finished again, give another network")
    computed = _outputs(small, network)
    _require(computed.shape == before.shape, f"the output's shape becomes {computed.shape}, not {before.shape}")
    _require(bool(np.isfinite(computed).all()), "the smallest choices give outputs that are not finite")
    _require(np.array_equal(computed, _outputs(again, network)), "the same choices, finished again, compute otherwise")


def _have_equal_weights(network: Any, other: Any) -> bool:
    """Of networks with one graph."""
    return all(np.array_equal(array, other.weights[name]) for name, array in network.weights.items())


def _outputs(network: Any, given: Any) -> np.ndarray:
    """The network's outputs for the first example, in evaluation mode, [1, ...]."""
    with plugins.optional_library("check_method"):
        import torch
    with torch.no_grad():
        inputs = [torch.from_numpy(given.examples[t.name][0]) for t in given.graph.inputs]
        return np.asarray(network.module.eval()(*inputs).numpy())


# -- searches --------------------------------------------------------------------------------------------


def check_search(make: Callable[[SearchSpace, int], Search], space: SearchSpace | None = None, n: int = 4) -> None:
    """Lets a search ask for `n` architectures a few times (default space: 36 chains of convolutions) and tells it their
    trials, a third of them refused; then a batch that was refused as a whole, from the start.

    What it asks for is in the space and repaired, and at most `n`; it ends a small space without an error; the same
    seed and trials make it ask for the same. A space of one architecture is searched, or refused by InputError.
    """
    drawn: SearchSpace = _ChainSpace() if space is None else space
    asked = _asked(make(drawn, 0), drawn, n, refused_share=1 / 3)
    _require(bool(asked), "it asks for nothing")
    _require(asked == _asked(make(drawn, 0), drawn, n, refused_share=1 / 3), "with the same seed it asks for others")
    others = [_asked(make(drawn, seed), drawn, n, refused_share=1 / 3) for seed in (1, 2, 3)]
    _require(any(other != asked for other in others), "its seed changes nothing")
    _require(bool(_asked(make(drawn, 0), drawn, n, refused_share=1.0)), "it asks for nothing")
    try:
        search = make(_OneArch(), 0)
    except InputError:
        return
    _asked(search, _OneArch(), n, refused_share=0.0)


class _OneArch(SearchSpace):
    choices = (1, 1)

    def graph(self, arch: Arch) -> Graph:
        checked("one", self.choices, arch)
        return _two_output_graph()


def _asked(search: Search, space: SearchSpace, n: int, refused_share: float) -> list[list[Arch]]:
    """The batches of a search that is told a made-up score and latency of each, which grow with the choices."""
    asked: list[list[Arch]] = []
    for _ in range(_BATCHES):
        archs = search.ask(n)
        if not archs:
            break
        _require(len(archs) <= n, f"asked for {n} architectures, it gave {len(archs)}")
        for arch in archs:
            _require(checked("the search", space.choices, arch) == arch, f"{arch!r} is not a tuple of ints")
            _require(sampling.repaired(space, arch) == arch, f"it asks for {arch}, which the space repairs")
        asked.append(archs)
        search.tell([_trial(arch, space, refused_share) for arch in archs])
    return asked


def _trial(arch: Arch, space: SearchSpace, refused_share: float) -> Trial:
    size = sum((choice + 1) / options for choice, options in zip(arch, space.choices, strict=True)) / len(arch)
    return Trial(arch, None if size > 1 - refused_share else size, 10 * size)
