"""Inputs to calibrate a network with: the user's own, else random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Tensor
from hwprof.onnx_io import random_inputs

Samples = dict[str, np.ndarray]  # input -> [n_samples, *shape]
_FLOATS = ("float", "bfloat")


def random_samples(graph: Graph, count: int, seed: int = 0) -> Samples:
    """`count` draws of `hwprof.onnx_io.random_inputs`, [count, *shape] for each input; their ranges are meaningless."""
    draws = [random_inputs(graph, seed + i) for i in range(count)]
    return {t.name: np.stack([draw[t.name] for draw in draws]) for t in graph.inputs}


def read_samples(graph: Graph, path: Path) -> Samples:
    """Samples, [n_samples, *shape] for each input, from an .npz file (an array for each input of the network), or from
    a folder of .npy files (for a network with one input) or .npz files, one sample or batch in each, by name.

    An array holds one sample, [*shape], or many along a new or along the batch axis. Raises InputError when
    a file cannot be read, an input is missing, a shape does not fit, the inputs differ in samples, or the network has
    no inputs.
    """
    if not graph.inputs:
        raise InputError(f"{graph.name!r} has no inputs, so it takes no calibration data; leave out --calibration")
    files = sorted(f for f in path.iterdir() if f.suffix in (".npy", ".npz")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"calibration folder {path} holds no .npy or .npz file")
    parts = [_read(graph, file) for file in files]
    return _counted({t.name: np.concatenate([part[t.name] for part in parts]) for t in graph.inputs}, str(path))


def as_samples(graph: Graph, arrays: Mapping[str, np.ndarray]) -> Samples:
    """Samples, [n_samples, *shape] for each input, from arrays as `read_samples` takes them from a file. Raises as
    `read_samples`."""
    named = {name: np.asarray(array) for name, array in arrays.items()}
    missing = [t.name for t in graph.inputs if t.name not in named]
    if missing:
        raise InputError(f"the calibration data have no array {missing[0]!r}; they have {', '.join(named) or 'none'}")
    return _counted({t.name: _as_samples(named[t.name], t, "calibration data") for t in graph.inputs}, "in memory")


def _counted(samples: Samples, place: str) -> Samples:
    """The samples. Raises InputError where there is none, or inputs differ in how many they have."""
    counts = {name: len(array) for name, array in samples.items()}
    if not any(counts.values()):
        raise InputError(f"calibration data {place} holds no sample")
    if len(set(counts.values())) > 1:
        raise InputError(f"calibration data {place} has different numbers of samples for the inputs: {counts}")
    return samples


def _read(graph: Graph, file: Path) -> Samples:
    try:
        content = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"calibration data {file} does not exist; give an .npz file or a folder of .npy files"
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"calibration data {file} cannot be read as a NumPy file: {error}") from None
    if isinstance(content, np.ndarray):
        if len(graph.inputs) > 1:
            names = ", ".join(t.name for t in graph.inputs)
            raise InputError(
                f"{file} holds one array, the network has inputs {names}; give .npz files with all of them"
            )
        return {graph.inputs[0].name: _as_samples(content, graph.inputs[0], file)}
    with content as arrays:
        return {t.name: _as_samples(_member(arrays, t.name, file), t, file) for t in graph.inputs}


def _member(arrays: Mapping[str, np.ndarray], name: str, file: Path) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"calibration data {file} has no array {name!r}; it has {', '.join(arrays) or 'none'}")
    try:
        return arrays[name]
    except ValueError as error:
        raise InputError(f"array {name!r} of {file} cannot be read: {error}") from None


def _as_samples(array: np.ndarray, tensor: Tensor, place: Path | str) -> np.ndarray:
    """[n_samples, *shape], in the input's type."""
    shape = tensor.shape
    many = array.ndim == len(shape) + 1 and array.shape[1:] == shape
    batched = array.ndim == len(shape) > 0 and array.shape[1:] == shape[1:] and array.shape[0] % shape[0] == 0
    unbatched = shape[:1] == (1,) and array.shape == shape[1:]
    if not (many or batched or unbatched):
        raise InputError(f"{place}: an array of shape {array.shape} holds no samples of input {tensor.name!r} {shape}")
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and not tensor.dtype.startswith(_FLOATS)):
        raise InputError(
            f"{place}: an array of {array.dtype} holds no samples of input {tensor.name!r}, {tensor.dtype}"
        )
    return array.reshape(-1, *shape).astype(tensor.dtype)
