"""The loop, once for all methods: from a network and a latency to a file that runs at that speed, or a clear no.

    job = prepare(network, task, device, store, folder)
    made = compress(job, "magnitude", target_ms=2.5)
    print(made.result.met, made.path)

The baseline is measured; the method learns, where it has to, once for all targets; its choices are projected by the
table of the network's layers onto what the device rewards; the network is exported and compared with the baseline;
where it is not yet fast enough, the table's target is tightened (`aim`), at most `Settings.rounds` times; where it is
much faster than wanted, the target is loosened once, and the less harmful of the networks that are fast enough is
taken; the small network is tuned, exported and measured again. Only that last paired measurement decides whether the
target is met.

Everything is kept when it is made: trainings as checkpoints after each epoch, measurements and results in the store.
The same call goes on from there, and does not compute a result again that is in the store.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from hwprof import __version__, cost
from hwprof.compress import method as methods
from hwprof.compress import metric_direction, networks
from hwprof.compress.aim import TOLERANCE, Aim
from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.compress.choices import changes, told
from hwprof.compress.compressed import Compressed
from hwprof.compress.layer_table import LayerTable
from hwprof.compress.method import Method, Network, SoftChoices
from hwprof.compress.projection import project
from hwprof.data.result import Estimate, Result, ResultKey, Target, estimate, known_latency
from hwprof.data.store import Store, key_of
from hwprof.device import Device
from hwprof.errors import InputError, NotConvergedError
from hwprof.graph import Graph
from hwprof.interfaces import Task, higher_is_better
from hwprof.measure import recording
from hwprof.measure.machine import require_times
from hwprof.measure.rounds import Cohort
from hwprof.measurement import Comparison, Measurement, ProtocolSettings, Status
from hwprof.report import quantity
from hwprof.training import EpochResult, Hooks, NotFiniteError, TrainSettings, evaluate, fit
from hwprof.training.loop import require_loss

Tell = Callable[[str], None]
TUNING = TrainSettings(epochs=10, rate=0.01, keep="best")
TRAINING = TrainSettings(epochs=20, rate=0.05, keep="best")
_TELLINGS = 4  # in each round of a measurement of many graphs
_MANY = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """tuning: how a small network is trained. training: how a method that learns its choices trains. first: how the
    network itself is trained before anything else; None where it is trained already. rounds: how often the table's
    target may be set. table: the protocol of the table's rows, which are many; None for that of the networks. All
    trainings have the job's seed."""

    tuning: TrainSettings = TUNING
    training: TrainSettings = TRAINING
    first: TrainSettings | None = None
    rounds: int = 3
    table: ProtocolSettings | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"compression needs at least one round, not {self.rounds}")

    def seeded(self, seed: int) -> Settings:
        first = None if self.first is None else replace(self.first, seed=seed)
        return replace(
            self, tuning=replace(self.tuning, seed=seed), training=replace(self.training, seed=seed), first=first
        )


class OutOfReachError(InputError):
    """No choices of a method reach the target. least_ms: the latency of the fastest network that they make."""

    def __init__(self, text: str, least_ms: float) -> None:
        super().__init__(text)
        self.least_ms = least_ms


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A trained network that methods compress. Made by `prepare`.

    baseline: its graph as it runs on the device, whose source is its file. identity: over graph and weights.
    """

    network: Network
    task: Task
    device: Device
    store: Store
    folder: Path
    settings: Settings
    options: recording.Options
    seed: int
    baseline: Graph
    metric: float
    measured: Measurement
    identity: str
    tell: Tell = field(repr=False)

    @property
    def baseline_alone(self) -> Estimate | None:
        """The baseline's latency, measured without another network; None where it has no valid one."""
        return estimate(self.measured)

    def measure(self, graphs: Sequence[Graph], unit: str = "networks") -> list[Measurement]:
        """The measurements of graphs for the table, which are kept even where they did not reach their precision. Tells
        how many of them are done; unit: what they are, for that."""
        protocol = self.settings.table if unit == "rows" else None
        options = replace(
            self.options, settings=protocol or self.options.settings, keep_unconverged=True,
            on_progress=self._counting(len(graphs), unit),
        )  # fmt: skip
        with recording.recording(self.device, self.store, options) as recorder:
            return recorder.measure(graphs)

    def _counting(self, total: int, unit: str) -> Callable[[Cohort], None]:
        """Tells after each quarter of the visits of a round how many of the graphs it has measured."""
        visits: Counter[int] = Counter()

        def show(cohort: Cohort) -> None:
            self.options.on_progress(cohort)
            if cohort.ended:
                return
            visits[cohort.rounds] += 1
            if total >= _MANY and visits[cohort.rounds] % (total // _TELLINGS) == 0:
                self.tell(f"measured {visits[cohort.rounds]} of {total} {unit} in process {cohort.rounds}")

        return show

    def compare(self, graph: Graph) -> Comparison:
        """The paired measurement of the baseline (a) and the network (b)."""
        with recording.recording(self.device, self.store, self.options) as recorder:
            return recorder.compare([self.baseline, graph], again=False)[0]

    def paired(self, graph: Graph) -> Estimate | None:
        """The latency of a network in a paired measurement with the baseline; None where it has no valid one."""
        return known_latency(self.compare(graph), self.baseline_alone)

    def fit(self, network: Network, hooks: Sequence[Hooks], settings: TrainSettings, purpose: str, told: str) -> None:
        """Trains the network, and goes on where the same training stopped. purpose: over all that decides it."""
        _fit(network, self.task, hooks, settings, self.folder, f"{self.identity} {purpose}", lambda text: self.tell(
            f"{told}: {text}"
        ))  # fmt: skip


def prepare(
    network: Network,
    task: Task,
    device: Device,
    store: Store,
    folder: Path,
    *,
    settings: Settings | None = None,
    options: recording.Options | None = None,
    seed: int = 0,
) -> Job:
    """Trains the network first, where the settings ask for it, and evaluates, exports and measures it.

    folder: for the files of networks and trainings. Raises InputError for a task that does not fit the network and for
    an emulated device, and what measuring raises.
    """
    require_times(device)
    options = replace(options or recording.Options(), with_operators=False)
    settings, tell = (settings or Settings()).seeded(seed), options.on_note
    if doubt := metric_direction.doubt(task, task.metric_name):
        options.on_warning(f"task {task.name!r}: {doubt}")
    evaluate(network.module, task, "search")  # a task that does not fit is told before a training
    if settings.first is not None:
        before = _identity(network)
        _fit(network, task, (), settings.first, folder, f"first {before}", lambda text: tell(f"network: {text}"))
    runs = networks.deployed(network, device)
    metric = evaluate(runs.module, task)
    baseline = networks.export(runs, folder / f"{network.graph.name}-baseline.onnx")
    with recording.recording(device, store, options) as recorder:
        (measured,) = recorder.measure([baseline])
    tell(f"baseline: {task.metric_name} {quantity.metric(metric)}; {_latency(estimate(measured))}")
    if measured.status is not Status.CONVERGED:
        tell(
            f"baseline: its latency did not reach its precision ({measured.status}), so that targets may stay "
            "undecided; a quiet machine or a larger --budget helps"
        )
    return Job(
        network, task, device, store, folder, settings, options, seed, baseline, metric, measured,
        _identity(network), tell,
    )  # fmt: skip


def compress(job: Job, name: str, target_ms: float, *, must_reach: bool = False) -> Compressed:
    """The network that the method makes for the latency, and whether it has it; the fastest that the method makes where
    the target is out of its reach.

    must_reach: raises OutOfReachError in place of the latter, before the method is trained. Raises InputError for an
    unknown method and one that finds nothing to change; NotConvergedError where the table of the layers would mislead;
    and what training and measuring raise.
    """
    method, target = methods.load(name), Target(job.device.name, target_ms)
    if not {"training", "tuning"}.isdisjoint(method.needs):
        require_loss(job.network.module, job.task)  # it is told before a table is measured
    if networks.kernels_for(methods.result_of(method), job.device) == "yes":
        method = methods.within(method, target_ms)
    return _Run(job, method, target, must_reach).result()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """table_ms: the latency by the table, nan without one. is_least: whether the method makes no faster network."""

    choices: dict[str, Choice]
    table_ms: float
    is_least: bool


class _Run:
    """One method at one target."""

    def __init__(self, job: Job, method: Method, target: Target, must_reach: bool) -> None:
        self.job, self.method, self.target, self.must_reach = job, method, target, must_reach
        self.wanted_ms = float(target.ms or 0)
        self.title = f"{method.name}, {self.wanted_ms:g} ms"
        settings = {
            **_without_seeds(job.settings), "network": job.identity, "device": job.device.digest,
            "hardware": job.measured.hardware, "protocol": asdict(job.options.settings),
            "method": _own_settings(method), **metric_direction.of_key(job.task),
        }  # fmt: skip
        self.key = ResultKey(method.name, settings, job.network.graph.name, job.task.name, job.seed, target)
        self.path = job.folder / f"{job.network.graph.name}-{method.name}-{self.wanted_ms:g}ms-{self._digest()}.onnx"

    def result(self) -> Compressed:
        kept = None if self.job.options.fresh else self.job.store.result(self.key)
        if kept is not None and self.path.exists():
            if self.must_reach and self._is_projected:
                self._require_reach(kept.table_ms)
            self._tell("is in the store")
            return Compressed(kept, self.path)
        start = perf_counter()
        chosen, compared = self._rounds()
        network, compared = self._tuned(chosen.choices, compared)
        graph = networks.export(network, self.path)
        result = Result(
            **asdict(self.key) | {"target": self.target},
            choices={layer: told(choice) for layer, choice in chosen.choices.items()},
            changes=changes(self.job.network.graph, chosen.choices),
            metric=evaluate(network.module, self.job.task),
            baseline_metric=self.job.metric,
            size_bytes=self.path.stat().st_size,
            macs=_macs(graph),
            table_ms=chosen.table_ms,
            measured={self.job.device.name: compared},
            digest=graph.digest,
            versions=_versions(compared.b),
            seconds=perf_counter() - start,
            baseline_alone=self.job.baseline_alone,
            is_least=chosen.is_least,
            higher_is_better=higher_is_better(self.job.task),
        )
        self.job.store.add_result(result)
        self._tell("; ".join(filter(None, (
            f"{self.job.task.metric_name} {quantity.metric(result.metric)}", f"met: {result.met}", result.shortfall,
        ))))  # fmt: skip
        return Compressed(result, self.path)

    @property
    def _learning(self) -> str:
        """All that decides the training of the method, whatever the target is."""
        return f"{self.method.name} {replace(self.key, target=Target(self.job.device.name))}"

    # -- choices -------------------------------------------------------------------------------------

    def _rounds(self) -> tuple[_Chosen, Comparison]:
        options = self.method.options(self.job.network.graph)
        table = self._attached(self._checked_table(options))
        aim = Aim.at(self.wanted_ms)
        chosen = self._projected(options, table, aim.within_ms)
        compared, number = self._measured(chosen.choices, 1), 1
        while aim.is_missed(measured_ms := self._cautious_ms(compared)) and number < self.job.settings.rounds:
            if chosen.is_least or table is None:
                break
            aim = aim.tightened(chosen.table_ms, measured_ms)
            before, chosen, number = chosen, self._projected(options, table, aim.within_ms), number + 1
            if chosen.choices != before.choices:
                compared = self._measured(chosen.choices, number)
        if table is None or not self._is_projected or not aim.is_overshot(measured_ms):
            return chosen, compared
        aim = aim.loosened(chosen.table_ms, measured_ms)
        return self._loosened(aim, self._projected(options, table, aim.within_ms), (chosen, compared), number + 1)

    def _loosened(
        self, aim: Aim, larger: _Chosen, found: tuple[_Chosen, Comparison], number: int
    ) -> tuple[_Chosen, Comparison]:
        """The larger network where it is less harmful and fast enough, too; else the one that was found."""
        if larger.choices == found[0].choices or self._harm(larger) >= self._harm(found[0]):
            return found
        self._tell("is faster than wanted; tries a larger network")
        compared = self._measured(larger.choices, number)
        return (larger, compared) if aim.is_reached(self._cautious_ms(compared)) else found

    def _harm(self, chosen: _Chosen) -> float:
        return math.fsum(self.method.harm(layer, choice) for layer, choice in chosen.choices.items())

    def _cautious_ms(self, compared: Comparison) -> float:
        """The latency that the network surely has, nan where it is not known: tuning makes up for what is cut so that
        an interval is within the target."""
        latency = known_latency(compared, self.job.baseline_alone)
        return math.nan if latency is None else latency.cautious

    def _checked_table(self, options: Options) -> LayerTable | None:
        """None where there is nothing to decide, and where latencies would mislead that do not decide, either."""
        if not options:
            return None
        job = self.job
        self._tell("measures the table of its layers")
        table = LayerTable(job.network.graph, job.measure, options, networks.only_variant(job.device), job.paired)
        try:
            self._tell(table.check(job.seed))
        except NotConvergedError as error:
            self._go_on_without_latencies(error)
            return None
        if self.must_reach and self._is_projected:
            _, least_ms = project(options, _equal_harm, table.latency_ms, self.wanted_ms, {})
            self._require_reach(least_ms)
        return table

    def _require_reach(self, least_ms: float) -> None:
        """least_ms: of the fastest network by the table."""
        if least_ms > self.wanted_ms * TOLERANCE:
            raise OutOfReachError(
                f"{self.method.name} cannot bring {self.job.network.graph.name!r} to {self.wanted_ms:g} ms on "
                f"{self.job.device.name}: the least that its choices reach is about {least_ms:.3g} ms",
                least_ms,
            )

    def _go_on_without_latencies(self, error: NotConvergedError) -> None:
        """Raises the error where latencies decide."""
        if self._is_projected or methods.has_within(self.method):
            raise error
        self._tell(f"learns without latencies: {error}")

    def _attached(self, table: LayerTable | None) -> LayerTable | None:
        """The table by which the method was attached: none where it misleads for networks that its check did not see,
        and does not decide."""
        try:
            self._attach(table)
        except NotConvergedError as error:
            self._go_on_without_latencies(error)
            self._attach(None)
            return None
        return table

    def _attach(self, table: LayerTable | None) -> None:
        own = self.job.network.copy()
        hooks = self.method.attach(own, unknown_cost if table is None else table)
        if "training" in self.method.needs:
            # a method learns without knowing the target, so once for all
            self.job.fit(own, [hooks], self.job.settings.training, self._learning, self.title)
        if table is None and not self.method.choices():
            raise InputError(f"{self.method.name} finds nothing to change in {self.job.network.graph.name!r}")

    @property
    def _is_projected(self) -> bool:
        """Whether the target decides. Choices that a method has learned stay unchanged where no tuning follows: with
        other ones, the weights would not be those that were trained."""
        return "training" not in self.method.needs or "tuning" in self.method.needs

    def _projected(self, options: Options, table: LayerTable | None, within_ms: float) -> _Chosen:
        if table is None or not self._is_projected:
            own = dict(self.method.choices())
            table_ms = math.nan if table is None else float(table.latency_ms([own])[0])
            return _Chosen(own, table_ms, is_least=not methods.has_within(self.method))
        choices, table_ms = project(options, self.method.harm, table.latency_ms, within_ms, self.method.choices())
        return _Chosen(choices, table_ms, is_least=table_ms > within_ms * TOLERANCE)

    def _measured(self, choices: Choices, number: int) -> Comparison:
        network = networks.deployed(self.method.finish(choices), self.job.device)
        compared = self.job.compare(
            networks.export(network, _working(self.job.folder) / f"{self.path.stem}-{number}.onnx")
        )
        latency = known_latency(compared, self.job.baseline_alone)
        self._tell(
            f"round {number}: {quantity.plural(len(choices), 'layer')} changed; {_latency(latency)}, {compared.verdict}"
        )
        return compared

    # -- the small network ---------------------------------------------------------------------------

    def _tuned(self, choices: Choices, compared: Comparison) -> tuple[Network, Comparison]:
        """The trained small network as it runs on the device, and its comparison with the baseline."""
        network = self.method.finish(choices)
        if "tuning" not in self.method.needs or not choices:
            return networks.deployed(network, self.job.device), compared
        chosen = sorted((layer, asdict(choice)) for layer, choice in choices.items())
        purpose = f"tune {self._learning} {chosen}"
        try:
            self.job.fit(network, (), self.job.settings.tuning, purpose, self.title)
        except NotFiniteError as error:  # the network has its last finite state
            self._tell(f"tuning ended early: {error}")
        network = networks.deployed(network, self.job.device)
        return network, self.job.compare(networks.export(network, self.path))

    def _tell(self, text: str) -> None:
        self.job.tell(f"{self.title}: {text}")

    def _digest(self) -> str:
        """Tells files apart whose networks have one name."""
        return key_of(asdict(self.key))[:8]


def _fit(
    network: Network, task: Task, hooks: Sequence[Hooks], settings: TrainSettings, folder: Path, purpose: str,
    tell: Tell,
) -> None:  # fmt: skip
    key = key_of({"purpose": purpose, "task": task.name, **asdict(settings), **metric_direction.of_key(task)})

    def told(epoch: EpochResult) -> None:
        metric = "" if epoch.metric is None else f", {task.metric_name} {quantity.metric(epoch.metric)}"
        tell(f"epoch {epoch.number + 1} of {settings.epochs}: loss {epoch.loss:.4g}{metric}")

    fit(network.module, task, settings, hooks, told, checkpoint=_working(folder) / f"{key}.safetensors")


def _working(folder: Path) -> Path:
    """The folder for what only a run that goes on needs."""
    working = folder / "work"
    working.mkdir(parents=True, exist_ok=True)
    return working


def unknown_cost(_choices: SoftChoices) -> torch.Tensor:
    """nan, a scalar: the cost of choices that no table prices."""
    return torch.tensor(float("nan"))


def _identity(network: Network) -> str:
    """A digest of the graph and its present weights."""
    digest = hashlib.sha256(network.graph.digest.encode())
    for name, array in sorted(network.weights.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _equal_harm(_layer: str, choice: Choice) -> float:
    return float(choice != AS_BEFORE)


def _own_settings(method: Method) -> dict[str, Any]:
    """The settings of a new method, by name, JSON-ready: with another one it makes another network. The version is left
    out where it is 1, as in stores that are older than versions."""
    version = methods.version_of(method)
    own = {
        name.strip("_"): value for name, value in vars(method).items() if isinstance(value, bool | int | float | str)
    }
    return own if version == 1 else {**own, "version": version}


def _without_seeds(settings: Settings) -> dict[str, Any]:
    """JSON-ready; the seed of the job is in the key already. An absent `table` is left out."""
    return {name: value for name, value in asdict(settings.seeded(0)).items() if value is not None or name != "table"}


def _latency(found: Estimate | None) -> str:
    return "not measured" if found is None else found.words


def _macs(graph: Graph) -> int | None:
    return None if cost.unknown_operators(graph) else cost.of(graph).macs


def _versions(measured: Measurement) -> Mapping[str, str]:
    return {
        **measured.versions,
        "hwprof": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
