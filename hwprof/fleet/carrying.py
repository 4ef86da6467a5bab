"""Carries the files that graphs name to workers on another machine, through the workers' own connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Self

from hwprof.device import Device
from hwprof.fleet.parcel import Parcel, array_name
from hwprof.graph import Graph
from hwprof.measure.transport import LIMIT_S, Answer, Transport, Worker, ask_once, understood


@dataclass(frozen=True, slots=True)
class CarryingTransport:
    """Opens workers as `transport` does; the files of each network are sent to a worker before it is asked for it."""

    transport: Transport

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:
        return _CarryingWorker(self.transport.open(device, limit_s))


@dataclass(slots=True)
class _CarryingWorker(AbstractContextManager["_CarryingWorker"]):
    worker: Worker
    carried: dict[str, str] = field(default_factory=dict)  # by a graph as it is here, as it is there

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        if "graph" in arguments:
            arguments["graph"] = self._there(arguments["graph"])
        if "graphs" in arguments:
            arguments["graphs"] = [self._there(text) for text in arguments["graphs"]]
        yield from self.worker.ask(do, **arguments)

    def _there(self, text: str) -> str:
        """The graph with the names of its files on the worker's machine."""
        if text not in self.carried:
            self.carried[text] = self._carry(Graph.from_json(text)).to_json()
        return self.carried[text]

    def _carry(self, graph: Graph) -> Graph:
        parcel = Parcel()
        packed = parcel.packed(graph)
        arrays = {name: array_name(place) for place, name in enumerate(sorted(packed["given"]))}
        files = {name: parcel.contents[digest] for name, digest in packed["source"]}
        files |= {arrays[name]: parcel.contents[digest] for name, digest in packed["given"].items()}
        if not files:
            return graph
        answer = ask_once(self.worker, "receive", files=files)
        with understood("receive"):
            folder = PurePosixPath(str(answer["folder"]))
        source = str(folder / packed["source"][0][0]) if packed["source"] else None
        given = tuple((name, str(folder / arrays[name]) if name in arrays else value) for name, value in graph.given)
        return replace(graph, source=source, given=given)

    def __enter__(self) -> Self:
        self.worker.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.worker.__exit__(*error)
