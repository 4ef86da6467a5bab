"""Sends graphs to a board together with the files that they name: models, their weights, and arrays for their inputs.

A packed graph names contents by their digests: {"graph": that of its JSON, "source": [[file name, digest], ...] with
the model first, "given": {input: digest}}. Each content is sent to a board once (`hwprof.fleet.cache`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hwprof.files import path_below, read_bytes
from hwprof.fleet.cache import Cache, digest_of
from hwprof.graph import Graph
from hwprof.onnx_io import external_files

_MOST_BYTES = 1 << 31  # of one file
_ARRAY = ".npy"

Packed = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Packs the graphs of one request. `contents`: base64 by digest, which the packed graphs name."""

    contents: dict[str, str] = field(default_factory=dict)

    def packed(self, graph: Graph) -> dict[str, Any]:
        """JSON-ready. Raises InputError for a file that cannot be read."""
        source = [] if graph.source is None else self._source(Path(graph.source))
        arrays = {name: self._file(Path(text)) for name, text in graph.given if text.endswith(_ARRAY)}
        return {"graph": self._content(graph.to_json().encode()), "source": source, "given": arrays}

    def _source(self, path: Path) -> list[list[str]]:
        external = [] if path.suffix != ".onnx" else external_files(path)
        names = [(path.name, path), *((file.relative_to(path.parent).as_posix(), file) for file in external)]
        return [[name, self._file(file)] for name, file in names]

    def _file(self, path: Path) -> str:
        return self._content(read_bytes(path, str(path), _MOST_BYTES))

    def _content(self, content: bytes) -> str:
        digest = digest_of(content)
        if digest not in self.contents:
            self.contents[digest] = base64.b64encode(content).decode()
        return digest


def array_name(place: int) -> str:
    """The name of the file for an input's array; place: among those with one, by name."""
    return f"given-{place}{_ARRAY}"


def digests(records: Iterable[Packed]) -> set[str]:
    """The names of all contents of packed graphs."""
    found = set[str]()
    for record in records:
        found |= {record["graph"], *(digest for _, digest in record["source"]), *record["given"].values()}
    return found


def unpacked(records: Sequence[Packed], cache: Cache, folder: Path) -> list[Graph]:
    """The graphs, with their files written below `folder`. Raises InputError for a parcel that is not one."""
    return [_unpacked(record, cache, folder / str(place)) for place, record in enumerate(records)]


def _unpacked(record: Packed, cache: Cache, folder: Path) -> Graph:
    graph = Graph.from_json(cache.read(record["graph"]).decode())
    sources = [_written(folder, name, cache.read(digest)) for name, digest in record["source"]]
    given = {
        name: str(_written(folder, array_name(place), cache.read(digest)))
        for place, (name, digest) in enumerate(sorted(record["given"].items()))
    }
    texts = tuple((name, given.get(name, text)) for name, text in graph.given)
    return replace(graph, source=str(sources[0]) if sources else None, given=texts)


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = path_below(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
