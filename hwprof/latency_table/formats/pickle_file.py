"""Pickles of plain containers, numbers, strings and NumPy arrays; whatever else a pickle names is refused."""

from __future__ import annotations

import io
import pickle  # read through an unpickler that resolves the names below only
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.files import write_bytes
from hwprof.latency_table.formats.source import Source

_ADMITTED = {
    ("_codecs", "encode"),  # how pickles before protocol 3 spell bytes
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}
# What the documentation of pickle, and the reconstruction of arrays, may raise on a broken file.
_BROKEN = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, OverflowError, TypeError, ValueError,
)  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no table needs")
        # NumPy 2 renamed the module; old pickles keep the old name.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read(path: Path, source: Source) -> Any:
    """The plain content. Raises InputError without permission, or when the pickle names anything but plain types."""
    if not source.allow_pickle:
        raise InputError(f"{path} is a pickle: allow it explicitly (only plain containers and numbers are read)")
    try:
        return _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except (OSError, *_BROKEN) as error:
        raise InputError(f"latency table {path}: {' '.join(str(error).split()) or 'truncated'}") from None


def write(path: Path, content: dict[Any, Any]) -> None:
    """content: plain containers only; for formats that are pickles themselves."""
    write_bytes(path, pickle.dumps(content, protocol=2))
