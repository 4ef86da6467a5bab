"""Prediction jobs: train a predictor on a data set, and predict the latencies of networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwprof import instructions
from hwprof.data.dataset import Dataset
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.jobs.profiling import profile
from hwprof.measure.recording import Options
from hwprof.predictors import learning, trained
from hwprof.predictors.base import LatencyPredictor
from hwprof.predictors.trained import Prediction, Trained
from hwprof.variants.spec import change
from hwprof.workloads.loading import Shapes, load_network


def train(
    data: Dataset | str | Path,
    predictor: str = "physical",
    *,
    n: int | None = None,
    sources: Sequence[str | Path | Trained | LatencyPredictor] = (),
    counts: Dataset | str | Path | None = None,
    space: str | None = None,
    device: str | None = None,
    seed: int = 0,
) -> Trained:
    """Trains a predictor on the networks of a data set, as `hwprof train` does.

    n: learn from this many of the networks, drawn at random; all, but at most 1000, unless given. sources: for
    transfer, predictors of other devices or their files. counts: a data set of the instructions that the same networks
    execute on an emulated core, to learn from as well. Raises InputError for an unknown predictor, data that cannot be
    learned from, or a data set whose space or device is not the given one.
    """
    found = learning.opened(data, space, device)
    others = trained.load_sources(sources, found.card.space)
    counted = learning.opened(counts) if counts is not None else None
    return learning.learn(found, predictor, n=n, seed=seed, sources=others, counts=counted)


def predict(
    predictor: Trained | str | Path,
    models: Sequence[Graph | Arch | str | Path] = (),
    *,
    archs: Sequence[Arch | str] = (),
    shapes: Shapes | None = None,
    coverage: float = 0.9,
    space: str | None = None,
    device: str | None = None,
) -> list[Prediction]:
    """Predicts latencies, as `hwprof predict` does. Returns the predictions of the models, then of the architectures.

    predictor: a trained one, or its file. models: graphs, .onnx files, names of workloads, or architectures as tuples.
    archs: architectures of the predictor's space, as tuples or in its notation. coverage: the probability that the
    latency is inside the interval. Raises InputError for a network that the predictor cannot take, or for a predictor
    whose space or device is not the given one.
    """
    found = predictor if isinstance(predictor, Trained) else Trained.load(predictor)
    found.require(space, device)
    networks = [model if isinstance(model, tuple) else load_network(model, shapes) for model in models]
    return found.predict([*networks, *archs], coverage, count_instructions)


def load_predictor(path: str | Path) -> LatencyPredictor:
    """Returns the predictor of a file; see `hwprof.predictors.trained.load_predictor`."""
    return trained.load_predictor(path)


def count_instructions(graph: Graph, device: Device, variant: str) -> np.ndarray:
    """Returns [n_classes]: the instructions that the variant of the graph executes on the emulated device."""
    with Store() as store:
        measurement = profile(change(variant)(graph), device, store=store, options=Options())
    return instructions.vector(measurement.instructions)
