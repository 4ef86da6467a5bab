"""`Budget`: which networks stay within a latency with a given confidence.

A quarter of the winners of a search break a budget on point estimates, because the search finds the networks whose
latency is under-estimated. Almost none breaks a budget on the 95 % quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Predictor, Takes
from hwprof.latency_table import LatencyTable
from hwprof.objective.arch_latency import takes_of


@dataclass(frozen=True, slots=True)
class Budget:
    """Callable on one network, or on a sequence of networks: graphs or architectures, as `takes` says.

    fits = Budget(hwprof.load_predictor("nb201.hwp"), ms=1.5, confidence=0.9)
    kept = [arch for arch in candidates if fits(arch)]

    Raises InputError for a budget that is not positive or a confidence outside of [0.5, 1).
    """

    source: LatencyTable | Predictor
    ms: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (self.ms > 0 and math.isfinite(self.ms)):
            raise InputError(f"a latency budget must be a positive number of ms, not {self.ms!r}")
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"the confidence must be at least 0.5 and below 1, not {self.confidence!r}")

    @property
    def takes(self) -> Takes:
        """How the source takes networks."""
        return takes_of(self.source)

    @overload
    def __call__(self, networks: Graph | Arch, /) -> bool: ...
    @overload
    def __call__(self, networks: Sequence[Graph] | Sequence[Arch], /) -> np.ndarray: ...
    def __call__(self, networks: Graph | Arch | Sequence[Graph] | Sequence[Arch], /) -> bool | np.ndarray:
        """Returns whether the quantile fits, for a sequence [n] of bool. Raises InputError where the source does not
        know this quantile."""
        if isinstance(networks, Graph):
            return bool(self.upper_ms([networks])[0] <= self.ms)
        if networks and isinstance(networks[0], int | np.integer):
            return bool(self.upper_ms([networks])[0] <= self.ms)  # type: ignore[list-item]  # one architecture
        return self.upper_ms(networks) <= self.ms  # type: ignore[arg-type]  # a sequence of either

    def upper_ms(self, networks: Sequence[Graph | Arch]) -> np.ndarray:
        """networks: [n]. Returns the latencies, ms, [n], that the networks stay below with the confidence."""
        if isinstance(self.source, LatencyTable):
            return self.source.network_quantile_ms(networks, self.confidence)
        if self.confidence == 0.5:
            return np.asarray(self.source.predict(networks))
        # Half of the probability outside of a central interval is above its upper end.
        _, high = self.source.predict_interval(networks, coverage=2 * self.confidence - 1)
        return np.asarray(high)
