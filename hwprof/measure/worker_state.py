"""The state that a worker process keeps between requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from hwprof import plugins
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.interfaces import Backend
from hwprof.measure import cores
from hwprof.measure.anchors import OpenAnchors
from hwprof.measure.exclusive import machine_to_ourselves


class WorkerState:
    """A context manager over the cores that the process sits on, its lock on the machine, and the runtimes that have
    started with their open anchors. `cores` are empty until a request needed them.

    `is_alone`: the process does nothing else, so it may be moved to the device's cores, and its memory is the
    network's."""

    def __init__(self, is_alone: bool = True) -> None:
        self.is_alone = is_alone
        self.cores: tuple[int, ...] = ()
        self._granted = os.sched_getaffinity(0)
        self._anchors: dict[str, OpenAnchors] = {}
        self._started: set[str] = set()
        self._backends: dict[str, Backend] = {}
        self._has_lock = False
        self._folder: Path | None = None
        self._n_folders = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self.unpin()

    def pinned(self, request: Mapping[str, Any]) -> tuple[Device, Backend]:
        """The request's device and its runtime. From now on a process of its own runs on the cores that the device
        means.

        Raises EnvironmentUnfitError when the machine does not grant them, and as `plugins.load` does.
        """
        device = Device.from_record(request["device"])
        self.unpin()
        self.cores = cores.choose(device)
        if self.is_alone:
            os.sched_setaffinity(0, self.cores)
        return device, self.backend(device.backend)

    def backend(self, name: str) -> Backend:
        """The runtime, looked up once: a look at all installed packages takes as long as a block. Raises as
        `plugins.load` does."""
        if name not in self._backends:
            self._backends[name] = plugins.load("backend", name)
        return self._backends[name]

    def unpin(self) -> None:
        """Lets the process run on all cores that it was started with, because facts about the machine concern all of
        them."""
        if self.is_alone:
            os.sched_setaffinity(0, self._granted)

    def lock_machine(self) -> None:
        """Locks the machine until the process ends. Raises EnvironmentUnfitError when another hwprof is measuring on
        this machine."""
        if not self._has_lock:
            self._stack.enter_context(machine_to_ourselves())
            self._has_lock = True

    def start_runtime(self, backend: Backend, device: Device) -> None:
        """Starts the runtime once per device; otherwise the memory of the first network would include that of the
        start."""
        if device.digest not in self._started:
            self._started.add(device.digest)
            with suppress(InputError), backend.open(identity(), replace(device, batch=1)) as timer:
                timer(1)

    def new_folder(self) -> Path:
        """A folder that is removed when the process ends."""
        if self._folder is None:
            self._folder = self._stack.enter_context(temporary_folder())
        self._n_folders += 1
        made = self._folder / str(self._n_folders)
        made.mkdir()
        return made

    def anchors(self, backend: Backend, device: Device) -> OpenAnchors:
        if device.digest not in self._anchors:
            self._anchors[device.digest] = self._stack.enter_context(OpenAnchors(backend, replace(device, batch=1)))
        return self._anchors[device.digest]


def identity() -> Graph:
    """A network that does nothing."""
    b = GraphBuilder("identity")
    return b.build(b.unary("Identity", b.input((1,))))
