"""The latency table of one network's layers over the choices of a method, measured as it is read.

Rows are measured when choices first need them, and kept in the store: a knapsack reads few of the products of all
channels. Sums are corrected by whole networks that were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from hwprof.compress.choices import chosen_graph
from hwprof.compress.method import Choices, Options
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
    """A `Cost`. `measure` takes graphs to measurements; `deployed` is the change that the device's networks get."""

    def __init__(self, graph: Graph, measure: Measure, deployed: Callable[[Graph], Graph]) -> None:
        self._graph, self._measure, self._deployed = graph, measure, deployed
        self._rows: dict[Key, tuple[Operator, Measurement]] = {}
        self._table: LatencyTable | None = None

    def __call__(self, choices: Choices) -> Tensor:
        """The latency of the whole network with the choices, ms, a scalar."""
        return torch.tensor(float(self.latency_ms([choices])[0]))

    def latency_ms(self, choices: Sequence[Choices]) -> np.ndarray:
        """ms, [n], of the whole network with each of the choices. Raises the error of the first operator that could
        not be measured."""
        return self._with_rows(graphs := [self._chosen(c) for c in choices]).network_ms(graphs)

    def check(self, options: Options, seed: int) -> str:
        """Corrects the sums by whole networks with random choices, and says how well they fit; with fewer than four
        different networks the sums are not corrected.

        Raises NotConvergedError where the corrected sums are too far off to choose by.
        """
        graphs = self._samples(options, seed)
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

    def _samples(self, options: Options, seed: int) -> list[Graph]:
        """Different networks: the largest, the smallest and random ones."""
        rng = np.random.default_rng(seed)
        smallest = {layer: some[-1] for layer, some in options.items()}
        drawn = [{layer: some[rng.integers(len(some))] for layer, some in options.items()} for _ in range(4 * _CHECKED)]
        graphs = {graph.digest: graph for graph in map(self._chosen, [{}, smallest, *drawn])}
        return list(graphs.values())[:_CHECKED]

    def _chosen(self, choices: Choices) -> Graph:
        return self._deployed(chosen_graph(self._graph, choices))

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
