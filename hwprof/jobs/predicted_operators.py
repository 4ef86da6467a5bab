"""The predicted time of a network by its operators, by what the runtime inserts between them, and by its start: all of
them add up to the prediction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hwprof.encoders.kernels import Kernels, main_nodes
from hwprof.graph import Graph
from hwprof.interfaces import Execute
from hwprof.predictors.kernels import KernelPredictor
from hwprof.report.quantity import plural

_INSERTED = " inserted"  # ends the kind of such a kernel
_START = "start of an inference"


@dataclass(frozen=True, slots=True)
class PredictedOperator:
    """The predicted time of one operator, ms, and its share of the network's; nan where its work is not known.
    inserted: no operator of the network: what the runtime inserts, such as a change of layout, or the start of an
    inference."""

    network: str
    operator: str
    op: str
    ms: float
    share: float
    inserted: bool = False


def operators_of(predictor: KernelPredictor, graph: Graph, execute: Execute | None = None) -> list[PredictedOperator]:
    """The longest first, those without known work before them. execute: what the runtime executes of the graph, for a
    predictor that learned from that."""
    (encoded,) = predictor.encode([graph]) if execute is None else predictor.encode_with(graph, execute)
    who, kernels = predictor.chosen(encoded)
    rows = [*_of_nodes(who, kernels, graph), *_inserted(who, kernels, graph)]
    total_ms = float(np.nansum([row.ms for row in rows]))
    rows.sort(key=lambda row: -np.nan_to_num(row.ms, nan=np.inf))
    return [replace(row, share=row.ms / total_ms) for row in rows]


def _of_nodes(who: KernelPredictor, kernels: Kernels, graph: Graph) -> Iterator[PredictedOperator]:
    """The time of a kernel is that of the operators which it is for; what it computes as well takes none of its own."""
    node_ms = np.zeros(len(graph.nodes))
    for place, (nodes, count) in enumerate(zip(kernels.nodes, kernels.counts.tolist(), strict=True)):
        if nodes:
            main = main_nodes(graph, nodes)
            node_ms[main] += count * _kernel_ms(who, kernels, place) / len(main)
    node_ms[list(kernels.missing_nodes)] = np.nan
    for node, ms in zip(graph.nodes, node_ms.tolist(), strict=True):
        yield PredictedOperator(graph.name, node.label, node.op, ms, np.nan)


def _inserted(who: KernelPredictor, kernels: Kernels, graph: Graph) -> Iterator[PredictedOperator]:
    """Alike ones are one row."""
    for place, (kind, nodes, count) in enumerate(
        zip(kernels.kinds, kernels.nodes, kernels.counts.tolist(), strict=True)
    ):
        if not nodes:
            op, ms = kind.removesuffix(_INSERTED), count * _kernel_ms(who, kernels, place)
            yield PredictedOperator(
                graph.name, f"inserted, {plural(int(count), 'time')}", op, ms, np.nan, inserted=True
            )
    yield PredictedOperator(graph.name, _START, "", _start_ms(who, kernels), np.nan, inserted=True)


def _kernel_ms(who: KernelPredictor, kernels: Kernels, place: int) -> float:
    """The time of one kernel: of a network that consists of it, without the start."""
    return float(who.predict([_only(kernels, slice(place, place + 1))])[0]) - _start_ms(who, kernels)


def _start_ms(who: KernelPredictor, kernels: Kernels) -> float:
    return float(who.predict([_only(kernels, slice(0, 0))])[0])


def _only(kernels: Kernels, part: slice) -> Kernels:
    """A network of some of the kernels, each once, whose weights are in the caches as far as those of the whole are."""
    return Kernels(
        kernels.family, kernels.kinds[part], np.ones(len(kernels.kinds[part])), kernels.features[part],
        kernels.amounts[part], kernels.nodes[part], weight_bytes=kernels.weight_bytes,
    )  # fmt: skip
