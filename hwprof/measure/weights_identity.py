"""Identifies the weights that run: two networks of one graph with different weights are different measurements."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from hwprof import onnx_io, plugins
from hwprof.graph import Graph


def weights_identity(graph: Graph) -> str:
    """A digest of the content of the graph's file: a variant that was made again has another file with the same
    content. "seed 0" for a graph without a file, whose weights are drawn."""
    if graph.source is None:
        return "seed 0"
    if graph.source.endswith(".pt2"):
        with plugins.optional_library("measuring a PyTorch module"):
            from hwprof import torch_io
        return str(torch_io.content_digest(Path(graph.source)))
    facts = Path(graph.source).stat()
    return _content_digest(graph.source, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _content_digest(path: str, _size: int, _mtime_ns: int) -> str:
    """A digest of the file, and of the sizes and times of the files next to it that hold its large weights."""
    with Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for external in onnx_io.external_files(Path(path)):
        facts = external.stat()
        digest.update(f"{external.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()
