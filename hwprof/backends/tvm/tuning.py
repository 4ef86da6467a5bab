"""The search for fast kernels: MetaSchedule proposes schedules for each, which are compiled and timed on the device.

Shao et al., "Tensor Program Optimization with Probabilistic Programs", NeurIPS 2022. The next kernel to search is
chosen as in Zheng et al., "Ansor", OSDI 2020, section 6: the one with the most to gain, if a kernel's time keeps
falling as one over its trials.

2026-11-21, why the loop is here and not in TVM's scheduler: that one cannot be stopped by the clock or continued, and
starts a pool of processes for every batch, each of which loads the library again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import ModuleType
from typing import Any

import numpy as np

from hwprof.backends.tvm import compiling, database, forked, target
from hwprof.backends.tvm.database import Spent
from hwprof.backends.tvm.library import tvm
from hwprof.backends.tvm.remote import RpcSession, link
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import TuningProgress

_BATCH = 32  # trials between two checks of the clock
_LEAST_RUN_MS = 20
_LONGEST_S = 30.0  # to compile and run one candidate: LLVM was still busy after an hour with one of MobileNetV2
_POPULATION = 4  # schedules in a generation per trial
_GENERATIONS = 3
_ERRORS = (RuntimeError, ValueError)  # raised for a schedule that cannot be built or run
_search = tvm.s_tir.meta_schedule
# A search loads the tensor instructions of every kind of processor, which takes longer than many a search. These belong
# to processors that hwprof does not build for.
for _foreign in ("cuda", "hexagon", "rocm"):
    _name = f"{tvm.s_tir.__name__}.tensor_intrin.{_foreign}"
    sys.modules.setdefault(_name, ModuleType(_name))


@dataclass(slots=True)
class KernelSearch:
    """One kernel: how often the network calls it, and the results so far. `seed` is its search's."""

    name: str
    kernel: Any
    seed: int
    workload: Any
    calls: int
    trials: int
    best_s: float | None
    is_exhausted: bool = False

    @property
    def gain_s(self) -> float:
        """The possible gain of the next trials; kernels without a trial come first, the most frequent before the
        others."""
        return (
            float("inf") if self.best_s is None and not self.trials else self.calls * (self.best_s or 0) / self.trials
        )


@dataclass(slots=True)
class CandidateTimer:
    """Compiles and times one candidate, here or on the device of the session."""

    built_for: Any
    session: RpcSession | None
    compiler: str

    def seconds(self, candidate: Any) -> list[float]:
        """Run times; `database.FAILED_S` for one that cannot be built and run in time. Raises DeviceLostError."""
        if self.session is None:
            here = forked.result_of(lambda: self._timed(self._built(candidate), tvm.cpu(), candidate), _LONGEST_S)
            return here or [database.FAILED_S]
        with TemporaryDirectory() as folder:
            library = Path(folder, "kernel.so")
            if not forked.result_of(lambda: self._linked(candidate, library), _LONGEST_S):
                return [database.FAILED_S]
            loaded = self.session.load(library)
        try:
            with self.session.guarded():
                return self._timed(loaded, self.session.place, candidate)
        except _ERRORS:
            return [database.FAILED_S]

    def _built(self, candidate: Any) -> Any:
        module = _search_passes()(candidate.sch.mod)
        with self.built_for:
            return tvm.tirx.build(module, target=self.built_for)

    def _linked(self, candidate: Any, library: Path) -> bool:
        link(self._built(candidate), library, self.compiler)
        return True

    def _timed(self, loaded: Any, place: Any, candidate: Any) -> list[float]:
        timed = loaded.time_evaluator("main", place, number=1, repeat=2, min_repeat_ms=_LEAST_RUN_MS)
        return [float(s) for s in timed(*_arguments(candidate.args_info, place)).results]


def tune(
    graph: Graph, device: Device, session: RpcSession | None, folder: Path, trials: int, budget_s: float, build: int
) -> Iterator[TuningProgress]:
    """The same as `TunableBackend.tune`; the results are kept in the folder."""
    built_for = target.of(device)
    module = compiling.lower(graph, built_for)
    found = database.load(folder)
    searches = _searches(module, built_for, found, build)
    if not searches:
        raise InputError(f"{graph.name!r} has no kernel that tvm can tune")
    model = _search.CostModel.create("xgb", num_tuning_cores=target.chosen_cores(device), tree_method="hist")
    timer = CandidateTimer(built_for, session, target.read(device).compiler)
    before, start = database.spent(folder), monotonic()
    end = start + budget_s
    done = sum(search.trials for search in searches)
    yield _progress(searches, Spent(done, before.seconds))
    while done < trials and monotonic() < end:
        search = max((t for t in searches if not t.is_exhausted), key=lambda t: t.gain_s, default=None)
        if search is None:
            break
        _search_on(search, min(_BATCH, trials - done), found, model, timer, end)
        done = sum(t.trials for t in searches)
        spent = Spent(done, before.seconds + monotonic() - start)
        database.write_spent(folder, spent)
        yield _progress(searches, spent)


def _searches(module: Any, built_for: Any, found: Any, build: int) -> list[KernelSearch]:
    """The kernels of the module, with the database's records of each."""
    records = found.get_all_tuning_records()
    searches = []
    for number, extracted in enumerate(_search.relax_integration.extract_tasks(module, built_for)):
        kernel = extracted.dispatched[0]
        workload = found.commit_workload(kernel)
        seconds = [_mean_s(r) for r in records if r.workload.same_as(workload)]
        seed = 1 + 1000 * build + number + len(records)
        best_s = min((s for s in seconds if s < database.FAILED_S), default=None)
        name = str(extracted.task_name)
        searches.append(KernelSearch(name, kernel, seed, workload, int(extracted.weight), len(seconds), best_s))
    return searches


def _search_on(search: KernelSearch, trials: int, found: Any, model: Any, timer: CandidateTimer, end: float) -> None:
    """One batch of candidates of one kernel; each is in the database as soon as it is timed. end: by the clock."""
    context = _context(search, trials, timer)
    with timer.built_for:
        context.pre_tuning(trials, trials, context.generate_design_space(), database=found, cost_model=model)
        candidates = context.generate_measure_candidates()
    results = []
    for candidate in candidates or ():
        if monotonic() >= end:
            break
        seconds = timer.seconds(candidate)
        found.commit_tuning_record(
            _search.database.TuningRecord(
                candidate.sch.trace, search.workload, seconds, timer.built_for, candidate.args_info
            )
        )
        failed = seconds[0] >= database.FAILED_S
        results.append(
            _search.runner.RunnerResult(None, "failed") if failed else _search.runner.RunnerResult(seconds, None)
        )
        search.trials += 1
        if not failed:
            search.best_s = min(search.best_s or database.FAILED_S, float(np.mean(seconds)))
    if results:
        tried = candidates[: len(results)]
        context.notify_runner_results(tried, results)
        model.update(context, tried, results)
    context.post_tuning()
    search.is_exhausted = not candidates


def _context(search: KernelSearch, trials: int, timer: CandidateTimer) -> Any:
    """A search over a small multiple of the schedules to be tried: TVM's own 512 take longer than the trials."""
    population = _POPULATION * trials
    strategy = _search.search_strategy.EvolutionarySearch(
        population_size=population, init_min_unmeasured=population // 2, genetic_num_iters=_GENERATIONS
    )
    return _search.TuneContext(
        mod=search.kernel, target=timer.built_for, space_generator="post-order-apply", search_strategy=strategy,
        task_name=search.name, rand_state=search.seed + search.trials, num_threads=timer.built_for.attrs["num-cores"],
    ).clone()  # fmt: skip


def _search_passes() -> Any:
    return tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)


def _arguments(types: Any, place: Any) -> list[Any]:
    """Random numbers for floats, and zeros for integers, which may be indices."""
    rng = np.random.default_rng(0)
    arrays = []
    for kind in types:
        dtype = np.dtype(str(kind.dtype))
        shape = tuple(int(n) for n in kind.shape)
        arrays.append(rng.random(shape).astype(dtype) if dtype.kind == "f" else np.zeros(shape, dtype))
    return [tvm.runtime.tensor(array, device=place) for array in arrays]


def _progress(searches: Sequence[KernelSearch], spent: Spent) -> TuningProgress:
    tuned = [t for t in searches if t.best_s is not None]
    best_ms = sum(t.calls * (t.best_s or 0) for t in tuned) * 1e3 if len(tuned) == len(searches) else None
    return TuningProgress(spent.trials, spent.seconds, len(searches), len(tuned), best_ms)


def _mean_s(record: Any) -> float:
    return float(np.mean([float(s) for s in record.run_secs]))
