"""The folders of the emulator and its ARM files: outside of any project, created by `hwprof emulator build`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from hwprof.errors import EnvironmentUnfitError

MANIFEST = "manifest.json"  # written last: a folder without it is incomplete


def cache() -> Path:
    """$HWPROF_CACHE, else the user's cache folder, then /emulator."""
    base = os.environ.get("HWPROF_CACHE")
    if base:
        return Path(base) / "emulator"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwprof" / "emulator"


def root() -> Path:
    """The ARM files: C library, Python, ONNX Runtime."""
    return cache() / "root"


def qemu() -> Path:
    """qemu-aarch64 and the counting plugin."""
    return cache() / "qemu"


def manifest(folder: Path) -> Mapping[str, str] | None:
    """Versions of the contents of a complete folder; None for an incomplete one."""
    try:
        found: Mapping[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def versions() -> Mapping[str, str]:
    """Versions of everything that decides a count. Raises EnvironmentUnfitError before `hwprof emulator build`."""
    parts = [manifest(folder) for folder in (qemu(), root())]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        raise EnvironmentUnfitError(
            f"the emulator is not in {cache()}; run `hwprof emulator build` (about 5 minutes, 250 MB)"
        )
    return {name: version for part in found for name, version in part.items()}
