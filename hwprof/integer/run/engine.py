"""Runs a Program with the C++ kernels: a plan that one call executes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np

from hwprof.integer.program.program import Entry, Exit, Operation, Program
from hwprof.integer.run import border, memory
from hwprof.integer.run.library import Edge, Library, Plan
from hwprof.integer.run.steps import Steps


class Engine:
    """An open program. `inputs`: the network's, by name, in their own types."""

    def __init__(
        self, program: Program, inputs: Mapping[str, np.ndarray], library: Library, instruction_set: str, threads: int
    ) -> None:
        self._program = program
        self._memory = memory.place(program)
        self._steps = Steps(program, self._memory, library.arithmetic(instruction_set))
        self._plan = Plan(library, self._steps.steps, instruction_set, threads, self._steps.names)
        self._outputs = {
            e.output: np.zeros(e.shape, np.float32) for e in program.exits if e.scale is not None
        }  # fmt: skip
        self._inputs: list[np.ndarray] = []
        entering = [edge for e in program.entries if (edge := self._enter(e, inputs[e.input]))]
        leaving = [self._leave(e) for e in program.exits if e.scale is not None]
        self._call = (
            library.kernels.hwprof_run,
            ctypes.c_void_p(self._plan.handle),
            (Edge * len(entering))(*entering),
            len(entering),
            (Edge * len(leaving))(*leaving),
            len(leaving),
        )
        self._infer = library.border.hwprof_infer

    @property
    def operations(self) -> Sequence[Operation]:
        """The operations that are steps of the plan; `run_operation` takes an index into this list."""
        return [operation for operation, _ in self._steps.ranges]

    def run(self) -> None:
        """One inference, from the network's inputs to its outputs."""
        self._infer(*self._call)

    def run_operation(self, index: int) -> None:
        for step in self._steps.ranges[index][1]:
            self._plan.run_step(step)

    def outputs(self) -> dict[str, np.ndarray]:
        """The network's outputs after the last run, by name, each of its ONNX shape [...]."""
        return {e.output: self._output(e) for e in self._program.exits}

    def held(self, name: str) -> np.ndarray:
        """A value, of its shape in memory [...]. Only outputs keep the last run's content: memory is reused."""
        value = self._program.values[name]
        return self._memory.arrays[name].view(value.dtype).reshape(value.shape).copy()

    def close(self) -> None:
        self._plan.close()

    def _output(self, leaving: Exit) -> np.ndarray:
        if leaving.scale is None:
            return border.dequantize(leaving, self.held(leaving.value))
        return self._outputs[leaving.output].copy()

    def _enter(self, entry: Entry, array: np.ndarray) -> Edge | None:
        """None for an input of integers, which is copied into place here."""
        held = self._memory.arrays[entry.value]
        if entry.scale is None:
            held[:] = border.quantize(entry, array).ravel().view(np.uint8)
            return None
        self._inputs.append(np.ascontiguousarray(array, np.float32))
        return _edge(entry, self._inputs[-1], held)

    def _leave(self, leaving: Exit) -> Edge:
        edge = _edge(leaving, self._outputs[leaving.output], self._memory.arrays[leaving.value])
        edge.reals = leaving.reals.ctypes.data if leaving.reals is not None else None
        return edge


def _edge(end: Entry | Exit, real: np.ndarray, held: np.ndarray) -> Edge:
    batch, channels = end.shape[:2] if end.is_image else (1, 1)
    pixels = real.size // max(batch * channels, 1)
    return Edge(
        real.ctypes.data, held.ctypes.data, batch, channels, pixels, end.scale, end.zero, is_wide=end.dtype == "int16"
    )  # fmt: skip
