"""Searching: the best network of a space within a latency that the device confirms."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from hwprof import cost, plugins
from hwprof.data.result import Estimate, Result, ResultKey, Target, estimate
from hwprof.data.store import Store, key_of
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError, UnknownOperatorError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Predictor, Trial, higher_is_better
from hwprof.jobs.inputs import StoreLike, device_of, opened
from hwprof.latency_table import LatencyTable
from hwprof.measure.recording import Options, Recorder, recording
from hwprof.measurement import Comparison, Evidence
from hwprof.objective.budget import Budget
from hwprof.search import finalists
from hwprof.search.measured_latency import MeasuredLatency
from hwprof.search.run import BATCH, Limit, Plan, Score, Searched, run
from hwprof.search.strategies import listed, resolved, strategy, version_of
from hwprof.search.table_score import TableScore
from hwprof.spaces.varied import VariedSpace, titled

_TABLE, _SUPERNET = "table:", "supernet:"


@dataclass(frozen=True, slots=True)
class Found:
    """winner: None where no measured network is within the target. finalists: all that were measured, best score
    first. searched: None where the winner was in the store, so that nothing was searched."""

    winner: Result | None
    finalists: tuple[Result, ...]
    searched: Searched | None


@dataclass(frozen=True, slots=True)
class NamedScore:
    """A score with the facts about it that a search must know.

    final: the figure that is reported for a finalist. kept_as: identifies the scores in a store; None where they are
    not kept, because they cost nothing or because nobody can say what decides them. higher_is_better: whether larger
    final figures are; of scores, larger ones always are.
    """

    name: str
    score: Score
    final: Score
    kept_as: Mapping[str, Any] | None = None
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class UserScore:
    """The user's function, by reference, so that it can be sent to another process."""

    reference: str

    def __call__(self, arch: Arch) -> float:
        """Raises InputError where the reference leads to nothing, or the function returns something else."""
        value = plugins.user_object(self.reference)(arch)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise InputError(f"the score {self.reference!r} returned {value!r:.60}, which is not a number") from None


def strategies() -> list[Mapping[str, str]]:
    """The installed strategies: their names, needs and papers."""
    return listed()


def search(
    space: str | VariedSpace,
    score: str | Score | None = None,
    device: Device | str = "cpu-1t",
    *,
    task: str | None = None,
    target_ms: float,
    strategy: str = "auto",
    evaluations: int = 50,
    latency: str | Path | LatencyTable | Predictor | None = None,
    confidence: float = 0.95,
    variant: str = "",
    epochs: int | None = None,
    finalists: int = 3,
    batch: int = BATCH,
    workers: int = 1,
    seed: int = 0,
    store: StoreLike = None,
    options: Options | None = None,
    on_trial: Callable[[Trial], None] = lambda _trial: None,
) -> Found:
    """Searches a space for the network with the best score that the device confirms to be within `target_ms`.

    score: "table:FILE" or "table:FILE:COLUMN", a function of architectures, or one by reference; with `task`,
    "supernet:" and a reference to a trained supernet, or nothing for the metric after `epochs` of training.
    latency: a predictor or table, or its file, by which networks above the target at this confidence are refused;
    without one the candidates are measured, later ones only where a predictor that learned from the first does not tell
    on which side of the target they are. finalists: how many of the best are measured together. workers: processes that
    score at once.

    No other hwprof can measure on the machine while this one measures; while it scores, they can.

    Raises InputError for bad input and where no network is within the target by the `latency`, and HwprofError where
    the device cannot measure.
    """
    searched_space = space if isinstance(space, VariedSpace) else VariedSpace(space, variant)
    asked = _Asked(
        searched_space, _named(searched_space, score, task, epochs), device_of(device), target_ms, resolved(strategy),
        Plan(evaluations, batch), latency, confidence, finalists, workers, seed,
    )  # fmt: skip
    with opened(store, options) as (_folder, kept, asked_options):
        known = None if asked_options.fresh or not asked.is_repeatable else kept.result(asked.key)
        if known is not None:
            return Found(known, (known,), None)
        with _measuring(asked.device, kept, replace(asked_options, with_operators=False)) as measuring:
            return _search(asked, kept, measuring, on_trial)


@dataclass(frozen=True, slots=True)
class _Asked:
    space: VariedSpace
    score: NamedScore
    device: Device
    target_ms: float
    strategy: str
    plan: Plan
    latency: str | Path | LatencyTable | Predictor | None
    confidence: float
    finalists: int
    workers: int
    seed: int

    def __post_init__(self) -> None:
        for number, unit in ((self.workers, "worker"), (self.finalists, "finalist")):
            if number < 1:
                raise InputError(f"a search needs at least one {unit}, not {number}")
        Target(self.device.name, self.target_ms)  # raises before a device is opened, as does the next line
        strategy(self.strategy, self.space, self.seed)

    @property
    def is_repeatable(self) -> bool:
        """Whether the key says everything that decides the result: not of a function or an object in memory."""
        return self.score.kept_as is not None and isinstance(self.latency, str | Path | None)

    @property
    def key(self) -> ResultKey:
        title = titled(self.space.name, self.space.variant)
        return ResultKey(
            f"search {self.strategy}", self.settings, title, self.score.name, self.seed,
            Target(self.device.name, self.target_ms),
        )  # fmt: skip

    @property
    def settings(self) -> dict[str, Any]:
        latency = "measured, predicted where clear" if self.latency is None else str(self.latency)[:80]
        if isinstance(self.latency, str | Path):
            latency = f"{Path(self.latency).name} {_content_digest(Path(self.latency))}"
        version = version_of(self.strategy)
        return {
            "evaluations": self.plan.evaluations, "batch": self.plan.batch, "confidence": self.confidence,
            "latency": latency, "score": self.scores_key,
            **({"version": version} if version != 1 else {}),  # stores that are older than versions have none
        }  # fmt: skip

    @property
    def scores_key(self) -> str:
        """The key of everything besides the architecture that decides a score: networks at two corners stand for the
        space, which can change under its name."""
        last = tuple(options - 1 for options in self.space.choices)
        corners = [self.space.graph(self.space.repair(arch)).digest for arch in ((0,) * len(last), last)]
        return key_of({"corners": corners, "score": self.score.name, **(self.score.kept_as or {})})


def _search(asked: _Asked, store: Store, measuring: _Measuring, on_trial: Callable[[Trial], None]) -> Found:
    start = perf_counter()
    keeps = asked.score.kept_as is not None
    key = asked.scores_key
    options = measuring.options
    measured = MeasuredLatency(
        measuring.latency_ms, asked.space, asked.target_ms, asked.confidence, _learner()
    )  # fmt: skip
    with _workers(asked.workers) as executor:
        searched = run(
            strategy(asked.strategy, asked.space, asked.seed),
            asked.score.score,
            _limit(asked, measured),
            asked.plan,
            executor=executor,
            known=store.scores(key) if keeps and not options.fresh else {},
            keep=partial(store.add_score, key) if keeps else lambda _arch, _score: None,
            on_trial=on_trial,
        )
    if measured.n_measured:
        options.on_note(
            f"latencies of candidates: {measured.n_measured} measured, {measured.n_predicted} predicted from these to "
            f"be within or above {asked.target_ms:g} ms with {asked.confidence:.0%} confidence"
        )
    described = partial(
        _described, asked, searched, perf_counter() - start,
        measuring.alone(asked.space.graph(searched.trials[0].arch)),
    )  # fmt: skip
    results = finalists.measured(searched, asked.space, measuring.compare, described, asked.finalists)
    winner = finalists.winner(results)
    if winner is not None:
        store.add_result(winner)
    return Found(winner, tuple(results), searched)


@dataclass(frozen=True, slots=True)
class _Measuring:
    """Has the machine to itself only while it measures: between two calls a search may train for hours.

    recorder: that of a device which occupies no machine, so that one can stay open.
    """

    device: Device
    store: Store
    options: Options
    recorder: Recorder | None = None

    def latency_ms(self, graphs: Sequence[Graph]) -> np.ndarray:
        """[n_graphs], ms. What an earlier run of the search measured is taken from the store, even if it did not
        converge: a repetition would lead the search elsewhere."""
        with self._recording(replace(self.options, keep_unconverged=True)) as recorder:
            return recorder.latency_ms(graphs)

    def alone(self, graph: Graph) -> Estimate | None:
        """The latency of a network that is measured without another one; None where it has no valid one."""
        with self._recording(replace(self.options, keep_unconverged=True)) as recorder:
            return estimate(recorder.measure([graph])[0])

    def compare(self, graphs: Sequence[Graph]) -> list[Comparison]:
        """Each graph against the first."""
        with self._recording(self.options) as recorder:
            return recorder.compare(graphs)

    def _recording(self, options: Options) -> AbstractContextManager[Recorder]:
        return nullcontext(self.recorder) if self.recorder else recording(self.device, self.store, options)


@contextmanager
def _measuring(device: Device, store: Store, options: Options) -> Iterator[_Measuring]:
    """Raises, before anything is scored, where the device is absent or its machine is not fit or not free."""
    with recording(device, store, options) as recorder:
        if recorder.machine.evidence is not Evidence.MEASURED:
            yield _Measuring(device, store, options, recorder)
            return
    yield _Measuring(device, store, options)


def _learner() -> Callable[[], Predictor] | None:
    """Makes predictors of graphs; None where their libraries are not installed, so that everything is measured."""
    try:
        with plugins.optional_library("to predict latencies in a search"):
            from hwprof.predictors.physical import PhysicalPredictor
    except EnvironmentUnfitError:
        return None
    return PhysicalPredictor


def _limit(asked: _Asked, measured: MeasuredLatency) -> Limit:
    if asked.latency is None:
        return Limit(measured, asked.target_ms)
    return Limit.of(Budget(_source(asked), asked.target_ms, asked.confidence), asked.space)


def _source(asked: _Asked) -> LatencyTable | Predictor:
    """Raises InputError for a file that is neither a predictor nor a table, or one of another space or device."""
    if not isinstance(asked.latency, str | Path):
        assert asked.latency is not None
        return asked.latency
    path = Path(asked.latency)
    if path.suffix in ("", ".hwp"):
        with plugins.optional_library("a predictor"):
            from hwprof.jobs.predicting import open_predictor
        trained = open_predictor(path)
        if trained.origin is not None:
            trained.require(asked.space.name, asked.device.name)
            if not trained.takes_any_space and trained.origin.variant != asked.space.variant:
                raise InputError(
                    f"{path.name} predicts the variant {trained.origin.variant or 'none'!r}, not "
                    f"{asked.space.variant or 'none'!r}"
                )
        return trained.predictor
    table = LatencyTable.load(path)
    if table.metadata.device != asked.device.name:
        raise InputError(f"{path.name} is for the device {table.metadata.device!r}, not {asked.device.name!r}")
    return table


def _named(space: VariedSpace, score: str | Score | None, task: str | None, epochs: int | None) -> NamedScore:
    if isinstance(score, str) and score.startswith(_SUPERNET):
        return _by_supernet(score, task, epochs)
    if (score is None) == (task is None):
        raise InputError("give --score or --task, and not both")
    if task is not None:
        return _by_training(space, task, epochs)
    if epochs is not None:
        raise InputError("--epochs is for a score by training; give --task, too")
    if not isinstance(score, str):
        assert score is not None
        return NamedScore(getattr(score, "__name__", type(score).__name__), score, score)
    if score.startswith(_TABLE):
        text = score.removeprefix(_TABLE)
        file, _, column = (text, "", "") if Path(text).exists() else text.rpartition(":")
        path = Path(file or column)
        table = TableScore.load(path, space, column if file and column else None)
        return NamedScore(score, table, table, {"digest": _content_digest(path)})
    given = UserScore(score)
    if not callable(plugins.user_object(score)):
        raise InputError(f"the score {score!r} is not a function of architectures")
    return NamedScore(score, given, given, {})


def _by_supernet(score: str, task: str | None, epochs: int | None) -> NamedScore:
    """The scores are not kept: nobody can say from the outside which weights decide them."""
    with plugins.optional_library("a score by a supernet"):
        from hwprof import tasks
        from hwprof.search.supernet_score import SupernetScore, load_supernet
    if task is None or epochs is not None:
        raise InputError(f"the score {score!r} needs --task for its examples, and no --epochs: its supernet is trained")
    shared = SupernetScore(load_supernet(score.removeprefix(_SUPERNET)), tasks.load(task))
    return NamedScore(score, shared, shared.final, higher_is_better=higher_is_better(shared.task))


def _by_training(space: VariedSpace, task: str, epochs: int | None) -> NamedScore:
    with plugins.optional_library("a score by training"):
        from hwprof import tasks
        from hwprof.search.training_score import SHORT, TrainingScore
    tasks.load(task)  # an unknown one is told before the search starts
    settings = SHORT if epochs is None else replace(SHORT, epochs=epochs)
    trained = TrainingScore(space.name, task, space.variant, settings)
    return NamedScore(task, trained, trained.final, trained.identity(), trained.higher_is_better)


def _content_digest(path: Path) -> str:
    try:
        return key_of({"content": path.read_bytes().hex()})
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from None


@contextmanager
def _workers(n: int) -> Iterator[Executor | None]:
    """Fresh processes, since a fork would copy the threads' locks of this one."""
    if n == 1:
        yield None
        return
    with ProcessPoolExecutor(n, multiprocessing.get_context("spawn")) as executor:
        yield executor


def _described(
    asked: _Asked, searched: Searched, seconds: float, baseline_alone: Estimate | None, trial: Trial, graph: Graph,
    comparison: Comparison,
) -> Result:  # fmt: skip
    key = asked.key
    return Result(
        key.method, key.settings, key.model, key.task, key.seed,
        choices={"arch": list(trial.arch)},
        metric=asked.score.final(trial.arch),
        baseline_metric=asked.score.final(searched.trials[0].arch),
        size_bytes=sum(weight.size_bytes for weight in graph.weights),
        macs=_macs(graph),
        table_ms=trial.latency_ms,
        measured={asked.device.name: comparison},
        target=key.target,
        digest=graph.digest,
        versions=comparison.b.versions,
        seconds=seconds,
        baseline_alone=baseline_alone,
        higher_is_better=asked.score.higher_is_better,
    )  # fmt: skip


def _macs(graph: Graph) -> int | None:
    try:
        return cost.of(graph).macs
    except UnknownOperatorError:
        return None
