"""Times a function with the host's clock: the timer of every runtime that runs on the CPU and returns when done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from time import perf_counter_ns

import numpy as np


class HostTimer:
    """`run` does one inference. `read` fetches its outputs by name; it is never timed."""

    def __init__(self, run: Callable[[], object], read: Callable[[], Mapping[str, np.ndarray]]) -> None:
        self._run = run
        self._read = read

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        run, clock = self._run, perf_counter_ns
        if not each:
            start = clock()
            for _ in range(n):
                run()
            return [clock() - start]
        # Chained stamps: each latency holds one reading of the clock, not two.
        stamps = [0] * (n + 1)
        stamps[0] = clock()
        for i in range(1, n + 1):
            run()
            stamps[i] = clock()
        return [b - a for a, b in pairwise(stamps)]

    def outputs(self) -> Mapping[str, np.ndarray]:
        """The outputs of one inference by name, each of its shape [...]."""
        self._run()
        return self._read()
