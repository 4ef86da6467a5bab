"""Plays back stored latencies, so that all code above a backend can be tested without its hardware.

The option `samples` names a JSON or JSON Lines file. Each of its objects is either a mapping from a graph's
digest to its processes, each a list of latencies in ns,

    {"0b5e...": [[1203000, 1199000], [1310000, 1305000]]}

or a record as `Measurement.to_record` writes it, whose valid blocks are played back in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from hwprof.backends import options
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measurement import Evidence, Measurement

Samples = dict[str, list[list[int]]]  # graph digest -> processes -> latencies, ns


@dataclass(frozen=True, slots=True)
class Options:
    """`samples`: a path. `process`: index of the stored process to play back (`options.process_number`, modulo their
    number)."""

    samples: str
    process: int = -1


class ReplayTimer:
    """Returns the latencies [n_stored] in their order and starts again at the end."""

    clock = "stored times"

    def __init__(self, latencies_ns: Sequence[int]) -> None:
        self._next = cycle(latencies_ns)

    def __call__(self, n: int, each: bool = True) -> Sequence[int]:
        runs = list(islice(self._next, n))
        return runs if each else [sum(runs)]


class ReplayBackend:
    """Runs nothing."""

    evidence = Evidence.REPLAYED

    def versions(self) -> Mapping[str, str]:
        return {}

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[ReplayTimer]:
        """Raises InputError for a bad option or file and for a graph without samples in the file."""
        chosen = options.read(Options, device)
        options.require_float32(device)
        options.require_onnx(graph, device)
        processes = read_samples(Path(chosen.samples)).get(graph.digest)
        if not processes:
            raise InputError(f"{chosen.samples} has no samples of {graph.name!r} (digest {graph.digest})")
        yield ReplayTimer(processes[options.process_number(chosen.process) % len(processes)])


def read_samples(path: Path) -> Samples:
    """The latencies of each graph by digest, one list of [n_samples] ns per process; empty processes are left out.

    Raises InputError when the file cannot be read or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"samples file {path}: {error}") from None
    samples: Samples = {}
    for record in _objects(path, text):
        for digest, processes in _processes(path, record).items():
            samples.setdefault(digest, []).extend(p for p in processes if p)
    return samples


def _objects(path: Path, text: str) -> list[Any]:
    """The objects of a JSON file (one, or an array) or of a JSON Lines file."""
    try:
        whole = json.loads(text)
    except ValueError:
        pass
    else:
        return whole if isinstance(whole, list) else [whole]
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"samples file {path} is neither JSON nor JSON Lines: {error}") from None


def _processes(path: Path, record: Any) -> Samples:
    if isinstance(record, dict) and "processes" in record:
        measurement = Measurement.from_record(record)
        played = [[ns for b in p.kept for ns in b.latencies_ns.tolist()] for p in measurement.processes]
        return {measurement.digest: [[max(1, round(ns)) for ns in process] for process in played]}
    if not _is_samples(record):
        raise InputError(f"samples file {path} must map graph digests to lists of processes, each a list of ns > 0")
    return {digest: [[max(1, round(ns)) for ns in p] for p in processes] for digest, processes in record.items()}


def _is_samples(record: Any) -> bool:
    return isinstance(record, dict) and all(
        isinstance(processes, list) and all(isinstance(p, list) and all(map(_is_latency, p)) for p in processes)
        for processes in record.values()
    )


def _is_latency(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


BACKEND = ReplayBackend()
