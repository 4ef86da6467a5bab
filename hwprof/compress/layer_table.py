"""The latency table of one network's layers over the choices of a method, measured as it is read.

Rows are measured when choices first need them, and kept in the store: a knapsack reads few of the products of all
channels. Sums are corrected by whole networks that were measured. Where they mislead nevertheless, latencies are
learned from whole networks alone. Where the choices make few networks, each of them is measured, and in pairs with the
network itself where its latency alone is not known well. Choices that are still being learned get a latency with a
gradient, linear between those of the options around them (`hwprof.compress.soft`).

2026-11-29, why sums mislead on a CPU, and why not often. A residual network for 28 x 28 pixels takes 0.24 ms in ONNX
Runtime, and its rows add up to 0.46: each operator alone pays for the call and for converting its input to the layout
of the convolutions, and a Relu that is fused costs nothing in the network. All that is in proportion to the number of
operators, which the choices do not change, so that corrected sums were 2 % off on 16 networks. They were 48 % off while
others used the machine, when times were corrected by anchors in wall time alone. Without rows, 8 networks are as good
as 6 networks with rows, and noise matters less, so that they are the way out where sums mislead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from torch import Tensor

from hwprof.compress.choice import Choices, Options
from hwprof.compress.choices import as_before_value, chosen_graph
from hwprof.compress.method import SoftChoices
from hwprof.compress.soft import Interpolated, Points
from hwprof.data.result import Estimate, estimate, measured_latency
from hwprof.errors import InputError, NotConvergedError
from hwprof.graph import Graph
from hwprof.latency_table import LatencyTable, bits, build, operators
from hwprof.latency_table.operators import Attribute, Operator
from hwprof.measurement import Measurement, Status
from hwprof.predictors.physical import PhysicalPredictor

Measure: TypeAlias = Callable[[Sequence[Graph], str], Sequence[Measurement]]  # of graphs, which are rows or networks
Paired: TypeAlias = Callable[[Graph], Estimate | None]  # by a paired measurement with the network itself
Key: TypeAlias = tuple[str, tuple[tuple[str, Attribute], ...]]
MOST_MAPE = 25.0  # above which sums would choose the wrong layers
_USELESS = 100.0  # %
_CHECKED = 6  # networks of the check
_FEW = 8  # networks that are all measured
_LEARNED = 16  # networks that latencies are learned from where sums mislead
_FEWEST_LEARNED = 8


class LayerTable:
    """A `Cost`. `measure` takes graphs to measurements. options: those of the method. only_variant: that of a device
    whose runtime runs no other. paired: measures a network in pairs with the network itself, where that can be done."""

    def __init__(
        self, graph: Graph, measure: Measure, options: Options, only_variant: str = "",
        paired: Paired = lambda _graph: None,
    ) -> None:  # fmt: skip
        self._graph, self._measure, self._options, self._only_variant = graph, measure, options, only_variant
        self._paired = paired
        self._rows: dict[Key, tuple[Operator, Measurement]] = {}
        self._table: LatencyTable | None = None
        self._seed = 0
        self._learned: PhysicalPredictor | None = None  # instead of the table, where its sums mislead
        self._whole_ms: dict[str, float] = {}  # by digest, instead of the table, where there are few networks
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
        graphs = [self._chosen(c) for c in choices]
        if self._are_few:
            return self._measured_whole(graphs)
        if self._learned is None and (corrected_ms := _positive_ms(self._with_rows(graphs), graphs)) is not None:
            return corrected_ms
        if self._learned is None:  # these networks are too unlike those that corrected the sums
            self._learn(self._seed, _USELESS, "")
        assert self._learned is not None
        return self._learned.predict(graphs)

    def check(self, seed: int) -> str:
        """Corrects the sums by whole networks with random choices, and says how well they fit.

        Where the options make few networks, all of them are measured in place of rows. Where the sums mislead,
        latencies are learned from more whole networks instead. Raises NotConvergedError where these are too far off to
        choose by, too.
        """
        if self._are_few:
            every = [dict(zip(self._options, some, strict=True)) for some in itertools.product(*self._options.values())]
            self._measured_whole([self._chosen(choices) for choices in every])
            return f"all {len(self._whole_ms)} networks that the choices make are measured"
        self._seed = seed
        graphs = self._samples(seed, _CHECKED)
        table = self._with_rows(graphs)
        measured = self._measured(graphs, "networks")
        corrected, error = _corrected(table, graphs, measured)
        if error <= MOST_MAPE:
            self._table = corrected
            return f"sums of the table are {error:.1f} % from {len(graphs)} measured networks"
        return self._learn(seed, error, _state(measured))

    @property
    def _are_few(self) -> bool:
        return math.prod(map(len, self._options.values())) <= _FEW

    def _measured_whole(self, graphs: Sequence[Graph]) -> np.ndarray:
        """ms, [n]; each network is measured once. Raises NotConvergedError where the latency of one is not known."""
        missing = {graph.digest: graph for graph in graphs if graph.digest not in self._whole_ms}
        if missing:
            self._whole_ms |= dict(zip(missing, self._known_ms(list(missing.values())), strict=True))
        return np.array([self._whole_ms[graph.digest] for graph in graphs])

    def _known_ms(self, graphs: Sequence[Graph]) -> list[float]:
        measured = self._measured(graphs, "networks")
        found = [estimate(m) for m in measured]
        if not _half_width(found) <= MOST_MAPE:
            in_pairs = [self._paired(graph) for graph in graphs]
            found = in_pairs if _half_width(in_pairs) < _half_width(found) else found
        if not (widest := _half_width(found)) <= _USELESS:
            raise NotConvergedError(
                f"latencies of the {len(graphs)} networks that the choices make are known to {widest:.0f} % (at most "
                f"{_USELESS:.0f} % is allowed), so they would mislead{_state(measured)}; measure on a quiet machine, "
                "or raise --budget"
            )
        return [one.median for one in found if one is not None]

    def _learn(self, seed: int, sums_error: float, state: str) -> str:
        graphs = self._samples(seed, _LEARNED)
        misled = f"sums of the table are {sums_error:.0f} % from {_CHECKED} measured networks, so it would mislead"
        if len(graphs) < _FEWEST_LEARNED:
            raise NotConvergedError(f"{misled}{state}; measure on a quiet machine, or raise --budget")
        ms = [m.normalized.median for m in self._measured(graphs, "networks")]
        learned = PhysicalPredictor(seed=seed).fit(graphs, ms)
        error = 100 * float(np.abs(np.expm1(-learned.errors_)).mean())
        if not error <= MOST_MAPE:
            raise NotConvergedError(
                f"{misled}; what is learned from {len(graphs)} measured networks is {error:.0f} % off for others (at "
                f"most {MOST_MAPE:.0f} % is allowed){state}; measure on a quiet machine, or raise --budget"
            )
        self._learned = learned
        return f"{misled}: latencies are learned from {len(graphs)} measured networks, {error:.1f} % off for others"

    def _samples(self, seed: int, count: int) -> list[Graph]:
        """Different networks: the largest, the smallest and random ones."""
        rng, options = np.random.default_rng(seed), self._options
        smallest = {layer: some[-1] for layer, some in options.items()}
        drawn = [{layer: some[rng.integers(len(some))] for layer, some in options.items()} for _ in range(4 * count)]
        graphs = {graph.digest: graph for graph in map(self._chosen, [{}, smallest, *drawn])}
        return list(graphs.values())[:count]

    def _chosen(self, choices: Choices) -> Graph:
        return chosen_graph(self._graph, choices, self._only_variant)

    def _with_rows(self, graphs: Sequence[Graph]) -> LatencyTable:
        """The table after the missing rows of the graphs were measured."""
        missing = [
            (operator, alone) for operator, alone in operators.distinct(graphs) if operator.key not in self._rows
        ]
        if missing or self._table is None:
            measured = self._measured([alone for _, alone in missing], "rows")
            self._rows |= {o.key: (o, m) for (o, _), m in zip(missing, measured, strict=True)}
            rows = [(o.op, o.attributes, m) for o, m in self._rows.values()]
            correction = self._table.correction if self._table else None
            self._table = build.build_from_measurements(rows, bits.NUMERIC).with_correction(correction)
        return self._table

    def _measured(self, graphs: Sequence[Graph], unit: str) -> list[Measurement]:
        """Raises NotConvergedError for one without a valid latency."""
        measured = list(self._measure(graphs, unit))
        invalid = [graph.name for graph, m in zip(graphs, measured, strict=True) if measured_latency(m) is None]
        if invalid:
            raise NotConvergedError(
                f"{len(invalid)} of {len(graphs)} {unit} of the layer table have no valid latency ({invalid[0]!r} is "
                "the first): something disturbed the machine; see hwprof doctor, and measure again"
            )
        return measured


def _corrected(
    table: LatencyTable, graphs: Sequence[Graph], measured: Sequence[Measurement]
) -> tuple[LatencyTable, float]:
    """The table with the correction that fits the networks best, and its error for others, %: at least 100 where a
    larger sum would make a network faster, or a network has no positive latency."""
    checked = build.check(table, graphs, [m.normalized.median for m in measured])
    correction = checked.table.correction
    is_useless = correction is None or correction.b <= 0 or _positive_ms(checked.table, graphs) is None
    return checked.table, max(checked.corrected_mape, _USELESS) if is_useless else checked.corrected_mape


def _positive_ms(table: LatencyTable, graphs: Sequence[Graph]) -> np.ndarray | None:
    """Corrected sums, ms, [n]; None where the correction makes one of them negative."""
    try:
        return table.network_ms(graphs)
    except InputError:
        return None


def _half_width(found: Sequence[Estimate | None]) -> float:
    """Half the width of the widest interval, % of its lower bound; infinite where one is not known."""
    return max(math.inf if one is None else 50 * math.expm1(one.log_width) for one in found)


def _state(measured: Sequence[Measurement]) -> str:
    """The part that the machine may have in an error; empty where all measurements reached their precision."""
    short = [m for m in measured if m.status is not Status.CONVERGED]
    if not short:
        return ""
    kinds = ", ".join(sorted({str(m.status) for m in short}))
    return f"; {len(short)} of {len(measured)} measurements did not reach their precision ({kinds})"
