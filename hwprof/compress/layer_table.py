"""The latency table of one network's layers over the choices of a method, measured as it is read.

Rows are measured when choices first need them, and kept in the store: a knapsack reads few of the products of all
channels. Sums are corrected by whole networks that were measured. Choices that are still being learned get a latency
with a gradient, linear between those of the options around them (`hwprof.compress.soft`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from torch import Tensor

from hwprof.compress.choices import as_before_value, chosen_graph
from hwprof.compress.method import Choices, Options, SoftChoices
from hwprof.compress.soft import Interpolated, Points
from hwprof.errors import NotConvergedError
from hwprof.graph import Graph
from hwprof.latency_table import LatencyTable, bits, build, operators
from hwprof.latency_table.operators import Attribute, Operator
from hwprof.measurement import Measurement

Measure: TypeAlias = Callable[[Sequence[Graph]], Sequence[Measurement]]
Key: TypeAlias = tuple[str, tuple[tuple[str, Attribute], ...]]
MOST_MAPE = 25.0  # above which sums would choose the wrong layers
_CHECKED = 6  # networks of the check
_FEWEST_CHECKED = 4


class LayerTable:
    """A `Cost`. `measure` takes graphs to measurements. options: those of the method. only_variant: that of a device
    whose runtime runs no other."""

    def __init__(self, graph: Graph, measure: Measure, options: Options, only_variant: str = "") -> None:
        self._graph, self._measure, self._options, self._only_variant = graph, measure, options, only_variant
        self._rows: dict[Key, tuple[Operator, Measurement]] = {}
        self._table: LatencyTable | None = None
        self._interpolated = Interpolated(self.latency_ms, self._points)

    def __call__(self, choices: SoftChoices) -> Tensor:
        """The latency of the whole network with the choices, ms, a scalar; differentiable in soft ones. Raises
        InputError for a soft choice of a layer without such options."""
        return self._interpolated(choices)

    def _points(self, layer: str, name: str) -> Points:
        values = [getattr(choice, name) for choice in self._options.get(layer, ())]
        chosen = dict.fromkeys(value for value in values if value is not None)
        before = as_before_value(self._graph, layer, name)
        return [*([] if before is None else [(before, None)]), *((float(value), value) for value in chosen)]

    def latency_ms(self, choices: Sequence[Choices]) -> np.ndarray:
        """ms, [n], of the whole network with each of the choices. Raises the error of the first operator that could
        not be measured."""
        return self._with_rows(graphs := [self._chosen(c) for c in choices]).network_ms(graphs)

    def check(self, seed: int) -> str:
        """Corrects the sums by whole networks with random choices, and says how well they fit; with fewer than four
        different networks the sums are not corrected.

        Raises NotConvergedError where the corrected sums are too far off to choose by.
        """
        graphs = self._samples(seed)
        table = self._with_rows(graphs)
        if len(graphs) < _FEWEST_CHECKED:
            return f"sums of the table are not corrected: there are only {len(graphs)} different networks"
        measured = [m.normalized.median for m in self._measure(graphs)]
        checked = build.check(table, graphs, measured)
        self._table = checked.table
        error = checked.table.correction.mape * 100 if checked.table.correction else checked.raw_mape
        if not error <= MOST_MAPE:
            raise NotConvergedError(
                f"the sums of the layer table are {error:.0f} % from {len(graphs)} measured networks (at most "
                f"{MOST_MAPE:.0f} % is allowed), so it would choose the wrong layers; measure on a quiet machine, or "
                "raise --budget"
            )
        return f"sums of the table are {error:.1f} % from {len(graphs)} measured networks"

    def _samples(self, seed: int) -> list[Graph]:
        """Different networks: the largest, the smallest and random ones."""
        rng, options = np.random.default_rng(seed), self._options
        smallest = {layer: some[-1] for layer, some in options.items()}
        drawn = [{layer: some[rng.integers(len(some))] for layer, some in options.items()} for _ in range(4 * _CHECKED)]
        graphs = {graph.digest: graph for graph in map(self._chosen, [{}, smallest, *drawn])}
        return list(graphs.values())[:_CHECKED]

    def _chosen(self, choices: Choices) -> Graph:
        return chosen_graph(self._graph, choices, self._only_variant)

    def _with_rows(self, graphs: Sequence[Graph]) -> LatencyTable:
        """The table after the missing rows of the graphs were measured."""
        missing = [
            (operator, alone) for operator, alone in operators.distinct(graphs) if operator.key not in self._rows
        ]
        if missing or self._table is None:
            measured = self._measure([alone for _, alone in missing])
            self._rows |= {o.key: (o, m) for (o, _), m in zip(missing, measured, strict=True)}
            rows = [(o.op, o.attributes, m) for o, m in self._rows.values()]
            correction = self._table.correction if self._table else None
            self._table = build.build_from_measurements(rows, bits.NUMERIC).with_correction(correction)
        return self._table
