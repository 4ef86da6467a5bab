"""Writes complete files or none: under a temporary name, then renamed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hwprof.errors import EnvironmentUnfitError


def write_bytes(path: Path, content: bytes) -> None:
    """Raises EnvironmentUnfitError when the file cannot be written; an existing file is then unchanged."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)  # mkstemp creates private files; these follow the umask
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentUnfitError(f"cannot write {str(path)!r}: {error.strerror}") from None


def write_text(path: Path, content: str) -> None:
    """Writes text in UTF-8 as `write_bytes` does."""
    write_bytes(path, content.encode())
