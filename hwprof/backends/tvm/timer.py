"""Times a compiled network with TVM's own evaluator, whose loop runs on the network's machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from time import perf_counter_ns
from typing import Any

import numpy as np

from hwprof import onnx_io
from hwprof.backends.tvm import kernels
from hwprof.backends.tvm.library import tvm
from hwprof.graph import Graph
from hwprof.measurement import OperatorTime

_PROFILE_WARMUP = 10


class TvmTimer:
    """`load` creates a virtual machine with the network, and `place` is the device that it runs on. `guarded` turns the
    library's errors into ours. The inputs are on the device from the start.

    The first inference is the cold one, timed with this machine's clock; the evaluator would discard it, as it discards
    one inference before each series. Over RPC it therefore includes one round trip. `clock` is that of `ClockedTimer`.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        place: Any,
        graph: Graph,
        build: str,
        warnings: Sequence[str],
        guarded: Callable[[], AbstractContextManager[None]],
        clock: str = "",
    ) -> None:
        self.build = build
        self.clock = clock
        self.warnings = warnings
        self.profiled_ns: float | None = None
        self._load = load
        self._place = place
        self._graph = graph
        self._guarded = guarded
        self._is_cold = True
        with guarded():
            self._machine = self._fed()

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        with self._guarded():
            if self._is_cold:
                samples = [self._cold_ns(), *(self._warm_ns(n - 1, each=True) if n > 1 else ())]
                return samples if each else [sum(samples)]
            return self._warm_ns(n, each)

    def outputs(self) -> Mapping[str, np.ndarray]:
        """The outputs of one inference by name, each of its shape [...]."""
        with self._guarded():
            self._machine.invoke_stateful("main")
            return self._fetch()

    def operators(self, n: int) -> Sequence[OperatorTime]:
        """Mean times over n runs of a second machine after its warm-up, by a hook around each kernel call; empty for a
        remote network, whose calls cannot be hooked from here."""
        if self._place.dlpack_device_type() != tvm.cpu().dlpack_device_type():
            return ()
        profiled = kernels.profile(self._fed(), _PROFILE_WARMUP, n)
        self.profiled_ns = profiled.latency_ns
        return kernels.operator_times(self._graph, profiled.kernels)

    def _fed(self) -> Any:
        """A machine whose inputs are set."""
        machine = self._load()
        arrays = onnx_io.random_inputs(self._graph)
        tensors = [tvm.runtime.tensor(arrays[t.name], device=self._place) for t in self._graph.inputs]
        machine.set_input("main", *tensors)
        return machine

    def _cold_ns(self) -> int:
        start = perf_counter_ns()
        self._machine.invoke_stateful("main")
        self._is_cold = False
        return perf_counter_ns() - start

    def _warm_ns(self, n: int, each: bool) -> list[int]:
        number, repeat = (1, n) if each else (n, 1)
        evaluate = self._machine.time_evaluator("invoke_stateful", self._place, number=number, repeat=repeat)
        return [max(1, round(mean_s * number * 1e9)) for mean_s in evaluate("main").results]

    def _fetch(self) -> dict[str, np.ndarray]:
        found = self._machine.get_outputs("main")
        values = found if isinstance(found, tuple) else (found,)
        return {name: value.numpy() for name, value in zip(self._graph.outputs, values, strict=True)}
