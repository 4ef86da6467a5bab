"""Training a predictor on a data set, its file, and predictions by it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwprof import plugins
from hwprof.data import dataset
from hwprof.data.dataset import Card, Dataset
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.files import write_bytes
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.jobs.counting import CountedNetworks, count_instructions, require_counting
from hwprof.predictors import files
from hwprof.predictors.base import LatencyPredictor
from hwprof.predictors.left_out import left_out_error
from hwprof.spaces.varied import VariedSpace

MOST_TRAINED = 1000  # networks, unless asked for more: a Gaussian process takes their third power
_PART = 50  # graphs in memory at once
_ORIGIN = "origin.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a predictor learned from: `n` networks of `least_ms` to `most_ms`. mape: on left-out ones, percent,
    with its 90 % interval. counted_on: the emulated device (`Device.to_record`) whose instructions it learned from
    besides, as the networks' variant executes them. Empty text is "not known"."""

    predictor: str
    data: str
    data_sha256: str
    device: str
    space: str
    variant: str
    evidence: str
    n: int
    least_ms: float
    most_ms: float
    mape: float
    mape_low: float
    mape_high: float
    counted_on: Mapping[str, Any] | None = None
    counted_variant: str = ""


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted predictor; `origin` is None for a file that was not written by `save`."""

    predictor: LatencyPredictor
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """ms. Not measured. `outside`: beyond the latencies that the predictor learned from."""

    network: str
    latency_ms: float
    low_ms: float
    high_ms: float
    outside: bool


def train(
    folder: Path, name: str, *, n: int | None = None, seed: int = 0, sources: Sequence[LatencyPredictor] = (),
    counts: Path | None = None,
) -> Trained:  # fmt: skip
    """Learns the normalized latencies of `n` of the networks, drawn at random where there are more; at most
    `MOST_TRAINED` unless told. counts: a data set of the instructions that the same networks execute on an emulated
    core, to learn from besides. Raises InputError for an unknown predictor or data that cannot be learned from."""
    data = dataset.read(folder)
    counted = CountedNetworks.of(counts, data) if counts else None
    data = drawn(counted.among(data) if counted else data, n, MOST_TRAINED, seed)
    space = space_of(data.card)
    predictor = make(name, space, seed, sources)
    y = data.normalized_ms
    X = stacked(inputs(data, space, predictor))
    if counted:
        require_counting(predictor, name)
        predictor.set_params(counted=True)
        X = np.hstack([X, counted.rows(data)])
    predictor.fit(X, y)
    error, card = left_out_error(predictor.errors_), data.card
    origin = Origin(
        name, card.name, card.measurements_sha256, card.device_name, card.space, card.variant, card.evidence,
        len(y), float(y.min()), float(y.max()), error.mape, error.low, error.high,
        counted.device.to_record() if counted else None, counted.variant if counted else "",
    )  # fmt: skip
    return Trained(predictor, origin)


def read_of(folder: Path, space: str | None, device: str | None) -> Dataset:
    """The data set. Raises InputError when it is of another space or device than the given one."""
    data = dataset.read(folder)
    _require(f"data set {data.card.name}", data.card.space, data.card.device_name, space, device)
    return data


def require(origin: Origin | None, space: str | None, device: str | None) -> None:
    """Raises InputError when a predictor learned from another space or device than the given one."""
    found = (origin.space, origin.device) if origin else ("", "")
    _require("the predictor", *found, space, device)


def _require(what: str, space: str, device: str, wanted_space: str | None, wanted_device: str | None) -> None:
    for kind, found, wanted in (("space", space, wanted_space), ("device", device, wanted_device)):
        if wanted is not None and wanted != found:
            raise InputError(f"{what} is of {kind} {found or 'unknown'!r}, not {wanted!r}")


def make(
    name: str, space: VariedSpace | None, seed: int = 0, sources: Sequence[LatencyPredictor] = ()
) -> LatencyPredictor:
    """An unfitted predictor that knows what it can use of the space, the seed and predictors of other devices.

    Raises InputError for an unknown one, and for an installed class that is no LatencyPredictor."""
    predictor = plugins.load("predictor", name)()
    if not isinstance(predictor, LatencyPredictor):
        wanted = f"{LatencyPredictor.__module__}.{LatencyPredictor.__name__}"
        raise InputError(f"predictor {name!r} is a {type(predictor).__name__}; derive it from {wanted}")
    known = predictor.get_params(deep=False)
    if sources and "sources" not in known:
        raise InputError(f"predictor {name!r} learns nothing from other devices; --source is for transfer")
    given = {"space": space, "seed": seed, "sources": list(sources)}
    predictor.set_params(**{key: value for key, value in given.items() if key in known})
    return predictor


def drawn(data: Dataset, n: int | None, most: int, seed: int) -> Dataset:
    """`n` of the networks at random, or at most `most`. Raises InputError when the data set has fewer than `n`."""
    rows = len(data.entries)
    if n is not None and not 1 <= n <= rows:
        raise InputError(f"data set {data.card.name} has {rows} networks, not {n}")
    chosen = np.random.default_rng(seed).permutation(rows)[: n or most]
    return replace(data, entries=tuple(data.entries[i] for i in chosen)) if len(chosen) < rows else data


def space_of(card: Card) -> VariedSpace | None:
    """None for a data set of networks of no space. Raises InputError for a space that is not installed."""
    return VariedSpace(card.space, card.variant) if card.space else None


def parts(data: Dataset) -> Iterator[Dataset]:
    """The data set in slices whose graphs fit into memory."""
    for start in range(0, len(data.entries), _PART):
        yield replace(data, entries=data.entries[start : start + _PART])


def takes_archs(predictor: LatencyPredictor) -> bool:
    """Those that are told a space take its architectures; the others take graphs."""
    return "space" in predictor.get_params(deep=False)


def inputs(
    data: Dataset, space: VariedSpace | None, predictor: LatencyPredictor, graphs: Sequence[Graph] | None = None
) -> Sequence[Any]:
    """[n]: what the predictor learns from, encoded where it can be: graphs are large. `graphs`: of the data, if
    they are built already."""
    encode = getattr(predictor, "encode", None)
    if encode is None and space is not None and takes_archs(predictor):
        return data.archs
    if graphs is not None and encode is not None:
        # predictors of other devices may take nothing but architectures
        return list(encode(data.archs if space is not None and _sources(predictor) else graphs))
    if graphs is not None:
        return graphs
    return [row for part in parts(data) for row in inputs(part, space, predictor, part.graphs(space))]


def stacked(rows: Sequence[Any]) -> Any:
    """Encoded networks as one array [n, n_features]; anything else as it is."""
    return np.stack(rows) if isinstance(rows[0], np.ndarray) else rows


# -- the file ------------------------------------------------------------------------------------------


def save(trained: Trained, path: Path) -> None:
    """A predictor file with its origin. Raises EnvironmentUnfitError when it cannot be written."""
    content = io.BytesIO(_plain_bytes(trained.predictor))
    if trained.origin is not None:
        with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_ORIGIN, json.dumps(asdict(trained.origin), indent=1))
    write_bytes(path, content.getvalue())


def load(path: Path) -> Trained:
    """Raises InputError for a file that is missing, truncated, newer or no predictor."""
    predictor = files.load(path)
    with zipfile.ZipFile(path) as archive:
        text = archive.read(_ORIGIN) if _ORIGIN in archive.namelist() else b"null"
    record = json.loads(text)
    if record is None:
        return Trained(predictor)
    try:
        origin = Origin(**{f.name: record[f.name] for f in fields(Origin) if f.name in record})
    except (KeyError, TypeError) as error:
        raise InputError(f"predictor file {path}: its origin is damaged: {error}") from None
    if origin.space:
        _tell(predictor, VariedSpace(origin.space, origin.variant))
    return Trained(predictor, origin)


def load_predictor(path: str | Path) -> LatencyPredictor:
    """The predictor of a file: `predict` and `predict_interval` take graphs, or architectures of its space."""
    return load(Path(path)).predictor


def load_sources(paths: Sequence[Path], space: str) -> list[LatencyPredictor]:
    """Predictors of other devices. Raises InputError for one that learned from another space."""
    sources = [load(path) for path in paths]
    for source in sources:
        require(source.origin, space, None)
    return [source.predictor for source in sources]


def _plain_bytes(predictor: LatencyPredictor) -> bytes:
    """A predictor file can name an installed space only; the origin names a variant or an object of the user's."""
    space = predictor.get_params(deep=False).get("space")
    if not isinstance(space, VariedSpace):
        return files.to_bytes(predictor)
    _tell(predictor, space.space if space.is_installed else None)
    try:
        return files.to_bytes(predictor)
    finally:
        _tell(predictor, space)


def _tell(predictor: LatencyPredictor, space: SearchSpace | None) -> None:
    """Gives the predictor, and those of other devices that it stands on, their space."""
    for told in (predictor, *_sources(predictor)):
        if takes_archs(told):
            told.set_params(space=space)


def _sources(predictor: LatencyPredictor) -> Sequence[LatencyPredictor]:
    """The predictors of other devices that it stands on."""
    sources: Sequence[LatencyPredictor] = predictor.get_params(deep=False).get("sources", ())
    return sources


# -- predictions ---------------------------------------------------------------------------------------


def predict(trained: Trained, networks: Sequence[Graph | str], coverage: float = 0.9) -> list[Prediction]:
    """networks: graphs, and architectures as text. Raises InputError for what the predictor cannot take."""
    found = []
    for network in networks:
        subject = _subject(trained, network)
        (ms,) = trained.predictor.predict(subject)
        (low,), (high,) = trained.predictor.predict_interval(subject, coverage)
        outside = trained.origin is not None and not trained.origin.least_ms <= ms <= trained.origin.most_ms
        name = network.name if isinstance(network, Graph) else network
        found.append(Prediction(name, float(ms), float(low), float(high), outside))
    return found


def _subject(trained: Trained, network: Graph | str) -> Any:
    """[1], a sequence: the network as the predictor takes it, with its instructions where it learned from those."""
    given = network if isinstance(network, Graph) else _of_text(trained, network)
    origin = trained.origin
    if origin is None or origin.counted_on is None:
        return [given]
    graph = given if isinstance(given, Graph) else VariedSpace(origin.space, origin.variant).graph(given)
    counts = count_instructions(graph, Device.from_record(origin.counted_on), origin.counted_variant)
    return np.hstack([trained.predictor.encode([graph]), counts[None]])


def _of_text(trained: Trained, text: str) -> Arch | Graph:
    origin = trained.origin
    if origin is None or not origin.space:
        raise InputError(f"the predictor does not know the space of {text!r}; give .onnx files")
    space = VariedSpace(origin.space, origin.variant)
    arch = space.parse(text)
    return arch if takes_archs(trained.predictor) else space.graph(arch)
