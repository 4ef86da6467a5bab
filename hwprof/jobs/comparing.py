"""Comparing: is one network faster than another?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.jobs.inputs import StoreLike, Wanted, device_of, opened
from hwprof.measure.compare import MARGIN
from hwprof.measure.recording import Options, recording, require_comparable
from hwprof.measurement import Comparison
from hwprof.onnx_io import GivenInputs
from hwprof.workloads.loading import Shapes


def compare(
    models: Sequence[object],
    device: Device | str = "cpu-1t",
    store: StoreLike = None,
    options: Options | None = None,
    margin: float = MARGIN,
    *,
    shapes: Shapes | None = None,
    inputs: GivenInputs | None = None,
    variant: str | None = None,
    calibration: Path | None = None,
    example_inputs: object = None,
) -> list[Comparison]:
    """Compares each network, given as to `profile`, with the first one, by blocks that alternate in the same processes.
    With `variant`, one model is compared with that variant of it.

    Raises InputError for fewer than two networks, and the error of the first that could not be measured.
    """
    wanted = Wanted(shapes, variant, calibration, example_inputs, inputs)
    if variant and len(models) != 1:
        raise InputError("--variant compares one model with its variant; give one model")
    with opened(store, options) as (folder, kept, asked):
        graphs = [wanted.load(model, folder) for model in models]
        if variant:
            graphs.append(wanted.varied(graphs[0], folder, asked.on_warning))
        chosen = device_of(device)
        require_comparable(graphs, chosen)
        with recording(chosen, kept, asked) as recorder:
            return recorder.compare(graphs, margin)
