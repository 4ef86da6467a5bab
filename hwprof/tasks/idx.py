"""IDX files, the format of MNIST and Fashion-MNIST: a magic number, sizes, bytes. With or without gzip."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hwprof.errors import InputError

_BYTES = 0x08  # the code of unsigned bytes in the magic number
_GZIP = b"\x1f\x8b"
_MOST_BYTES = 1 << 30  # far above any set of this format; a broken header must not fill the memory


def read(path: Path, n_dimensions: int) -> np.ndarray:
    """uint8, as many dimensions as wanted; images: [n, height, width], labels: [n].

    Raises InputError for a file that cannot be read, is not an IDX file of bytes with this many dimensions, is
    truncated or continues after its data.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP)) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as stream:
            return _read(stream, path, n_dimensions)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the IDX file {str(path)!r}: {reason}") from None


def _read(stream: BinaryIO | gzip.GzipFile, path: Path, n_dimensions: int) -> np.ndarray:
    wanted = bytes([0, 0, _BYTES, n_dimensions])
    magic = stream.read(len(wanted))
    if magic != wanted:
        kind = f"an IDX file of unsigned bytes in {n_dimensions} dimensions"
        raise InputError(f"{str(path)!r} starts with {magic.hex() or 'nothing'}; {kind} starts with {wanted.hex()}")
    header = stream.read(4 * n_dimensions)
    if len(header) < 4 * n_dimensions:
        raise InputError(f"{str(path)!r} ends within its header")
    shape = struct.unpack(f">{n_dimensions}I", header)
    size = math.prod(shape)
    if size > _MOST_BYTES:
        raise InputError(f"{str(path)!r} says that it holds {size} bytes; more than {_MOST_BYTES} are not read")
    data = stream.read(size + 1)
    if len(data) != size:
        state = "is truncated" if len(data) < size else "continues after its data"
        raise InputError(f"{str(path)!r} {state}: its header says {size} bytes, for shape {shape}")
    return np.frombuffer(data, np.uint8).reshape(shape)
