"""The values that a user gives an input in place of drawn ones: numbers, a range of integers, or the array of a file.

2026-11-29, why a graph carries them as text. Values decide what runs: a sampling rate takes a branch, a length ends a
loop, indices read a table. The text ("16000", "randint:0:30000", the path of a .npy file) goes where the graph goes: to
the worker, to a variant, into the calibration; no backend has to know about it. Arrays stay in files, which `identity`
names by their content, so that the same array from another folder is the same measurement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Tensor
from hwprof.onnx_io.proto import is_float, numpy_dtype

GivenInputs: TypeAlias = Mapping[str, object]  # text, a path, a number or an array, by the input's name
_RANGE = re.compile(r"randint:(-?\d+):(-?\d+)")
_FORMS = "give a number, numbers such as 1,3,64, randint:LOW:HIGH or a .npy file"


def as_texts(inputs: GivenInputs | None, folder: Path | None) -> dict[str, str]:
    """Each value as the text that `values_of` reads. An array goes into a .npy file in `folder`.

    Raises InputError for a text of no known form, a file that is not there, and an array without a folder.
    """
    return {name: _as_text(name, value, folder) for name, value in (inputs or {}).items()}


def _as_text(name: str, value: object, folder: Path | None) -> str:
    if isinstance(value, np.ndarray):
        if folder is None:
            raise InputError(
                f"input {name!r}: an array cannot be given here; save it with numpy.save and give the file"
            )
        file = folder / f"input-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{len(list(folder.iterdir()))}.npy"
        np.save(file, value, allow_pickle=False)
        return str(file)
    if isinstance(value, tuple | list):
        value = ",".join(map(str, value))
    text = str(value)
    if text.endswith(".npy"):
        _read(name, text)
        return str(Path(text).resolve())
    if match := _RANGE.fullmatch(text):
        if int(match[1]) >= int(match[2]):
            raise InputError(f"input {name!r}: {text!r} is an empty range; randint:LOW:HIGH draws from LOW to HIGH - 1")
        return text
    _numbers(name, text)
    return text


def shape_of(name: str, text: str) -> tuple[int, ...] | None:
    """The shape that the values bind their input to; None for one number and for a range, which fill any shape."""
    if text.endswith(".npy"):
        return tuple(_read(name, text).shape)
    count = text.count(",") + 1
    return None if count == 1 or _RANGE.fullmatch(text) else (count,)


def with_values(graph: Graph, texts: Mapping[str, str]) -> Graph:
    """The graph with these values for its inputs, by name, in `given`.

    Raises InputError for a name that is not an input, and for values that do not fit its type and shape.
    """
    types = {t.name: t for t in graph.inputs}
    for name, text in texts.items():
        if name not in types:
            raise InputError(f"--input names {name!r}, which is not an input; inputs: {', '.join(types) or 'none'}")
        values_of(types[name], text, np.random.default_rng(0))
    return replace(graph, given=tuple(sorted(texts.items()))) if texts else graph


def values_of(tensor: Tensor, text: str, rng: np.random.Generator) -> np.ndarray:
    """[tensor.shape]: the values, in the type that `numpy_dtype` gives. Raises InputError where they do not fit."""
    if match := _RANGE.fullmatch(text):
        drawn = rng.integers(int(match[1]), int(match[2]), tensor.shape)
        return _cast(tensor, np.asarray(drawn), text)
    array = _read(tensor.name, text) if text.endswith(".npy") else _numbers(tensor.name, text)
    if array.ndim == 0 and not text.endswith(".npy"):
        return np.full(tensor.shape, _cast(tensor, array, text))
    if array.shape != tensor.shape:
        wanted, found = list(tensor.shape), list(array.shape)
        raise InputError(f"input {tensor.name!r} is {wanted}, {text} holds {found}; give an array of the input's shape")
    return _cast(tensor, np.asarray(array), text)


def identity(graph: Graph) -> dict[str, str]:
    """The content of each given input, by its name: the text, or a digest of a file's array with its type and shape."""
    return {name: _digest(name, text) if text.endswith(".npy") else text for name, text in graph.given}


def _digest(name: str, text: str) -> str:
    array = _read(name, text)
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:32]
    return f"{array.dtype}[{','.join(map(str, array.shape))}] sha256:{digest}"


def _read(name: str, text: str) -> np.ndarray:
    """The array of the file, of its own shape [...], mapped into memory and not read."""
    try:
        array: np.ndarray = np.load(text, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"input {name!r}: the file {text} does not exist; write it with numpy.save") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"input {name!r}: {text} cannot be read as a .npy file: {error}") from None
    return array


def _numbers(name: str, text: str) -> np.ndarray:
    """[n] for several numbers, [] for one: integers, or floats where one of them is."""
    parts = [_BOOLEANS.get(part.strip().lower(), part) for part in text.split(",")]
    for kind in (int, float):
        try:
            numbers = np.array([kind(part) for part in parts])
        except (ValueError, OverflowError):
            continue
        return numbers if len(parts) > 1 else numbers.reshape(())
    raise InputError(f"input {name!r}: {text!r} is not a value; {_FORMS}")


_BOOLEANS = {"true": "1", "false": "0"}


def _cast(tensor: Tensor, array: np.ndarray, text: str) -> np.ndarray:
    """[...]: the array in the input's type. Raises InputError where integers or booleans would lose something."""
    dtype = numpy_dtype(tensor)
    is_real = is_float(tensor.dtype) or dtype.kind == "c"
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        if not is_real and not np.array_equal(cast, array):
            raise InputError(f"input {tensor.name!r} has type {tensor.dtype}, which {text} does not fit")
    is_overflown = is_real and bool(np.any(np.isinf(cast) & np.isfinite(array)))
    if is_overflown or (array.dtype.kind == "c" and dtype.kind != "c"):
        raise InputError(f"input {tensor.name!r} has type {tensor.dtype}, which {text} does not fit")
    return cast
