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
from tokenize import TokenError
from typing import Any

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError, one_line
from hwprof.files import json_value, read_bytes
from hwprof.interfaces import SearchSpace
from hwprof.predictors.base import LatencyPredictor, State

FORMAT = 1
SCHEMA = "hwprof.predictor"
_MOST_BYTES = 1 << 30
# Trees in JSON unpack to 12 times their size, arrays to twice; a file made to fill the memory to 1000 times.
_LEAST_UNPACKED_BYTES, _MOST_UNPACKED_SHARE = 1 << 26, 40
_ENCRYPTED = 1
# Raised where content is not what a reader or a predictor expects: other types, shapes, keys.
UNFIT = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError)
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
    return from_bytes(read(path), str(path))


def read(path: str | Path) -> bytes:
    """Returns the content of a file. Raises InputError when it is missing or very large."""
    if not Path(path).exists():
        raise InputError(f"there is no predictor file {str(path)!r}")
    return read_bytes(Path(path), f"predictor file {str(path)!r}", _MOST_BYTES)


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
    head, state = _read(content, name)
    if head.get("schema") != SCHEMA:
        raise InputError(f"{name} holds {head.get('schema')!r}, not a predictor")
    if head.get("format") != FORMAT:
        raise InputError(f"{name} has format {head.get('format')}; this hwprof reads format {FORMAT}; upgrade hwprof")
    wanted, given = head.get("predictor"), head.get("parameters")
    if not isinstance(wanted, str) or not isinstance(given, dict) or not isinstance(state.settings, dict):
        raise InputError(f"{name}: its head lacks the predictor's name, its parameters or its settings")
    predictor_class = plugins.load("predictor", wanted)
    try:
        parameters = {key: _revived(value) for key, value in given.items()}
        restored: LatencyPredictor = predictor_class(**parameters).restore(state)
    except UNFIT as error:
        reason = one_line(error)
        raise InputError(f"{name} does not fit the predictor {wanted!r} installed here: {reason}") from None
    return restored


def members(content: bytes, name: str) -> dict[str, bytes]:
    """The members of a zip file by name. Raises InputError where it is damaged, encrypted, or unpacks to far more than
    its own size."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if sum(i.file_size for i in infos) > _LEAST_UNPACKED_BYTES + _MOST_UNPACKED_SHARE * len(content):
                raise InputError(f"{name} unpacks to far more than its own size; no predictor does")
            if any(i.flag_bits & _ENCRYPTED for i in infos):
                raise InputError(f"{name} is encrypted; hwprof does not encrypt predictors")
            return {i.filename: archive.read(i) for i in infos}
    except (zipfile.BadZipFile, zlib.error, *UNFIT) as error:
        raise InputError(f"{name} is not a predictor file, or only a part of one: {one_line(error)}") from None


def _read(content: bytes, name: str) -> tuple[dict[str, Any], State]:
    stored = members(content, name)
    if absent := {_HEAD, _ARRAYS} - stored.keys():
        raise InputError(f"{name} is not a predictor file, or only a part of one: it has no {sorted(absent)[-1]}")
    head = json_value(stored[_HEAD], name)
    if not isinstance(head, dict):
        raise InputError(f"{name} is not a predictor file: its head is not a table")
    arrays = {key.removesuffix(".npy"): _array(value, name) for key, value in members(stored[_ARRAYS], name).items()}
    files = {key.removeprefix(_FILES): value for key, value in stored.items() if key.startswith(_FILES)}
    return head, State(head.get("settings", {}), arrays, files)


def _array(content: bytes, name: str) -> np.ndarray:
    """[...] of plain numbers or text."""
    try:
        array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    except (
        SyntaxError,
        TokenError,
        MemoryError,
        *UNFIT,
    ) as error:  # MemoryError: a shape that the content does not fill
        raise InputError(f"{name} holds an array that cannot be read: {one_line(error)}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufUS":
        raise InputError(f"{name} holds an array that is not of plain numbers or text")
    return array


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
