"""Prediction jobs: train a predictor on a data set, and predict the latencies of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np

from hwprof import instructions
from hwprof.data.dataset import Dataset
from hwprof.data.store import Store
from hwprof.device import Device, available
from hwprof.errors import HwprofError, InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Execute
from hwprof.jobs.inputs import Opening, Wanted
from hwprof.jobs.predicted_operators import PredictedOperator, operators_of
from hwprof.jobs.profiling import profile
from hwprof.measure import executed
from hwprof.measure.machine import identity
from hwprof.measure.recording import Options
from hwprof.predictors import learning, shipped, trained
from hwprof.predictors.base import LatencyPredictor
from hwprof.predictors.trained import Prediction, Trained
from hwprof.spaces import generic
from hwprof.variants.spec import change

_warn = Options().on_warning  # as every other job tells


def train(
    data: Dataset | str | Path | Sequence[Dataset | str | Path],
    predictor: str | None = None,
    *,
    n: int | None = None,
    sources: Sequence[str | Path | Trained | LatencyPredictor] = (),
    counts: Dataset | str | Path | None = None,
    space: str | None = None,
    device: str | None = None,
    seed: int = 0,
    base: str | Path | Trained | None = None,
    on_warning: Callable[[str], None] = _warn,
) -> Trained:
    """Trains a predictor on the networks of a data set, or of several of one device, as `hwprof train` does.

    predictor: by default "kernels" for a generic sample, else "physical". n: learn from this many of the networks,
    drawn at random; all, but at most the predictor's `most_learned`, unless given. sources: for transfer, predictors of
    other devices or their files. counts: a data set of the instructions that the same networks execute on an emulated
    core, to learn from as well. base: a predictor of kernels of another machine, its file, or the name of a device
    that hwprof ships one for; it is fitted to the data, of which 5 to 20 networks are enough. on_warning: is told of
    networks about which the runtime could not be asked. Raises InputError for an unknown predictor, data that cannot be
    learned from, or a data set whose space or device is not the given one.
    """
    first, *rest = [data] if isinstance(data, Dataset | str | Path) else data
    found = learning.opened(first, space, device)
    others = trained.load_sources(opened_sources(sources), found.card.space)
    counted = learning.opened(counts) if counts is not None else None
    further = [learning.opened(one, space, device) for one in rest]
    if base is not None:
        if predictor not in (None, "kernels") or others or counted is not None:
            raise InputError("--from fits a predictor of kernels to the data; it takes no other predictor or source")
        return learning.calibrated(_base(base), found, n=n, seed=seed, further=further)
    name = predictor or ("kernels" if found.card.space == generic.NAME else "physical")
    with _asking(found.card.device if name == "kernels" else None, on_warning, found.folder) as execute:
        return learning.learn(
            found, name, n=n, seed=seed, sources=others, counts=counted, further=further, execute=execute
        )


def predict(
    predictor: Trained | str | Path,
    models: Sequence[Graph | Arch | str | Path] = (),
    *,
    archs: Sequence[Arch | str] = (),
    coverage: float = 0.9,
    space: str | None = None,
    device: str | None = None,
    extrapolate: bool = False,
    lower_bound: bool = False,
    on_error: Callable[[str, HwprofError], None] | None = None,
    on_warning: Callable[[str], None] = _warn,
    **opening: Unpack[Opening],
) -> list[Prediction]:
    """Predicts latencies, as `hwprof predict` does. Returns the predictions of the models, then of the architectures.

    predictor: a trained one, or what `open_predictor` takes. models: graphs, .onnx files, names of workloads, package.
    module:factory or file.py:factory, or architectures as tuples. space: of the architectures, for a predictor of any
    network; of another predictor the space that it must have learned from. opening: `shapes`, `inputs`, `variant` and
    `calibration`, as `profile` takes them, for every model. archs: architectures of the predictor's space, as tuples or
    in its notation. coverage: the probability that the latency is inside the interval. extrapolate: also predict
    networks unlike those that were learned from. lower_bound: also predict the rest of networks with operators whose
    work is not known. A model that cannot be opened is passed to `on_error(model, error)`, and the others continue;
    without `on_error` the error is raised. on_warning: is told facts about a network that its prediction does not show,
    such as that a PyTorch module was exported, and, as in `train`, what the runtime could not be asked.

    Raises InputError for a network that the predictor cannot take, be it the only one, or for a predictor whose space
    or device is not the given one.
    """
    found = predictor if isinstance(predictor, Trained) else open_predictor(predictor)
    found.require(space, device)
    device_asked = _asked_device(found)
    with (
        _opened(models, device_asked, on_error, on_warning, opening) as networks,
        _asking(device_asked, on_warning) as execute,
    ):
        return found.predict(
            [*networks, *archs], coverage, count_instructions, execute=execute, extrapolate=extrapolate,
            lower_bound=lower_bound, space=space,
        )  # fmt: skip


def predict_operators(
    predictor: Trained | str | Path,
    models: Sequence[Graph | str | Path],
    *,
    on_error: Callable[[str, HwprofError], None] | None = None,
    on_warning: Callable[[str], None] = _warn,
    **opening: Unpack[Opening],
) -> list[PredictedOperator]:
    """The operators of each model with their predicted times, the longest first, with what the runtime inserts and the
    start of an inference: they add up to the prediction. Errors and warnings as in `predict`. Raises InputError for a
    predictor that does not sum over operators: train one with --predictor kernels."""
    found = predictor if isinstance(predictor, Trained) else open_predictor(predictor)
    if not found.predictor.sums_kernels:
        name = found.origin.predictor if found.origin else type(found.predictor).__name__
        raise InputError(f"the predictor {name!r} does not know single operators; train one with --predictor kernels")
    device = _asked_device(found)
    with (
        _opened(models, device, on_error, on_warning, opening) as networks,
        _asking(device, on_warning) as execute,
    ):
        graphs = [graph for graph in networks if isinstance(graph, Graph)]  # models are not architectures here
        return [row for graph in graphs for row in operators_of(found.predictor, graph, execute)]


def opened_sources(
    sources: Sequence[str | Path | Trained | LatencyPredictor],
) -> list[Trained | LatencyPredictor]:
    """The predictors themselves. Raises as `open_predictor`."""
    return [open_predictor(source) if isinstance(source, str | Path) else source for source in sources]


def names_trained(source: str | Path) -> bool:
    """Whether `open_predictor` is meant, not a kind of predictor by its name."""
    return Path(source).suffix == ".hwp" or bool(shipped.of_device(str(source)))


def open_predictor(source: str | Path) -> Trained:
    """The predictor of a file, or the one that hwprof ships for the device of this name on this machine. Raises
    InputError where there is none, and says what to measure instead."""
    name = str(source)
    if Path(source).exists() or Path(source).suffix:
        return Trained.load(source)
    if not (candidates := shipped.of_device(name)):
        raise InputError(
            f"hwprof ships no predictor of {name!r}; it has {', '.join(shipped.devices()) or 'none'}; make one: hwprof "
            f"collect --sample generic --minutes 15 --device {name} -o mine; hwprof train mine -o mine.hwp"
        )
    hardware, processor = identity(Options().limited_transport, Device.load(name))
    if (path := shipped.path_of(name, hardware)) in candidates:
        found = Trained.load(path)
        return replace(found, origin=replace(found.origin, processor=processor)) if found.origin else found
    raise InputError(
        f"none of the predictors of {name} that hwprof ships ({len(candidates)}) is of this machine ({hardware}); fit "
        f"one to 5 to 20 networks: hwprof collect --sample generic --n 20 --device {name} -o mine; hwprof train mine "
        f"--from {name} -o mine.hwp"
    )


def _base(source: str | Path | Trained) -> Trained:
    """The predictor to begin with: a shipped one may be of any machine."""
    if isinstance(source, Trained):
        return source
    if not Path(source).exists() and (candidates := shipped.of_device(str(source))):
        return Trained.load(candidates[0])
    return Trained.load(source)


@contextmanager
def _asking(
    device: Device | None, on_warning: Callable[[str], None], folder: Path | None = None
) -> Iterator[Execute | None]:
    """Yields a function that asks the device's runtime which kernels it executes of a graph; None where no device is
    given, or its runtime does not say. folder: of the data set that keeps the answers."""
    if device is None:
        yield None
        return
    with executed.asked(device, Options().limited_transport, on_warning, folder) as execute:
        yield execute


def _asked_device(trained: Trained) -> Device | None:
    """The device whose runtime the predictor wants to ask; None for one that the rules suffice, and where there is no
    device of this name: then it predicts by the rules."""
    name = trained.origin.device if trained.origin else ""
    return Device.load(name) if trained.predictor.asks_runtime and name in available() else None


def load_predictor(source: str | Path) -> LatencyPredictor:
    """Returns the predictor of a file, or the one that hwprof ships for the device of this name on this machine. Its
    `predict` and `predict_interval` take networks as its `takes` says; physical and transfer take architectures of
    their space, too. Raises as `open_predictor` does."""
    return open_predictor(source).predictor


def count_instructions(graph: Graph, device: Device, variant: str) -> np.ndarray:
    """Returns [n_classes]: the instructions that the variant of the graph executes on the emulated device."""
    with Store() as store:
        measurement = profile(change(variant)(graph), device, store=store, options=Options())
    return instructions.vector(measurement.instructions)


@contextmanager
def _opened(
    models: Sequence[Graph | Arch | str | Path],
    device: Device | None,
    on_error: Callable[[str, HwprofError], None] | None,
    on_warning: Callable[[str], None],
    opening: Opening,
) -> Iterator[list[Graph | Arch]]:
    """The networks, whose files exist until the context ends. Predictors know ONNX's operators, so a PyTorch module is
    exported. device: whose runtime is asked; it says which form of a variant it runs."""
    networks: list[Graph | Arch] = []
    wanted, told = replace(Wanted(**opening), as_onnx=True), Options(on_warning=on_warning)
    if device is not None:
        wanted = wanted.on(device, told)
    with temporary_folder() as folder:
        for model in models:
            try:
                networks.append(model if isinstance(model, tuple) else wanted.open(model, folder, on_warning))
            except HwprofError as error:
                if on_error is None:
                    raise
                on_error(str(model), error)
        told.warn_of(graph for graph in networks if isinstance(graph, Graph))
        yield networks
