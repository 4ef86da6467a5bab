"""Comparing: is one network faster than another?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from hwprof.device import Device
from hwprof.errors import HwprofError, InputError
from hwprof.graph import Graph
from hwprof.jobs import baselines
from hwprof.jobs.inputs import Opening, StoreLike, Wanted, device_of, opened
from hwprof.measure.compare import MARGIN
from hwprof.measure.machine import evidence_of
from hwprof.measure.output_error import WRONG_ERROR, is_approximated, relative_rms
from hwprof.measure.recording import Options, recording, require_comparable
from hwprof.measure.weights_identity import weights_identity
from hwprof.measurement import Comparison, Evidence
from hwprof.onnx_io.input_values import as_texts
from hwprof.variants.apply import RANDOM_SAMPLES
from hwprof.variants.samples import Samples, random_samples, read_samples


def compare(
    models: Sequence[object],
    device: Device | str = "cpu-1t",
    store: StoreLike = None,
    options: Options | None = None,
    margin: float = MARGIN,
    *,
    baseline: str | None = None,
    fail_above: float | None = None,
    **opening: Unpack[Opening],
) -> list[Comparison]:
    """Compares each network, given with `opening` as to `profile`, with the first one, by blocks that alternate in the
    same processes. With `baseline`, each is compared with the network that was kept under that name (`baselines`). With
    `variant`, one model is compared with that variant of it. A quantized network's row also has the error of its
    outputs, on the data of `calibration` or on random inputs. fail_above: measures until it is certain whether each
    takes at most this share longer than the first (0.05 for 5 %), which `hwprof.measure.compare.gate` tells of a row.

    Raises InputError for fewer than two networks, and the error of the first that could not be measured.
    """
    wanted = Wanted(**opening)
    if wanted.variant and baseline:
        raise InputError("--variant and --baseline both name what to compare with; give one of them")
    if wanted.variant and len(models) != 1:
        raise InputError("--variant compares one model with its variant; give one model")
    with opened(store, options) as (folder, kept, asked):
        chosen = device_of(device)
        wanted = wanted.on(chosen, asked)
        kept_first = [baselines.load(baseline, wanted, folder)] if baseline else []
        graphs = [*kept_first, *(wanted.load(model, folder) for model in models)]
        if wanted.variant:
            graphs.append(wanted.varied(graphs[0], folder, asked.on_warning))
        require_comparable(graphs, chosen)
        first, *others = graphs
        for graph in others:
            _tell_equal(first, graph, asked)
        with recording(chosen, kept, asked) as recorder:
            rows = recorder.compare(graphs, margin, limit=fail_above)
        errors = [_output_error(first, graph, chosen, wanted.calibration, folder, asked) for graph in others]
    return [replace(row, output_error=error) for row, error in zip(rows, errors, strict=True)]


def _tell_equal(first: Graph, other: Graph, options: Options) -> None:
    """Says so where both are the same network: comparing those is how one sees the noise."""
    a, b = ((graph.digest, graph.given, weights_identity(graph)) for graph in (first, other))
    if a == b:
        options.on_note(
            f"{other.name} is the same network as {first.name}, with the same weights: their comparison shows the "
            "noise of measuring here"
        )


def _output_error(
    before: Graph, after: Graph, device: Device, calibration: Path | None, folder: Path, options: Options
) -> float | None:
    """None, and a warning, where it cannot be found."""
    if evidence_of(device) is not Evidence.MEASURED or not is_approximated(before, after):
        return None
    options.on_step(f"running both networks for the error of the outputs of {after.name}")
    try:
        drawn = read_samples(before, calibration) if calibration else random_samples(before, RANDOM_SAMPLES)
        found = relative_rms(before, after, _texts(drawn, folder), device, options.limited_transport)
    except HwprofError as error:
        options.on_warning(f"{after.name}: the error of its outputs is unknown: {error}")
        return None
    if found > WRONG_ERROR:
        inputs = "the samples of --calibration" if calibration else "random inputs; --calibration gives your own"
        options.on_warning(
            f"{after.name}: its outputs are {found:.0%} off those of {before.name}, on {inputs}: it may compute "
            "something else"
        )
    return found if math.isfinite(found) else None


def _texts(drawn: Samples, folder: Path) -> list[dict[str, str]]:
    """The inputs of a few samples as files. drawn: [n_samples, *shape] for each input."""
    count = min([RANDOM_SAMPLES, *(len(array) for array in drawn.values())])
    return [as_texts({name: array[i] for name, array in drawn.items()}, folder) for i in range(count)]
