"""Compressing an .onnx file without training: its samples take the place of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hwprof import plugins
from hwprof.compress import post_training
from hwprof.compress.compressed import Compressed
from hwprof.compress.outputs import Metric
from hwprof.compress.post_training import Settings
from hwprof.data.result import share_of
from hwprof.data.store import DEFAULT_PATH
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs.inputs import StoreLike, Wanted, device_of, opened
from hwprof.measure.recording import Options
from hwprof.variants.samples import Samples, as_samples, read_samples
from hwprof.workloads.loading import Shapes

DEFAULT_FOLDER = Path("compressed")


def compress_file(
    model: object,
    calibration: Path | str | Mapping[str, np.ndarray],
    *,
    targets_ms: Sequence[float] = (),
    target_shares: Sequence[str] = (),
    device: Device | str = "cpu-1t",
    metric: Metric | str | None = None,
    folder: Path | str = DEFAULT_FOLDER,
    store: StoreLike = DEFAULT_PATH,
    settings: Settings | None = None,
    options: Options | None = None,
    shapes: Shapes | None = None,
    seed: int = 0,
) -> list[Compressed]:
    """A network for each target, without training; without targets, the front from the fastest one to the float one.

        made = hp.compress_file("model.onnx", "samples.npz", targets_ms=[5], device="cpu-1t")
        print(made[0].met, made[0].result.metric)

    model: as `profile` takes it; a PyTorch module by reference is exported. target_shares: of the network's own
    measured latency, such as "70%". calibration: a file or folder that `read_samples` takes, or for each input an
    array [n_samples, *shape]. metric: a function, or package.module:function, of the outputs of the changed and of the
    float network, each {output: [n_samples, *shape]}; larger is better, unless the function has an attribute
    higher_is_better that is False. Without it the metric is minus the relative error.
    Raises as `hwprof.compress.post_training.compress`, and InputError for samples that do not fit the network.
    """
    function = plugins.user_object(metric) if isinstance(metric, str) else metric
    if function is not None and not callable(function):
        raise InputError(f"the metric {metric!r} is not a function of two mappings of outputs")
    chosen, shares = device_of(device), [share_of(text) for text in target_shares]
    with opened(store, options) as (work, kept, asked):
        graph = Wanted(shapes=shapes, as_onnx=True).load(model, work)
        samples = _samples(graph, calibration)
        asked.warn_of([graph])
        return post_training.compress(
            graph, samples, chosen, kept, Path(folder), targets_ms=targets_ms, shares=shares,
            metric=function, metric_name=_name(metric), settings=settings, options=asked, seed=seed,
        )  # fmt: skip


def _samples(graph: Graph, calibration: Path | str | Mapping[str, np.ndarray]) -> Samples:
    """[n_samples, *shape] of each input."""
    if isinstance(calibration, Mapping):
        return as_samples(graph, calibration)
    return read_samples(graph, Path(calibration))


def _name(metric: Metric | str | None) -> str:
    if metric is None:
        return post_training.ERROR
    return metric if isinstance(metric, str) else getattr(metric, "__qualname__", type(metric).__name__)
