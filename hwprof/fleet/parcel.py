"""Sends graphs to a board together with the files that they name: models, their weights, and arrays for their inputs.

A packed graph is {"graph": its JSON, "source": file names, the model first, "given": {input: file name}}; the contents
of all files of a request are kept once, by their digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from hwprof.errors import InputError
from hwprof.files import read_bytes
from hwprof.graph import Graph
from hwprof.onnx_io import external_files

_MOST_BYTES = 1 << 31  # of one file
_ARRAY = ".npy"


@dataclass(frozen=True, slots=True)
class Parcel:
    """Packs the graphs of one request. `contents`: base64 by digest, which go along with the packed graphs."""

    contents: dict[str, str] = field(default_factory=dict)

    def packed(self, graph: Graph) -> dict[str, Any]:
        """JSON-ready. Raises InputError for a file that cannot be read."""
        source = [] if graph.source is None else self._source(Path(graph.source))
        arrays = {name: self._content(Path(text)) for name, text in graph.given if text.endswith(_ARRAY)}
        return {"graph": graph.to_json(), "source": source, "given": arrays}

    def _source(self, path: Path) -> list[list[str]]:
        external = [] if path.suffix != ".onnx" else external_files(path)
        names = [(path.name, path), *((file.relative_to(path.parent).as_posix(), file) for file in external)]
        return [[name, self._content(file)] for name, file in names]

    def _content(self, path: Path) -> str:
        content = read_bytes(path, str(path), _MOST_BYTES)
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = base64.b64encode(content).decode()
        return digest


def unpacked(records: Sequence[Mapping[str, Any]], contents: Mapping[str, str], folder: Path) -> list[Graph]:
    """The graphs, with their files written below `folder`. Raises InputError for a parcel that is not one, and for a
    graph that arrived as another one."""
    return [_unpacked(record, contents, folder / str(place)) for place, record in enumerate(records)]


def _unpacked(record: Mapping[str, Any], contents: Mapping[str, str], folder: Path) -> Graph:
    graph = Graph.from_json(record["graph"])
    sources = [_written(folder, name, contents[digest]) for name, digest in record["source"]]
    given = {
        name: str(_written(folder, f"given-{place}{_ARRAY}", contents[digest]))
        for place, (name, digest) in enumerate(sorted(record["given"].items()))
    }
    texts = tuple((name, given.get(name, text)) for name, text in graph.given)
    return replace(graph, source=str(sources[0]) if sources else None, given=texts)


def _written(folder: Path, name: str, content: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise InputError(f"a parcel holds a file {name!r} outside its folder")
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(content))
    return path
