"""Baselines: networks that are kept by name, to compare later ones with.

2026-11-29, why a baseline is a network and not its latency. A latency that was stored last month, or on another runner,
differs for reasons that are not the model's; only two networks that run in turns can be told apart by 2 %. So the file
is kept, and measured again in turns with the new one.
"""

from __future__ import annotations

import re
from pathlib import Path

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs.inputs import Wanted
from hwprof.variants.weights import load_weights, model_with

FOLDER = Path("hwprof.baselines")
_NAME = re.compile(r"[\w][\w.-]*")


def save(graph: Graph, name: str, folder: Path = FOLDER) -> Path:
    """Keeps the network with its weights and shapes under the name, in place of an earlier one; returns the file.
    Raises InputError for a name that is not a file's, and for a network that is not ONNX."""
    path = file_of(name, folder)
    if graph.source and not graph.source.endswith(".onnx"):
        raise InputError(f"baseline {name!r} must be an .onnx file or a workload; export the module first")
    folder.mkdir(parents=True, exist_ok=True)
    onnx_io.save(model_with(graph, load_weights(graph)), path)
    return path


def load(name: str, wanted: Wanted, work: Path, folder: Path = FOLDER) -> Graph:
    """The network of that name. Raises InputError where there is none."""
    path = file_of(name, folder)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.onnx"))) or "none"
        raise InputError(
            f"there is no baseline {name!r} in {folder}; known: {known}; keep one with hwprof profile MODEL "
            f"--save-baseline {name}"
        )
    graph = wanted.load(str(path), work)
    return graph.renamed(f"baseline {name}")


def file_of(name: str, folder: Path = FOLDER) -> Path:
    """Raises InputError for a name that is not a file's."""
    if not _NAME.fullmatch(name):
        raise InputError(f"a baseline's name consists of letters, digits, '.', '-' and '_', not {name!r}")
    return folder / f"{name}.onnx"
