"""Predictor files: a zip of JSON, npz and the portable formats of the libraries. They hold neither code nor pickles."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import SearchSpace
from hwprof.predictors.base import LatencyPredictor, State

FORMAT = 1
SCHEMA = "hwprof.predictor"
_HEAD, _ARRAYS, _FILES = "predictor.json", "arrays.npz", "files/"


def save(predictor: LatencyPredictor, path: str | Path) -> None:
    """Writes a fitted predictor. Raises InputError for a class or a space that is not an installed plug-in."""
    path = Path(path)
    content = to_bytes(predictor)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(content)
    partial.replace(path)


def load(path: str | Path) -> LatencyPredictor:
    """Returns the predictor of a file.

    Raises InputError when the file is missing, truncated, newer than this version or not a predictor,
    EnvironmentUnfitError when a library that it needs is not installed.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no predictor file {str(path)!r}") from None
    except OSError as error:
        raise InputError(f"predictor file {path}: {error.strerror}") from None
    return from_bytes(content, str(path))


def to_bytes(predictor: LatencyPredictor) -> bytes:
    """Returns the content of a predictor file. Raises as `save` does."""
    state = predictor.state()
    head = {
        "schema": SCHEMA, "format": FORMAT, "predictor": _name_of_class(type(predictor)),
        "parameters": {name: _plain(value) for name, value in predictor.saved_parameters().items()},
        "settings": state.settings,
    }  # fmt: skip
    arrays, content = io.BytesIO(), io.BytesIO()
    np.savez(arrays, allow_pickle=False, **state.arrays)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_HEAD, json.dumps(head, indent=1))
        archive.writestr(_ARRAYS, arrays.getvalue())
        for name, stored in state.files.items():
            archive.writestr(_FILES + name, stored)
    return content.getvalue()


def from_bytes(content: bytes, name: str) -> LatencyPredictor:
    """Returns the predictor of a file's content; `name` is for errors. Raises as `load` does."""
    try:
        head, state = _read(content)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is not a predictor file, or only a part of one: {error}") from None
    if head.get("schema") != SCHEMA:
        raise InputError(f"{name} holds {head.get('schema')!r}, not a predictor")
    if head.get("format") != FORMAT:
        raise InputError(f"{name} has format {head.get('format')}; this hwprof reads format {FORMAT}; upgrade hwprof")
    try:
        predictor_class = plugins.load("predictor", head["predictor"])
        parameters = {key: _revived(value) for key, value in head["parameters"].items()}
        restored: LatencyPredictor = predictor_class(**parameters).restore(state)
    except (KeyError, TypeError, ValueError) as error:
        wanted = head.get("predictor")
        raise InputError(f"{name} does not fit the predictor {wanted!r} installed here: {error}") from None
    return restored


def _read(content: bytes) -> tuple[dict[str, Any], State]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        head = json.loads(archive.read(_HEAD))
        with np.load(io.BytesIO(archive.read(_ARRAYS)), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        names = [name for name in archive.namelist() if name.startswith(_FILES)]
        files = {name.removeprefix(_FILES): archive.read(name) for name in names}
    if not isinstance(head, dict):
        raise ValueError("its head is not a table")
    return head, State(head.get("settings", {}), arrays, files)


def _plain(value: Any) -> Any:
    """A parameter as JSON: a space by its name, a sequence as a list."""
    if hasattr(value, "choices") and hasattr(value, "graph"):
        return {"space": _name_of_space(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise InputError(f"a parameter of type {type(value).__name__} cannot be saved: {value!r:.60}")


def _revived(value: Any) -> Any:
    if isinstance(value, dict):
        space: SearchSpace = plugins.load("space", value["space"])
        return space
    return value


def _name_of_class(predictor_class: type) -> str:
    """Compares the text of the entry points: importing every predictor would import all of their libraries."""
    value = f"{predictor_class.__module__}:{predictor_class.__qualname__}"
    for point in entry_points(group=plugins.GROUPS["predictor"]):
        if point.value == value:
            return point.name
    raise InputError(f"{value} is not an installed predictor, so its file could not be loaded; declare an entry point")


def _name_of_space(space: SearchSpace) -> str:
    for name in plugins.names("space"):
        if plugins.load("space", name) is space:
            return name
    raise InputError(
        f"{space!r:.80} is not an installed space, so the file could not be loaded; declare an entry point"
    )
