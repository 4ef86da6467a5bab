"""The encoded networks of a data set, kept in its folder: the next training neither builds nor encodes them.

The file is not a part of the data set: it may be deleted, and one that was written by other code, or is damaged,
counts as absent. A folder that cannot be written is not an error.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwprof.errors import HwprofError
from hwprof.files import read_bytes, write_bytes

_ROOT = Path(__file__).parent.parent
# What a row depends on besides its network. (A network is known by its digest, or by its place in one of our spaces.)
_CODE = ("encoders", "spaces", "variants", "builder.py", "cost.py", "graph.py")
_DAMAGE = (HwprofError, ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile)

Row = tuple[np.ndarray, frozenset[str]]  # [n_features], and the kinds of the network's operators


@dataclass(frozen=True, slots=True)
class KeptEncodings:
    """Rows of one encoding by the name of their network; `read` finds those of a data set's folder."""

    path: Path
    code: str
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, encoding: str) -> KeptEncodings:
        """The rows in the folder; none where there is no file of this code."""
        found = cls(folder / f"encodings-{encoding}.npz", identity_of_code(_CODE))
        with suppress(*_DAMAGE):
            content = read_bytes(found.path, str(found.path))
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                if str(arrays["code"]) == found.code:
                    found.rows.update(_rows(arrays["names"], arrays["rows"], arrays["kinds"], arrays["has_kind"]))
        return found

    def keep(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Adds rows and writes the file, where the folder can be written."""
        self.rows.update(zip(names, rows, strict=True))
        kinds = sorted(frozenset().union(*(found for _, found in self.rows.values())))
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            code=np.array(self.code),
            names=np.array(list(self.rows)),
            rows=np.stack([row for row, _ in self.rows.values()]),
            kinds=np.array(kinds, str),
            has_kind=np.array([[kind in found for kind in kinds] for _, found in self.rows.values()], bool),
        )
        with suppress(HwprofError):
            write_bytes(self.path, buffer.getvalue())


def _rows(names: np.ndarray, rows: np.ndarray, kinds: np.ndarray, has_kind: np.ndarray) -> Iterable[tuple[str, Row]]:
    """names: [n]; rows: [n, n_features]; kinds: [n_kinds]; has_kind: [n, n_kinds]. Raises ValueError where these do not
    fit."""
    if not np.isfinite(rows).all():
        raise ValueError
    for name, row, has in zip(names.tolist(), rows, has_kind, strict=True):
        yield name, (row, frozenset(kinds[has].tolist()))


def identity_of_code(places: Sequence[str]) -> str:
    """places: [n], modules and packages of hwprof. Returns hexadecimal digits over their source."""
    digest = hashlib.sha256()
    for place in places:
        files = [_ROOT / place] if place.endswith(".py") else sorted((_ROOT / place).rglob("*.py"))
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]
