"""Shows the progress of a job on standard error; for a measurement, the share of the target precision."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Thread
from time import monotonic
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hwprof.interfaces import TuningProgress
from hwprof.measure.rounds import Cohort
from hwprof.measurement import ProtocolSettings
from hwprof.report import quantity

_START_S = 60.0  # a runtime takes as long to start on a busy machine


@dataclass(frozen=True, slots=True)
class Shown:
    """The callbacks `on_progress` and `on_step` of `jobs.Options`."""

    on_progress: Callable[[Cohort], None]
    on_step: Callable[[str], None]


@contextmanager
def bars(settings: ProtocolSettings) -> Iterator[Shown]:
    """Shows what is measured, or the step that is not measuring. Without a terminal, writes a line every 10 s."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        with spoken() as tell:
            yield Shown(lambda cohort: tell(_words(cohort, settings)), tell)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[reached]}"), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        shown = _Bars(progress, settings)
        yield Shown(shown.show, shown.say)


@dataclass(slots=True)
class _Bars:
    """A bar for each cohort that is measured, or one for the step that is not measuring."""

    progress: Progress
    settings: ProtocolSettings
    tasks: dict[Cohort, TaskID] = field(default_factory=dict)
    step: TaskID | None = None

    def show(self, cohort: Cohort) -> None:
        self._end_step()
        if cohort not in self.tasks:
            self.tasks[cohort] = self.progress.add_task(_names(cohort), total=1.0, reached="")
        self.progress.update(
            self.tasks[cohort], completed=cohort.progress(self.settings), reached=_reached(cohort, self.settings)
        )
        if cohort.ended:
            self.progress.remove_task(self.tasks.pop(cohort))

    def say(self, step: str) -> None:
        self._end_step()
        self.step = self.progress.add_task(step, total=None, reached="")

    def _end_step(self) -> None:
        if self.step is not None:
            self.progress.remove_task(self.step)
            self.step = None


def _words(cohort: Cohort, settings: ProtocolSettings) -> str:
    """An ended cohort may be short of its target: its budget was spent, or it failed."""
    return f"{_names(cohort)}: {_reached(cohort, settings)}"


def _names(cohort: Cohort) -> str:
    return " / ".join(g.name for g in cohort.graphs)


def _reached(cohort: Cohort, settings: ProtocolSettings) -> str:
    done = quantity.plural(cohort.rounds, "process")
    return f"{done}, ended" if cohort.ended else f"{done}, {cohort.progress(settings):.0%} of the target precision"


@contextmanager
def spoken(every_s: float = 10.0, out: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Yields a function that takes the state of the work; the latest is written every `every_s`, also while one step
    takes longer than that, so that nobody takes long work for dead."""
    latest, ended, start = [""], Event(), monotonic()

    def speak() -> None:
        while not ended.wait(every_s):
            if latest[0] or monotonic() - start > _START_S:
                (out or sys.stderr).write(f"hwprof: {monotonic() - start:.0f} s: {latest[0] or 'starting'}\n")

    def take(words: str) -> None:
        latest[0] = words

    speaker = Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield take
    finally:
        ended.set()
        speaker.join()


@contextmanager
def sweeps(
    devices: Sequence[str], networks: int, settings: ProtocolSettings
) -> Iterator[Callable[[str, Cohort], None]]:
    """Yields a callback for each device's name with its cohort: the sweeps of several devices at once, with a bar for
    each."""
    reached: dict[str, dict[str, float]] = {device: {} for device in devices}
    with _rows(devices, networks, "networks") as show:

        def add(device: str, cohort: Cohort) -> None:
            reached[device][cohort.graphs[0].digest] = cohort.progress(settings)
            show({name: sum(shares.values()) for name, shares in reached.items()})

        yield add


@contextmanager
def _rows(names: Sequence[str], total: int, unit: str) -> Iterator[Callable[[Mapping[str, float]], None]]:
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        with spoken() as tell:
            yield lambda done: tell(f"{', '.join(f'{name} {n:.1f}' for name, n in done.items())} of {total} {unit}")
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total} " + unit), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        tasks = {name: progress.add_task(name, total=total) for name in names}

        def show(done: Mapping[str, float]) -> None:
            for name, n in done.items():
                progress.update(tasks[name], completed=n)

        yield show


@contextmanager
def trials(name: str, total: int) -> Iterator[Callable[[TuningProgress], None]]:
    """Yields the callback of `jobs.tune`."""
    with _bar(total, f"trials of {name}") as show:
        yield lambda reached: show(reached.trials)


@contextmanager
def steps(total: int, unit: str) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each of `total` steps."""
    done = count(1)
    with _bar(total, unit) as show:
        yield lambda: show(next(done))


@contextmanager
def _bar(total: int, unit: str) -> Iterator[Callable[[float], None]]:
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        with spoken() as tell:
            yield lambda done: tell(f"{done:.1f} of {total} {unit}")
        return
    columns = (BarColumn(), TextColumn("{task.completed:.1f} of {task.total} " + unit), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(unit, total=total)
        yield lambda done: progress.update(task, completed=done)
