"""Sweeping: the same networks on many devices, threads, batches and shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from time import monotonic
from typing import TypeAlias, Unpack

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError
from hwprof.graph import Graph
from hwprof.jobs.inputs import Change, StoreLike, Wanted, device_of, opened
from hwprof.jobs.side_by_side import on_each
from hwprof.measure.recording import Options, Outcome, at_one_baseline, recording
from hwprof.report.sweep import Sweep, Swept
from hwprof.variants.batch import with_batch
from hwprof.workloads.loading import Shapes

SeveralShapes: TypeAlias = Mapping[str, Sequence[int] | Sequence[Sequence[int]]]  # one or several for each input


@dataclass(frozen=True, slots=True)
class _Case:
    """A model at one batch and shape. `graph` is None where it cannot be had, for `reason`."""

    model: str
    shape: str
    batch: int
    graph: Graph | None
    reason: str = ""
    is_bad_input: bool = False

    def on(self, device: Device, outcome: Outcome | None, reason: str) -> Swept:
        """reason: why there is no outcome, where the network itself is not why."""
        measured = outcome.measurement if outcome else None
        why = self.reason or (str(outcome.error) if outcome and outcome.error else reason)
        return Swept(
            self.model, self.shape, self.batch * device.batch, device.name, device.threads, measured,
            "" if measured else why, self.is_bad_input,
        )  # fmt: skip


def sweep(
    models: Sequence[object],
    devices: Sequence[Device | str] = ("cpu-1t",),
    *,
    threads: Sequence[int] = (),
    batches: Sequence[int] = (),
    shapes: SeveralShapes | None = None,
    store: StoreLike = None,
    options: Options | None = None,
    **change: Unpack[Change],
) -> Sweep:
    """Measures each model, given with `change` as to `profile`, on every device with every number of threads (those of
    a processor), batch and shape.

    shapes: by an input's name its shape, or several. A batch replaces leading dimensions of 1. A device that cannot run
    a network has a row with the reason. Raises InputError for unknown devices and for impossible numbers.
    """
    if not models or not devices or any(n < 1 for n in (*threads, *batches)):
        raise InputError("a sweep needs a model and a device, and threads and batches of at least 1")
    places = list(dict.fromkeys(_with_threads([device_of(d) for d in devices], threads)))
    wanted = Wanted(**change)
    with opened(store, options) as (folder, kept, asked):
        end = monotonic() + asked.total_s

        def on_device(device: Device, its_store: Store) -> list[Swept]:
            number = places.index(device) + 1
            asked.on_note(f"device {number} of {len(places)}: {device.name}")
            left = replace(asked, total_s=max(0.0, end - monotonic()))
            place = folder / device.digest  # devices of a fleet write their variants at once
            place.mkdir(exist_ok=True)
            return _on_device(models, wanted, _shape_sets(shapes), batches or (1,), device, place, its_store, left)

        rows = [row for found in on_each(places, on_device, kept, asked, folder) for row in found]
    order = {(str(m), n): i for i, (m, n) in enumerate(product(models, batches or (1,)))}
    return Sweep(tuple(sorted(rows, key=lambda r: (r.model, r.shape, order.get((r.model, r.batch), r.batch)))))


def _with_threads(devices: Sequence[Device], threads: Sequence[int]) -> Iterator[Device]:
    """Each device with each number; only processors have threads to choose."""
    for device in devices:
        if not threads or device.kind != "cpu" or device.remote:
            yield device
            continue
        for n in threads:
            yield device if n == device.threads else replace(device, threads=n, name=f"{device.name}/{n}t")


def _shape_sets(shapes: SeveralShapes | None) -> list[dict[str, tuple[int, ...]]]:
    """Every combination of the inputs' shapes; an empty one where none is given."""
    listed = {name: _listed(given) for name, given in (shapes or {}).items()}
    return [dict(zip(listed, chosen, strict=True)) for chosen in product(*listed.values())]


def _listed(given: Sequence[int] | Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    several = [tuple(s) for s in given if not isinstance(s, int)]
    return several or [tuple(d for d in given if isinstance(d, int))]


def _on_device(
    models: Sequence[object], wanted: Wanted, shapes: Sequence[Shapes], batches: Sequence[int], device: Device,
    folder: Path, store: Store, options: Options,
) -> list[Swept]:  # fmt: skip
    """A row for each model, shape and batch; where the device itself is missing, each has the same reason."""
    outcomes, reason, cases = list[Outcome](), "", list[_Case]()
    try:
        wanted = wanted.on(device, options)
        cases = [_case(m, wanted, s, n, folder, options) for m in models for s in shapes for n in batches]
        if graphs := [case.graph for case in cases if case.graph]:
            with recording(device, store, options) as recorder:
                for outcome in recorder.profile_many(graphs):
                    outcomes.append(outcome)
    except HwprofError as error:
        reason = str(error)
        cases = cases or [_Case(_name(m), _words(s), n, None) for m, s, n in product(models, shapes, batches)]
    found = {o.graph.digest: o for o in at_one_baseline(outcomes)}  # two equal networks are measured once
    return [case.on(device, found.get(case.graph.digest) if case.graph else None, reason) for case in cases]


def _case(model: object, wanted: Wanted, shapes: Shapes, batch: int, folder: Path, options: Options) -> _Case:
    name, is_opened = _name(model), False
    try:
        network = _batched(model, wanted, shapes, batch, folder)
        is_opened = True
        graph = wanted.varied(network, folder, options.on_warning)
    except HwprofError as error:
        is_bad = isinstance(error, InputError) and not is_opened
        return _Case(name, _words(shapes), batch, None, str(error), is_bad)
    return _Case(graph.name, _words(shapes), batch, graph)


def _batched(model: object, wanted: Wanted, shapes: Shapes, batch: int, folder: Path) -> Graph:
    """The network for the batch: of its file, where the leading dimensions are free, else changed."""
    if batch > 1 and shapes and all(tuple(s)[:1] == (1,) for s in shapes.values()):
        larger = {name: (batch, *tuple(s)[1:]) for name, s in shapes.items()}
        try:
            return replace(wanted, shapes=larger).load(model, folder)
        except InputError:
            pass  # the file fixes its batch
    return with_batch(replace(wanted, shapes=shapes or None).load(model, folder), batch)


def _name(model: object) -> str:
    if isinstance(model, Graph):
        return model.name
    return type(model).__name__ if not isinstance(model, str | Path) else Path(str(model).rpartition(":")[2]).stem


def _words(shapes: Shapes) -> str:
    return " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items())
