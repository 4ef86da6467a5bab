"""A trained predictor with its origin, and its file: `Trained.load`, `save`, `predict`."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hwprof.device import Device
from hwprof.encoders.operators import kind
from hwprof.errors import InputError, UnknownOperatorError, one_line
from hwprof.files import json_value, write_bytes
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Execute, SearchSpace
from hwprof.predictors import files
from hwprof.predictors.base import Doubt, LatencyPredictor, stacked
from hwprof.spaces.varied import VariedSpace

_ORIGIN = "origin.json"
_FAR = 1.5  # times the smallest and largest latency that was learned from
_MOST_LISTED = 3
_UNKNOWN = (math.nan, math.nan, math.nan)
# (graph, emulated device, variant) to the instructions that the variant of the graph executes there, [n_classes]
CountInstructions: TypeAlias = Callable[[Graph, Device, str], np.ndarray]


@dataclass(frozen=True, slots=True)
class Origin:
    """The data that a predictor learned from: `n` networks of `least_ms` to `most_ms`. An empty text means "not known".

    mape: the error on networks left out, percent, with the bounds of its 90 % interval. counted_on: the emulated device
    (`Device.to_record`) whose instructions it learned from as well, executed by the networks in `counted_variant`.
    operators: the kinds (`hwprof.encoders.operators.kind`) in its networks; empty for a predictor of architectures.
    hardware: identifies the machine. drift: the correlation of the errors of neighbouring rows where the device drifted
    while the rows were measured (`hwprof.predictors.drift`), else 0; mape_without_drift: what would be left, percent.
    processor: of that machine, in words.
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
    operators: Sequence[str] = ()
    hardware: str = ""
    drift: float = 0.0
    mape_without_drift: float = 0.0
    processor: str = ""


def _origin(record: Any, path: str | Path) -> Origin:
    """The record of a file. Raises InputError where a field is missing or of another type."""
    kinds: dict[str, Any] = {
        "str": str,
        "int": int,
        "float": int | float,
        "Mapping[str, Any] | None": dict | None,
        "Sequence[str]": list | tuple,
    }
    try:
        given = {f.name: record[f.name] for f in fields(Origin) if f.name in record}
        wrong = [f.name for f in fields(Origin) if not isinstance(given.get(f.name, f.default), kinds[str(f.type)])]
        if not wrong:
            return Origin(**{**given, "operators": tuple(given.get("operators", ()))})
        reason = f"{wrong[0]} is {given.get(wrong[0], 'missing')!r:.80}"
    except (AttributeError, TypeError) as error:
        reason = str(error)
    raise InputError(f"predictor file {path}: its origin is damaged: {reason}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted latency with the bounds of its interval, ms; all nan where it is not known. `doubt`: why it is not,
    or why the interval may not hold; empty where it does. `outside`: whether the network is unlike those that the
    predictor learned from."""

    network: str
    latency_ms: float
    low_ms: float
    high_ms: float
    outside: bool = False
    doubt: str = ""

    @property
    def is_known(self) -> bool:
        return math.isfinite(self.latency_ms)


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

    @property
    def takes_any_space(self) -> bool:
        """Whether it predicts the graphs of every space, and abstains by itself from those that it does not know."""
        return self.predictor.takes == "graph" and self.predictor.knows_its_domain

    @property
    def provenance(self) -> str:
        """How good it is, and of what: what it learned from, where, and its error on what was left out; empty where
        that is not known."""
        o = self.origin
        if o is None:
            return ""
        machine = f"{o.processor} ({o.hardware})" if o.processor else f"hardware {o.hardware}"
        where = f"{o.device} on {machine}" if o.hardware else o.device
        evidence = f" ({o.evidence})" if o.evidence else ""
        is_by_family = self.predictor.knows_its_domain and o.space  # a fitted one leaves out single networks
        left_out = "whole families of networks" if is_by_family else "networks"
        return (
            f"learned from {o.n} networks of {o.data}{evidence}, {where}; mean error on {left_out} left out: "
            f"{o.mape:.1f} % ({o.mape_low:.1f} to {o.mape_high:.1f} %)"
        )

    def require(self, space: str | None = None, device: str | None = None) -> None:
        """Raises InputError when it learned from another device than the given one, or from another space unless
        it takes any."""
        found = (self.origin.space, self.origin.device) if self.origin else ("", "")
        require_same("the predictor", found, (None if self.takes_any_space else space, device))

    def predict(
        self,
        networks: Sequence[Graph | Arch | str],
        coverage: float = 0.9,
        count: CountInstructions | None = None,
        *,
        execute: Execute | None = None,
        extrapolate: bool = False,
        lower_bound: bool = False,
        space: str | None = None,
    ) -> list[Prediction]:
        """networks: [n] graphs; architectures of its space, as choices or as text. Returns [n].

        space: of the architectures, for a predictor that `takes_any_space`, which predicts their graphs. coverage: the
        probability that the latency is inside the interval. count: counts instructions, for a predictor that learned
        from them (`hwprof.predict` provides it). execute: what the runtime executes of a graph, for a predictor that
        learned from that. extrapolate: also predict networks unlike those that were learned from. lower_bound: also
        predict the rest of networks with operators whose work is not known. Raises InputError for a network that the
        predictor cannot take, be it the only one.
        """
        known_space = self._space(space)
        rows, unfit = dict[int, Any](), dict[int, str]()
        for i, network in enumerate(networks):
            try:
                (rows[i],) = self._encoded(network, known_space, count, execute)
            except (InputError, UnknownOperatorError) as error:
                if len(networks) == 1 or not isinstance(network, Graph):
                    raise
                unfit[i] = str(error)
        found = {i: Prediction(_name(networks[i]), *_UNKNOWN, doubt=reason) for i, reason in unfit.items()}
        for i, (ms, low, high, own) in zip(rows, self._predicted(list(rows.values()), coverage), strict=True):
            doubt = own or self._doubt(networks[i], ms)
            known = doubt is None or (lower_bound if doubt.is_lower_bound else extrapolate)
            found[i] = Prediction(
                _name(networks[i]), *((ms, low, high) if known else _UNKNOWN),
                outside=doubt is not None and not doubt.is_lower_bound, doubt="" if doubt is None else doubt.reason,
            )  # fmt: skip
        return [found[i] for i in range(len(networks))]

    def _space(self, given: str | None) -> VariedSpace | None:
        """The space of architectures; None where nobody names it."""
        if given is not None and self.takes_any_space:
            return VariedSpace(given)
        return VariedSpace(self.origin.space, self.origin.variant) if self.origin and self.origin.space else None

    def _predicted(self, rows: Sequence[Any], coverage: float) -> Iterable[tuple[float, float, float, Doubt | None]]:
        """rows: [n], encoded networks. Yields the latency, the bounds of its interval, ms, and the doubt of each."""
        if not rows:
            return
        X = stacked(rows)
        try:
            predicted = self.predictor.predict(X), *self.predictor.predict_interval(X, coverage)
            doubts = self.predictor.doubts(X)
        except files.UNFIT as error:  # arrays of a file that fit neither each other nor the networks
            raise InputError(
                f"the predictor cannot predict these networks; is its file damaged? {one_line(error)}"
            ) from error
        for ms, low, high, doubt in zip(*predicted, doubts, strict=True):
            yield float(ms), float(low), float(high), doubt

    def _doubt(self, network: Graph | Arch | str, ms: float) -> Doubt | None:
        """About a network with operators, or a latency, that no network had which was learned from."""
        origin = self.origin
        if origin is None or self.predictor.knows_its_domain:
            return None
        known = set(origin.operators)
        if known and isinstance(network, Graph) and (new := sorted({kind(node) for node in network.nodes} - known)):
            return Doubt(f"it has {_listed(new)}, which no network had that was learned from")
        if not origin.least_ms / _FAR <= ms <= origin.most_ms * _FAR:
            return Doubt(
                f"its latency would be {ms:.4g} ms, and networks of {origin.least_ms:.4g} to {origin.most_ms:.4g} ms "
                "were learned from"
            )
        return None

    def _encoded(
        self, network: Graph | Arch | str, space: VariedSpace | None, count: CountInstructions | None,
        execute: Execute | None,
    ) -> Any:  # fmt: skip
        """Returns [1]: the network as the predictor takes it, with its instructions, or what the runtime executes, if
        it learned from those."""
        origin = self.origin
        if origin is None or origin.counted_on is None:
            taken = self._taken(network, space)
            if execute is not None and isinstance(taken, Graph):
                return self.predictor.encode_with(taken, execute)
            return self.predictor.encode([taken])
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


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def require_same(subject: str, found: tuple[str, str], wanted: tuple[str | None, str | None]) -> None:
    """found, wanted: names of a space and of a device. Raises InputError where they differ; None matches all."""
    for noun, name, other in zip(("space", "device"), found, wanted, strict=True):
        if other is not None and other != name:
            raise InputError(f"{subject} has the {noun} {name or 'unknown'!r}, not {other!r}")


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
        raise InputError(f"the predictor does not know the space of {network!r}; give --space, or .onnx files")
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
