"""Profiling: how fast networks run on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Unpack

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.jobs.inputs import Opening, StoreLike, Wanted, device_of, opened
from hwprof.measure.recording import Options, Outcome, recording
from hwprof.measurement import Measurement


def profile(
    model: object,
    device: Device | str = "cpu-1t",
    *,
    store: StoreLike = None,
    options: Options | None = None,
    **opening: Unpack[Opening],
) -> Measurement:
    """Measures one network: a Graph, an .onnx file, a workload or package.module:factory by name, or a torch.nn.Module
    with its `example_inputs`.

    opening: `shapes`, `inputs`, `variant`, `calibration` and `example_inputs`, which `Wanted` describes. Raises
    HwprofError when it cannot be measured; the status of a measurement tells whether it converged.
    """
    wanted = Wanted(**opening)
    with opened(store, options) as (folder, kept, asked):
        chosen = device_of(device)
        graph = wanted.on(chosen, asked).open(model, folder, asked.on_warning)
        (outcome,) = profile_many([graph], chosen, kept, asked)
    return outcome.required()


def profile_models(
    models: Sequence[object],
    device: Device | str = "cpu-1t",
    *,
    store: StoreLike = None,
    options: Options | None = None,
    on_error: Callable[[str, HwprofError], None] | None = None,
    **opening: Unpack[Opening],
) -> Iterator[Outcome]:
    """Measures networks, given as to `profile`, in one sweep; yields each as soon as it is done.

    A model that cannot be opened is passed to `on_error(model, error)`, and the others continue; without `on_error` the
    error is raised.
    """
    wanted = Wanted(**opening)
    with opened(store, options) as (folder, kept, asked):
        graphs, chosen = [], device_of(device)
        wanted = wanted.on(chosen, asked)
        for model in models:
            try:
                graphs.append(wanted.open(model, folder, asked.on_warning))
            except HwprofError as error:
                if on_error is None:
                    raise
                on_error(str(model), error)
        if graphs:
            yield from profile_many(graphs, chosen, kept, asked)


def profile_many(graphs: Sequence[Graph], device: Device, store: Store, options: Options) -> Iterator[Outcome]:
    """Measures graphs in one sweep; yields each as soon as it is done, in the order in which they end."""
    with recording(device, store, options) as recorder:
        yield from recorder.profile_many(graphs)
