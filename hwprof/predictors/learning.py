"""Learning from a data set: the predictor by its name, the networks as it takes them, the fit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwprof import plugins
from hwprof.data import dataset
from hwprof.data.dataset import Card, Dataset
from hwprof.data.encodings import KeptEncodings
from hwprof.encoders.operators import kind
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Execute
from hwprof.predictors.base import LatencyPredictor, stacked
from hwprof.predictors.counted import CountedNetworks, require_counting
from hwprof.predictors.drift import drift
from hwprof.predictors.left_out import left_out_error
from hwprof.predictors.trained import Origin, Trained, require_same
from hwprof.spaces.varied import VariedSpace

_PART = 50  # graphs in memory at once


def opened(data: Dataset | str | Path, space: str | None = None, device: str | None = None) -> Dataset:
    """Returns the data set, read from its folder if that is given. Raises InputError when its space or device is not
    the given one."""
    found = data if isinstance(data, Dataset) else dataset.read(data)
    require_same(f"data set {found.card.name}", (found.card.space, found.card.device_name), (space, device))
    return found


def learn(
    data: Dataset, name: str, *, n: int | None = None, seed: int = 0, sources: Sequence[LatencyPredictor] = (),
    counts: Dataset | None = None, further: Sequence[Dataset] = (), execute: Execute | None = None,
) -> Trained:  # fmt: skip
    """Fits the predictor `name` to the normalized latencies of `n` of the networks, drawn at random where there are
    more; to at most its `most_learned` unless told.

    counts: a data set of the instructions that the same networks execute on an emulated core, to learn from as well.
    further: data sets of the same device and hardware, of other networks; `n` is of all together. execute: what the
    runtime executes of a graph, for predictors that can learn from that. Raises InputError for an unknown predictor or
    data that cannot be learned from.
    """
    counted = CountedNetworks.of(counts, data) if counts else None
    _require_one_machine(data, further)
    space = None if further else space_of(data.card)
    predictor = make(name, space, seed, sources)
    if further and predictor.takes != "graph":
        raise InputError(f"predictor {name!r} learns architectures of one space; several data sets need physical, gcn "
                         "or kernels")  # fmt: skip
    most = predictor.most_learned
    sets = [counted.among(data) if counted else data, *further]
    sets = [drawn(data, n, most, seed) if not further else data for data in sets]
    y = np.concatenate([data.normalized_ms for data in sets])
    encodings, kinds = _encodings(sets, predictor, execute)
    X = stacked(encodings)
    if counted:
        require_counting(predictor, name)
        predictor.set_params(counted=True)
        X = np.hstack([X, counted.rows(sets[0])])
    if further and (n or most) < len(y):
        chosen = np.random.default_rng(seed).permutation(len(y))[: n or most]
        y, X = y[chosen], X[chosen] if isinstance(X, np.ndarray) else [X[i] for i in chosen.tolist()]
    predictor.fit(X, y)
    error, card = left_out_error(predictor.reported_errors), data.card
    found = (
        None if further else drift(_as_measured(predictor.errors_, sets[0], counted.among(data) if counted else data))
    )
    origin = Origin(
        name, " + ".join(data.card.name for data in sets), card.measurements_sha256, card.device_name,
        card.space if not further else "", card.variant if not further else "", card.evidence,
        len(y), float(y.min()), float(y.max()), error.mape, error.low, error.high,
        counted.device.to_record() if counted else None, counted.variant if counted else "", kinds, card.hardware,
        *((found.correlation, found.mape_without) if found else (0.0, 0.0)), str(card.machine.get("cpu", "")),
    )  # fmt: skip
    return Trained(predictor, origin)


def _as_measured(errors: np.ndarray, learned: Dataset, whole: Dataset) -> np.ndarray:
    """errors: [n], of the networks of `learned`, which are some of `whole`. Returns them in the order of the whole data
    set; none of a predictor that has no error of each network."""
    if len(errors) != len(learned.entries):
        return np.empty(0)
    place = {id(entry): i for i, entry in enumerate(whole.entries)}
    return errors[np.argsort([place[id(entry)] for entry in learned.entries])]


def calibrated(
    base: Trained, data: Dataset, *, n: int | None = None, seed: int = 0, further: Sequence[Dataset] = ()
) -> Trained:
    """The predictor `base` of another machine, fitted to `n` of the networks, drawn at random; to all unless told.
    Networks with operators whose work is not known are left out.

    Raises InputError for a predictor that is not a sum over kernels, or data that it cannot be fitted to.
    """
    predictor = copy.deepcopy(base.predictor)
    if not predictor.sums_kernels:
        name = base.origin.predictor if base.origin else type(predictor).__name__
        raise InputError(f"a predictor {name!r} cannot be fitted to another machine; --from takes one of kernels")
    _require_one_machine(data, further)
    sets = [data, *further]
    latencies_ms, rows = np.concatenate([one.normalized_ms for one in sets]), _encodings(sets, predictor)[0]
    known = [i for i, doubt in enumerate(predictor.doubts(rows)) if doubt is None or not doubt.is_lower_bound]
    if n is not None and not 1 <= n <= len(known):
        raise InputError(f"data set {data.card.name} has {len(known)} networks whose work is known, not {n}")
    chosen = [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:n]]
    y = latencies_ms[chosen]
    predictor.calibrate([rows[i] for i in chosen], y)
    error, card, origin = left_out_error(predictor.calibration_errors_), data.card, base.origin
    return Trained(
        predictor,
        Origin(
            "kernels", " + ".join([*(one.card.name for one in sets), f"from {origin.data if origin else 'unknown'}"]),
            card.measurements_sha256, card.device_name, "", "", card.evidence, len(y), float(y.min()), float(y.max()),
            error.mape, error.low, error.high, hardware=card.hardware,
            processor=str(card.machine.get("cpu", "")),
        ),
    )  # fmt: skip


def _require_one_machine(data: Dataset, further: Sequence[Dataset]) -> None:
    """Raises InputError for data sets of different devices or hardware."""
    for other in further:
        for noun, first, second in (
            ("device", data.card.device_name, other.card.device_name),
            ("hardware", data.card.hardware, other.card.hardware),
        ):
            if first != second:
                raise InputError(
                    f"data sets {data.card.name} and {other.card.name} are of different {noun}: {first or 'unknown'} "
                    f"and {second or 'unknown'}; learn from each by itself"
                )


def _encodings(
    sets: Sequence[Dataset], predictor: LatencyPredictor, execute: Execute | None = None
) -> tuple[list[Any], tuple[str, ...]]:
    """The networks of all sets as the predictor takes them, [n], and the kinds of their operators, sorted, where it has
    no other way to know what is unlike them. Each graph is built once, and none whose encoding is kept."""
    rows = [row for data in sets for row in _rows(data, predictor, execute)]
    return [row for row, _ in rows], tuple(sorted(frozenset().union(*(kinds for _, kinds in rows))))


def _rows(data: Dataset, predictor: LatencyPredictor, execute: Execute | None) -> list[tuple[Any, frozenset[str]]]:
    """Each network as the predictor takes it, and the kinds of its operators. Raises InputError where the space no
    longer builds the first network, also if that is kept."""
    names = _names(data)
    if not predictor.encoding or not all(names):
        return _encoded_anew(data, predictor, execute)
    kept = KeptEncodings.read(data.folder, predictor.encoding)
    next(data.each_graph(space_of(data.card)))
    missing = {name: entry for name, entry in zip(names, data.entries, strict=True) if name not in kept.rows}
    if missing:
        kept.keep(list(missing), _encoded_anew(replace(data, entries=tuple(missing.values())), predictor))
    return [kept.rows[name] for name in names]


def _names(data: Dataset) -> list[str]:
    """The name that each network is known by: its digest or, without one, its place in a space that hwprof brings; else
    nothing."""
    space = space_of(data.card)
    is_ours = space is not None and type(space.space).__module__.startswith("hwprof.")
    place = f"{data.card.space} {data.card.variant}"
    return [e.digest or (f"{place} {e.arch}" if is_ours and e.arch is not None else "") for e in data.entries]


def _encoded_anew(
    data: Dataset, predictor: LatencyPredictor, execute: Execute | None = None
) -> list[tuple[Any, frozenset[str]]]:
    space = space_of(data.card)
    rows: list[tuple[Any, frozenset[str]]] = []
    for part in parts(data):
        graphs = part.graphs(space) if predictor.takes == "graph" else None
        if graphs is None or predictor.knows_its_domain:
            kinds = [frozenset[str]()] * len(part.entries)
        else:
            kinds = [frozenset(map(kind, graph.nodes)) for graph in graphs]
        if graphs is not None and execute is not None:
            found = [row for graph in graphs for row in predictor.encode_with(graph, execute)]
        else:
            found = encoded(part, space, predictor, graphs)
        rows += zip(found, kinds, strict=True)
    return rows


def make(
    name: str, space: VariedSpace | None, seed: int = 0, sources: Sequence[LatencyPredictor] = ()
) -> LatencyPredictor:
    """Returns an unfitted predictor that knows the space, the seed and the predictors of other devices, as far as it
    has parameters for them.

    Raises InputError for an unknown name, an installed class that is not a LatencyPredictor, and for sources that it
    cannot use.
    """
    predictor = plugins.load("predictor", name)()
    if not isinstance(predictor, LatencyPredictor):
        wanted = f"{LatencyPredictor.__module__}.{LatencyPredictor.__name__}"
        raise InputError(f"predictor {name!r} is a {type(predictor).__name__}; derive it from {wanted}")
    known = predictor.get_params(deep=False)
    if sources and "sources" not in known:
        raise InputError(f"predictor {name!r} cannot learn from other devices; use --source with transfer")
    given = {"space": space, "seed": seed, "sources": list(sources)}
    predictor.set_params(**{key: value for key, value in given.items() if key in known})
    return predictor


def drawn(data: Dataset, n: int | None, most: int, seed: int) -> Dataset:
    """Returns the data set with `n` of its networks at random, or at most `most`. Raises InputError when it has fewer
    than `n`."""
    rows = len(data.entries)
    if n is not None and not 1 <= n <= rows:
        raise InputError(f"data set {data.card.name} has {rows} networks, not {n}")
    chosen = np.random.default_rng(seed).permutation(rows)[: n or most]
    return replace(data, entries=tuple(data.entries[i] for i in chosen)) if len(chosen) < rows else data


def space_of(card: Card) -> VariedSpace | None:
    """Returns the space of the data set's networks, or None. Raises InputError for a space that is not installed."""
    return VariedSpace(card.space, card.variant) if card.space else None


def parts(data: Dataset) -> Iterator[Dataset]:
    """Yields the data set in slices whose graphs fit into memory."""
    for start in range(0, len(data.entries), _PART):
        yield replace(data, entries=data.entries[start : start + _PART])


def encoded(
    data: Dataset, space: VariedSpace | None, predictor: LatencyPredictor, graphs: Sequence[Graph] | None = None
) -> Any:
    """graphs: [n], those of the data set, if they are built already. Returns [n]: the networks as the predictor takes
    them, encoded. Raises InputError where it takes architectures and the networks have none."""
    if predictor.takes == "graph":
        return predictor.encode(data.graphs(space) if graphs is None else graphs)
    if space is None:
        raise InputError(
            f"{type(predictor).__name__} takes architectures; the networks of data set {data.card.name} do not "
            "belong to a search space: use physical or gcn"
        )
    return predictor.encode(data.archs)
