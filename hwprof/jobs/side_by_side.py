"""The same job on several devices: one after the other on this machine, all at once on the boards of a fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.measure.recording import Options

R = TypeVar("R")


def on_each(
    devices: Sequence[Device], work: Callable[[Device, Store], R], store: Store, options: Options, folder: Path
) -> list[R]:  # fmt: skip
    """The result of each device, in their order. folder: for the stores of devices that work at once where `store` is
    in memory. Raises the first device's error, after the others have ended."""
    if options.machines == 1 or len(devices) == 1:
        return [work(device, store) for device in devices]

    def run(device: Device) -> R:
        path = folder / f"{device.digest}.db" if store.path in ("", ":memory:") else store.path
        with Store(path) as own:  # SQLite's connections belong to one thread
            return work(device, own)

    with ThreadPoolExecutor(len(devices)) as threads:
        works = [threads.submit(run, device) for device in devices]  # `map` would cancel what has not begun
    return [done.result() for done in works]
