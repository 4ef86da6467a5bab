"""Locates a model's external data: in the model's folder, or in the cache that holds them both.

2026-11-29, which links are followed. As ONNX has it, a location is a path inside of the model's folder, and so is the
file that a link there leads to; otherwise a model could take any file of its reader's machine for weights. One kind of
link leads out and is common: the Hugging Face cache keeps each file of a model as a link `snapshots/REVISION/NAME` to
`blobs/HASH` of the same repository. Such links are followed, since a model cannot choose its own place in that cache.
Runtimes refuse them, so models with such links are given to a runtime in memory (`hwprof.backends.onnx_file`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto

from hwprof.errors import InputError

_MOST_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a tensor are. `length` 0 is not stated: as many as the tensor has."""

    file: Path
    offset: int
    length: int


def place_of(tensor: TensorProto, folder: Path) -> Place:
    """The place of a tensor of a model in `folder`. Raises InputError where it is outside or missing."""
    stated = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = (_number(tensor.name, key, stated.get(key, "0")) for key in ("offset", "length"))
    return Place(_file(tensor.name, stated.get("location", ""), folder), offset, length)


def _number(tensor: str, key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < _MOST_BYTES):
        raise InputError(f"the external data of tensor {tensor!r} has the {key} {text[:40]!r}, which is not a size")
    return int(text)


def _file(tensor: str, location: str, folder: Path) -> Path:
    relative = Path(location)
    if not location or "\0" in location or relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"tensor {tensor!r} points outside the model's folder, to {location[:200]!r}")
    file = folder / relative
    try:
        if not file.is_file():
            raise InputError(f"the weights of tensor {tensor!r} are in {file}, which is missing; put it there")
        target = file.resolve()
        if not target.is_relative_to(folder.resolve()) and not _is_in_same_cache(target, folder):
            raise InputError(f"the weights of tensor {tensor!r} are in {file}, a link that leads out of its folder; "
                             "put the file itself there")  # fmt: skip
    except (OSError, RuntimeError) as error:  # a name that is too long, links in a circle
        raise InputError(f"the weights of tensor {tensor!r} are in {location[:200]!r}, which cannot be read: "
                         f"{getattr(error, 'strerror', None) or error}") from None  # fmt: skip
    return file


def _is_in_same_cache(target: Path, folder: Path) -> bool:
    """Whether target and folder belong to one repository of a Hugging Face cache: blobs/HASH, snapshots/REVISION/..."""
    parts = folder.resolve().parts
    repositories = [Path(*parts[:i]) for i, part in enumerate(parts) if part == "snapshots"]
    return any(target.parent == repository / "blobs" for repository in repositories)
