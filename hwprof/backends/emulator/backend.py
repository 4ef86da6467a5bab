"""Counts the instructions of a network that ONNX Runtime runs on an emulated ARM core.

2026-11-21, counts, not times. Under emulation a time is hundreds of times too long, and not by a constant factor. What
repeats is which instructions run: the kernel library chooses its kernels by the core that it sees, as it does on the
board. So this backend has no timer, and `open` refuses requests for a latency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np

from hwprof import onnx_io
from hwprof.backends import host_resources, onnx_file, options
from hwprof.backends.emulator import location
from hwprof.backends.emulator.cores import CORES, Core
from hwprof.backends.emulator.process import Guest, Model, OpenModel
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measurement import Evidence

_LEVELS = ("disabled", "basic", "extended", "layout", "all")
_WEIGHT_COPIES = 3  # the host's, the model's and the session's


@dataclass(frozen=True, slots=True)
class Options:
    """`core`: one of the names in `CORES`."""

    core: str
    graph_optimization_level: str = "all"


class EmulatorBackend:
    """One qemu process per core serves all networks of this process."""

    evidence = Evidence.EMULATED

    def __init__(self) -> None:
        self._guests: dict[str, Guest] = {}

    def versions(self) -> Mapping[str, str]:
        """Raises EnvironmentUnfitError before `hwprof emulator build`."""
        return location.versions()

    def open(self, graph: Graph, device: Device) -> NoReturn:
        """Always raises InputError: an emulated core has no time to measure."""
        raise InputError(
            f"device {device.name!r} is emulated: it counts instructions and cannot measure a latency of "
            f"{graph.name!r}; hwprof profile shows the counts"
        )

    @contextmanager
    def open_counter(self, graph: Graph, device: Device) -> Iterator[OpenModel]:
        """Raises InputError for an option, precision or graph that it cannot run, EnvironmentUnfitError before
        `hwprof emulator build` and for too little memory."""
        chosen, core = _settings(device)
        location.versions()
        host_resources.require_memory(graph, _WEIGHT_COPIES)
        with TemporaryDirectory(prefix="hwprof-emulator-") as folder:
            model = _written(graph, chosen.graph_optimization_level, Path(folder))
            with self._guest(core).open(graph.name, model) as opened:
                yield opened

    def _guest(self, core: Core) -> Guest:
        found = self._guests.get(core.name)
        if found is None or not found.is_running:
            found = self._guests[core.name] = Guest(core)
        return found


def _settings(device: Device) -> tuple[Options, Core]:
    chosen = options.read(Options, device)
    options.require_float32(device)
    if chosen.core not in CORES:
        raise InputError(f"device {device.name!r}: option core must be one of {', '.join(CORES)}, not {chosen.core!r}")
    if chosen.graph_optimization_level not in _LEVELS:
        raise InputError(
            f"device {device.name!r}: option graph_optimization_level must be one of {', '.join(_LEVELS)}, "
            f"not {chosen.graph_optimization_level!r}"
        )
    if device.threads != 1:
        raise InputError(
            f"device {device.name!r}: instructions are counted in one thread; threads must be 1, not {device.threads}"
        )
    return chosen, CORES[chosen.core]


def _written(graph: Graph, level: str, folder: Path) -> Model:
    """The model and its inputs as files."""
    file, dimensions = onnx_file.locate(graph, folder)
    if file is None:
        file = folder / "model.onnx"
        file.write_bytes(onnx_io.materialize(graph).SerializeToString())
    np.savez(folder / "inputs.npz", allow_pickle=False, **onnx_io.random_inputs(graph))
    return Model(file.resolve(), folder / "inputs.npz", level, dimensions)


BACKEND = EmulatorBackend()
