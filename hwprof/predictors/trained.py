"""A trained predictor with its origin, and its file: `Trained.load`, `save`, `predict`."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hwprof.device import Device
from hwprof.errors import InputError, one_line
from hwprof.files import json_value, write_bytes
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.predictors import files
from hwprof.predictors.base import LatencyPredictor, stacked
from hwprof.spaces.varied import VariedSpace

_ORIGIN = "origin.json"
# (graph, emulated device, variant) to the instructions that the variant of the graph executes there, [n_classes]
CountInstructions: TypeAlias = Callable[[Graph, Device, str], np.ndarray]


@dataclass(frozen=True, slots=True)
class Origin:
    """The data that a predictor learned from: `n` networks of `least_ms` to `most_ms`. An empty text means "not known".

    mape: the error on networks left out, percent, with the bounds of its 90 % interval. counted_on: the emulated device
    (`Device.to_record`) whose instructions it learned from as well, executed by the networks in `counted_variant`.
    """

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


def _origin(record: Any, path: str | Path) -> Origin:
    """The record of a file. Raises InputError where a field is missing or of another type."""
    kinds: dict[str, Any] = {"str": str, "int": int, "float": int | float, "Mapping[str, Any] | None": dict | None}
    try:
        given = {f.name: record[f.name] for f in fields(Origin) if f.name in record}
        wrong = [f.name for f in fields(Origin) if not isinstance(given.get(f.name, f.default), kinds[str(f.type)])]
        if not wrong:
            return Origin(**given)
        reason = f"{wrong[0]} is {given.get(wrong[0], 'missing')!r:.80}"
    except (AttributeError, TypeError) as error:
        reason = str(error)
    raise InputError(f"predictor file {path}: its origin is damaged: {reason}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted latency with the bounds of its interval, ms. `outside`: beyond the latencies that the predictor
    learned from, so that the interval may not hold."""

    network: str
    latency_ms: float
    low_ms: float
    high_ms: float
    outside: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted predictor. `origin` is None for the file of a predictor that was not trained on a data set."""

    predictor: LatencyPredictor
    origin: Origin | None = None

    @classmethod
    def load(cls, path: str | Path) -> Trained:
        """Reads a predictor file. Raises InputError when it is missing, truncated, newer than this version or not a
        predictor, EnvironmentUnfitError when a library that it needs is not installed."""
        content = files.read(path)
        predictor = files.from_bytes(content, str(path))
        record = json_value(files.members(content, str(path)).get(_ORIGIN, b"null"), f"predictor file {path}")
        if record is None:
            return cls(predictor)
        origin = _origin(record, path)
        if origin.space:
            _tell(predictor, VariedSpace(origin.space, origin.variant))
        return cls(predictor, origin)

    def save(self, path: str | Path) -> None:
        """Writes a predictor file. Raises EnvironmentUnfitError when it cannot be written, InputError for a predictor
        that is not an installed plug-in."""
        content = io.BytesIO(_plain_bytes(self.predictor))
        if self.origin is not None:
            with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(_ORIGIN, json.dumps(asdict(self.origin), indent=1))
        write_bytes(Path(path), content.getvalue())

    def require(self, space: str | None = None, device: str | None = None) -> None:
        """Raises InputError when it learned from another space or device than the given one."""
        found = (self.origin.space, self.origin.device) if self.origin else ("", "")
        require_same("the predictor", found, (space, device))

    def predict(
        self, networks: Sequence[Graph | Arch | str], coverage: float = 0.9, count: CountInstructions | None = None
    ) -> list[Prediction]:
        """networks: [n] graphs; architectures of its space, as choices or as text. Returns [n].

        coverage: the probability that the latency is inside the interval. count: counts instructions, for a predictor
        that learned from them (`hwprof.predict` provides it). Raises InputError for a network that the predictor cannot
        take.
        """
        if not networks:
            return []
        space = VariedSpace(self.origin.space, self.origin.variant) if self.origin and self.origin.space else None
        try:
            X = stacked([row for network in networks for row in self._encoded(network, space, count)])
            predicted_ms = self.predictor.predict(X)
            bounds_ms = self.predictor.predict_interval(X, coverage)
        except files.UNFIT as error:  # arrays of a file that fit neither each other nor the networks
            raise InputError(
                f"the predictor cannot predict these networks; is its file damaged? {one_line(error)}"
            ) from error
        return [
            Prediction(_name(network), float(ms), float(low), float(high), self._is_outside(float(ms)))
            for network, ms, low, high in zip(networks, predicted_ms, *bounds_ms, strict=True)
        ]

    def _is_outside(self, ms: float) -> bool:
        return self.origin is not None and not self.origin.least_ms <= ms <= self.origin.most_ms

    def _encoded(self, network: Graph | Arch | str, space: VariedSpace | None, count: CountInstructions | None) -> Any:
        """Returns [1]: the network as the predictor takes it, with its instructions if it learned from those."""
        origin = self.origin
        if origin is None or origin.counted_on is None:
            return self.predictor.encode([self._taken(network, space)])
        if count is None:
            raise InputError(
                "the predictor learned from counted instructions; hwprof.predict counts those of a network"
            )
        graph = network if isinstance(network, Graph) else _graph(network, space)
        counts = count(graph, Device.from_record(origin.counted_on), origin.counted_variant)
        return np.hstack([self.predictor.encode([graph]), counts[None]])

    def _taken(self, network: Graph | Arch | str, space: VariedSpace | None) -> Graph | Arch:
        if self.predictor.takes == "graph":
            return network if isinstance(network, Graph) else _graph(network, space)
        if isinstance(network, Graph):
            of_space = f" of {space.name}" if space else ""
            raise InputError(f"the predictor takes architectures{of_space}; the graph {network.name!r} was given")
        return _known(space, network).parse(network) if isinstance(network, str) else network


def require_same(subject: str, found: tuple[str, str], wanted: tuple[str | None, str | None]) -> None:
    """found, wanted: names of a space and of a device. Raises InputError where they differ; None matches all."""
    for kind, name, other in zip(("space", "device"), found, wanted, strict=True):
        if other is not None and other != name:
            raise InputError(f"{subject} has the {kind} {name or 'unknown'!r}, not {other!r}")


def load_predictor(path: str | Path) -> LatencyPredictor:
    """Returns the predictor of a file. Its `predict` and `predict_interval` take networks as its `takes` says; physical
    and transfer take architectures of their space, too. Raises as `Trained.load` does."""
    return Trained.load(path).predictor


def load_sources(sources: Sequence[str | Path | Trained | LatencyPredictor], space: str) -> list[LatencyPredictor]:
    """sources: predictors of other devices, or their files. Returns the predictors. Raises InputError for one that
    learned from another space."""
    found = []
    for source in sources:
        known = Trained.load(source) if isinstance(source, str | Path) else source
        if isinstance(known, Trained):
            known.require(space)
            known = known.predictor
        found.append(known)
    return found


def _graph(network: Arch | str, space: VariedSpace | None) -> Graph:
    known = _known(space, network)
    return known.graph(known.parse(network) if isinstance(network, str) else network)


def _known(space: VariedSpace | None, network: Arch | str) -> VariedSpace:
    if space is None:
        raise InputError(f"the predictor does not know the space of {network!r}; give .onnx files")
    return space


def _name(network: Graph | Arch | str) -> str:
    if isinstance(network, Graph):
        return network.name
    return network if isinstance(network, str) else "-".join(map(str, network))


def _plain_bytes(predictor: LatencyPredictor) -> bytes:
    """A predictor file names its space by its plug-in. A variant of a space has none; the origin keeps both names."""
    space = predictor.get_params(deep=False).get("space")
    if not isinstance(space, VariedSpace):
        return files.to_bytes(predictor)
    _tell(predictor, space.space if space.is_installed else None)
    try:
        return files.to_bytes(predictor)
    finally:
        _tell(predictor, space)


def _tell(predictor: LatencyPredictor, space: SearchSpace | None) -> None:
    """Gives the predictor, and its sources of other devices, their space where they have a parameter for it."""
    sources: Sequence[LatencyPredictor] = predictor.get_params(deep=False).get("sources", ())
    for told in (predictor, *sources):
        if "space" in told.get_params(deep=False):
            told.set_params(space=space)
