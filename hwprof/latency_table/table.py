"""`LatencyTable`: latencies of operators or blocks by their attributes, on one device.

2026-11-20, why `__call__` never imports torch by itself. A table must load and answer where torch is not
installed, and must be differentiable where it is. Arguments that are numbers or arrays take the NumPy
path; anything else is a tensor, so torch is loaded already, and `_differentiable` imports
`latency_table.differentiable`, the one module here that names torch. The alternative was a table class with a
torch subclass: every loader would have to be told which one to build.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Self, overload

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.files import reading
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Takes
from hwprof.latency_table import formats, json_file, operators
from hwprof.latency_table.bits import ACTIVATIONS, WEIGHTS
from hwprof.latency_table.correction import Correction
from hwprof.latency_table.operators import Attribute, Operator
from hwprof.latency_table.rows import CHOICE, Content, Metadata, Row, refuse, title
from hwprof.latency_table.staircase import Axis, NumericAttribute, Staircase


@dataclass(frozen=True)
class LatencyTable(Content):
    """The rows of one device, and the latencies of operators and networks that follow from them. Latency is a staircase
    along the `numeric` attributes.

    Raises InputError for a latency that is not positive, two rows of one key, or an attribute of `numeric`
    that is not a number. A key that is missing or out of range raises too; nothing is extrapolated.
    """

    _staircases: dict[str, list[tuple[dict[str, Attribute], Staircase]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.rows, {a.name for a in self.numeric})
        object.__setattr__(self, "_staircases", _by_operator(self.rows, {a.name: a for a in self.numeric}))

    # -- files ---------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Reads a file that `save` wrote: .json or .parquet. Raises InputError."""
        table_format = _own_format(path)
        with reading(f"latency table {path}"):
            held = table_format.read(Path(path))
            return cls(held.metadata, held.rows, held.numeric, held.correction)

    def save(self, path: str | Path) -> None:
        """Writes a .json or .parquet file. Raises InputError for another ending."""
        _own_format(path).write(self, Path(path))

    def to(self, name: str, path: str | Path) -> None:
        """Writes another tool's format. Warns about everything that the format cannot hold; raises InputError
        for an unknown format or a row that has no place in it."""
        lost = formats.load(name).write(self, Path(path))
        if lost:
            warnings.warn(f"{name} cannot hold: {'; '.join(lost)}", stacklevel=2)

    @classmethod
    def read(
        cls,
        name: str,
        path: str | Path,
        metadata: Metadata,
        *,
        unit: str | None = None,
        numeric: Sequence[NumericAttribute] = (),
        allow_pickle: bool = False,
    ) -> LatencyTable:
        """Reads another tool's format. `metadata` holds the facts that the file does not state; formats that state no
        unit of time need `unit`. Raises InputError, naming the keys, for latencies that are not positive."""
        table_format, source = formats.load(name), formats.Source(metadata, unit, allow_pickle)
        with reading(f"latency table {path}"):
            return cls(metadata, tuple(table_format.read(Path(path), source)), tuple(numeric))

    # -- one row -------------------------------------------------------------------------------------

    def lookup(self, op: str, **key: Attribute) -> float:
        """The latency, ms, of the row with exactly these attributes. An attribute that is left out must have a single
        value in the table. Raises InputError for a key that is missing or not unique."""
        if (ms := self._by_key.get((op, tuple(sorted(key.items()))))) is not None:
            return ms
        staircase, values = self._resolve(op, key)
        point = tuple(float(v) for v in values)
        if point not in staircase.ms:
            raise InputError(f"the table of {self.metadata.device} holds no {title(op, key)}")
        return staircase.ms[point]

    @overload
    def __call__(self, networks: Sequence[Graph | Arch], /) -> np.ndarray: ...
    @overload
    def __call__(self, networks: None = None, /, *, op: str, **key: Any) -> Any: ...
    def __call__(self, networks: Sequence[Graph | Arch] | None = None, /, **key: Any) -> Any:
        """Given networks: their end-to-end latency, ms, [n_networks] (see `network_ms`).

        Given `op=..., **attributes`: the time, ms, of the step on which the numeric attributes are, in the shape of
        these, broadcast together. Numbers give a float, arrays an array, and tensors a tensor, which is differentiable:
        its gradient is the secant of the step.
        Raises InputError for a key that is missing, out of range or not unique.
        """
        if networks is not None:
            return self.network_ms(networks)
        staircase, values = self._resolve(key.pop("op"), key)
        if all(isinstance(v, int | float | np.ndarray | np.number) for v in values):
            ms = staircase.evaluate([np.asarray(v, float) for v in values])
            return ms if ms.ndim else float(ms)
        return _differentiable().step_ms(staircase, values)

    def expected(self, probs: Any, keys: Sequence[Mapping[str, Attribute]]) -> Any:
        """probs: [..., n_keys], an array or a tensor; keys: one mapping (with `op`) per choice.
        Returns [...]: the expected latency, ms. Differentiable for a tensor."""
        ms = np.array([self.lookup(**key) for key in keys])  # type: ignore[arg-type]  # `op` is a str in every key
        if not isinstance(probs, np.ndarray | list | tuple):
            return _differentiable().expected_ms(probs, ms)
        weights = np.asarray(probs, float)
        if weights.shape[-1:] != ms.shape:
            raise InputError(f"probabilities of shape {weights.shape} do not fit {len(ms)} keys")
        return weights @ ms

    def steps(self, attribute: str, op: str, **key: Attribute) -> tuple[np.ndarray, np.ndarray]:
        """The staircase along one numeric attribute: grid points [n] and ms [n], the rest held at `key`."""
        numeric = [a.name for a in self.numeric]
        if attribute not in numeric:
            raise InputError(
                f"{attribute!r} is not a numeric attribute of the table; those are: {', '.join(numeric) or 'none'}"
            )
        staircase, values = self._resolve(op, {**key, attribute: math.nan})
        names = [a.attribute.name for a in staircase.axes]
        i = names.index(attribute)
        held = [float(v) for v in values]
        measured = sorted(p for p in staircase.ms if all(p[j] == held[j] for j in range(len(p)) if j != i))
        if not measured:
            raise InputError(f"the table of {self.metadata.device} holds no {title(op, key)}")
        return np.array([p[i] for p in measured]), np.array([staircase.ms[p] for p in measured])

    # -- whole networks ------------------------------------------------------------------------------

    def sum_ms(self, network: Graph | Arch) -> float:
        """The plain sum, ms, of a network's rows: of its operators, or of its choices for an architecture.

        Raises InputError for a row that is missing, or an architecture of another length.
        """
        if isinstance(network, Graph):
            return sum(self.lookup(o.op, **self._attributes(o)) for o in operators.of(network))
        if self.holds_choices and len(network) != self._positions:
            raise InputError(f"the table holds choices at {self._positions} positions; {len(network)} were given")
        return sum(self.lookup(CHOICE, position=i, choice=int(c)) for i, c in enumerate(network))

    def network_ms(self, networks: Sequence[Graph | Arch]) -> np.ndarray:
        """End-to-end latency, ms, [n_networks]: corrected where the table holds a correction, else the plain sum."""
        return np.array([self._end_to_end_ms(network) for network in networks], float)

    def network_quantile_ms(self, networks: Sequence[Graph | Arch], confidence: float) -> np.ndarray:
        """The latencies, ms, [n_networks], that each network stays below with this probability.

        Raises InputError without a correction, or beyond the probabilities that it knows.
        """
        if self.correction is None:
            raise InputError("the table holds no residual quantiles; run hwprof lut check on measured networks first")
        return self.network_ms(networks) * (1 + self.correction.residual(confidence))

    def choice_ms(self, choices: Sequence[int]) -> list[np.ndarray]:
        """For each position of a space the times, ms, [n_choices], of its choices. Raises InputError when one is
        missing."""
        return [
            np.array([self.lookup(CHOICE, position=i, choice=c) for c in range(options)])
            for i, options in enumerate(choices)
        ]

    @property
    def holds_choices(self) -> bool:
        return CHOICE in self._staircases

    @property
    def takes(self) -> Takes:
        """The kind of networks that it takes: architectures where it holds choices, graphs where it holds operators."""
        return "arch" if self.holds_choices else "graph"

    def with_correction(self, correction: Correction | None) -> Self:
        return replace(self, correction=correction)

    @property
    def calibration(self) -> Correction | None:
        """The name of `correction` until 0.1."""
        return self.correction

    with_calibration = with_correction  # its name until 0.1

    # -- inside --------------------------------------------------------------------------------------

    @cached_property
    def _by_key(self) -> dict[tuple[str, tuple[tuple[str, Attribute], ...]], float]:
        return {(row.op, row.attributes): row.ms for row in self.rows}

    def _attributes(self, operator: Operator) -> dict[str, Attribute]:
        """The operator's attributes; without bit widths where the table was written before rows had them."""
        if self._has_bits or operator.nodes.is_quantized:
            return operator.attributes
        return {name: value for name, value in operator.attributes.items() if name not in (WEIGHTS, ACTIVATIONS)}

    @cached_property
    def _has_bits(self) -> bool:
        return any(name in (WEIGHTS, ACTIVATIONS) for row in self.rows for name, _ in row.attributes)

    @cached_property
    def _positions(self) -> int:
        return len({dict(row.attributes)["position"] for row in self.rows if row.op == CHOICE})

    def _end_to_end_ms(self, network: Graph | Arch) -> float:
        if self.correction is None:
            return self.sum_ms(network)
        if self.correction.live and isinstance(network, Graph):
            network = network.live()
        total = self.sum_ms(network)
        pairs = operators.pairs(network) if self.correction.patterns and isinstance(network, Graph) else None
        return self.correction.end_to_end_ms(total, pairs)

    def _resolve(self, op: str, key: Mapping[str, Any]) -> tuple[Staircase, list[Any]]:
        """The staircase that the key names, and the key's value on each of its axes."""
        found = self._staircases.get(op)
        if found is None:
            raise InputError(
                f"the table of {self.metadata.device} holds no operator {op!r}; {_known(self._staircases)}"
            )
        numeric = {a.name for a in self.numeric}
        for name, value in key.items():
            if name not in numeric and not isinstance(value, str | int | float | np.number):
                raise InputError(f"{name} is not a numeric attribute of the table: pass a number, not {_kind(value)}")
        fitting = [staircase for exact, staircase in found if _fits(exact, staircase, key)]
        if not fitting:
            raise InputError(self._missing(op, key))
        if len(fitting) > 1:
            telling = _telling_apart([exact for exact, staircase in found if staircase in fitting])
            raise InputError(f"{_asked(op, key)} fits {len(fitting)} rows; also give: {', '.join(telling)}")
        (staircase,) = fitting
        return staircase, [_value(axis, key, op) for axis in staircase.axes]

    def _missing(self, op: str, key: Mapping[str, Any]) -> str:
        missing = f"the table of {self.metadata.device} holds no {_asked(op, key)}"
        for name, value in key.items():
            known = {exact[name] for exact, _ in self._staircases[op] if name in exact}
            axes = any(a.attribute.name == name for _, staircase in self._staircases[op] for a in staircase.axes)
            if value not in known and not axes:
                return f"{missing}; {name}: {_known(known)}"
        return f"{missing}; this combination was not measured"


def _own_format(path: str | Path) -> ModuleType:
    suffix = Path(path).suffix
    if suffix not in (".json", ".parquet"):
        raise InputError(
            f"a latency table is a .json or .parquet file, not {str(path)!r}; other formats: LatencyTable.read"
        )
    if suffix == ".json":
        return json_file
    with plugins.optional_library("a table in Parquet"):
        from hwprof.latency_table import parquet_file
    return parquet_file


def _differentiable() -> ModuleType:
    with plugins.optional_library("a latency of tensors"):
        from hwprof.latency_table import differentiable
    return differentiable


def _check(rows: Sequence[Row], numeric: set[str]) -> None:
    if not rows:
        raise InputError("a latency table needs at least one row")
    refuse("latencies must be positive numbers; these are not", [
        f"{r.title}: {r.ms:g} ms" for r in rows if not (r.ms > 0 and math.isfinite(r.ms))
    ])  # fmt: skip
    seen: set[tuple[str, tuple[tuple[str, Attribute], ...]]] = set()
    repeated = []
    for row in rows:
        key = (row.op, row.attributes)
        if key in seen:
            repeated.append(row.title)
        seen.add(key)
    refuse("rows must differ in their keys; these do not", repeated)
    refuse("a numeric attribute must be a number", [
        r.title for r in rows for name, v in r.attributes if name in numeric and not isinstance(v, int | float)
    ])  # fmt: skip


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _asked(op: str, key: Mapping[str, Any]) -> str:
    """The title of a key, without the axis that `LatencyTable.steps` leaves open."""
    return title(op, {n: v for n, v in key.items() if not (isinstance(v, float) and math.isnan(v))})


def _telling_apart(keys: Sequence[Mapping[str, Attribute]]) -> list[str]:
    """The names whose values are not the same in all keys, sorted."""
    return sorted(n for n in {n for key in keys for n in key} if len({key.get(n) for key in keys}) > 1)


def _known(values: Iterable[Attribute]) -> str:
    texts = [str(v) for v in sorted(values, key=lambda v: (isinstance(v, str), v))]
    return f"known: {', '.join(texts[:20]) or 'none'}{', ...' if len(texts) > 20 else ''}"


def _by_operator(
    rows: Iterable[Row], numeric: Mapping[str, NumericAttribute]
) -> dict[str, list[tuple[dict[str, Attribute], Staircase]]]:
    members: dict[tuple[str, tuple[tuple[str, Attribute], ...], tuple[str, ...]], dict[tuple[float, ...], float]] = {}
    for row in rows:
        exact = tuple((k, v) for k, v in row.attributes if k not in numeric)
        varying = [(k, float(v)) for k, v in row.attributes if k in numeric]
        names, values = tuple(k for k, _ in varying), tuple(v for _, v in varying)
        members.setdefault((row.op, exact, names), {})[values] = row.ms
    found: dict[str, list[tuple[dict[str, Attribute], Staircase]]] = {}
    for (op, exact, names), ms in members.items():
        axes = tuple(Axis(numeric[name], tuple(sorted({v[i] for v in ms}))) for i, name in enumerate(names))
        found.setdefault(op, []).append((dict(exact), Staircase(title(op, dict(exact)), axes, ms)))
    return found


def _fits(exact: Mapping[str, Attribute], staircase: Staircase, key: Mapping[str, Any]) -> bool:
    axes = {a.attribute.name for a in staircase.axes}
    return all(name in axes or (name in exact and exact[name] == value) for name, value in key.items())


def _value(axis: Axis, key: Mapping[str, Any], op: str) -> Any:
    name = axis.attribute.name
    if name in key:
        return key[name]
    if len(axis.points) > 1:
        raise InputError(f"{op}: give {name}; the table holds {len(axis.points)} values of it")
    return axis.points[0]
