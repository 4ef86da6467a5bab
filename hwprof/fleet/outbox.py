"""The answers that an agent has measured and its driver has not committed yet: one file each, written before the
answer is sent and removed when the driver says that its store has it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

_ENDING = ".json"
_KEPT_S = 7 * 86400.0  # what no driver has asked for by then, none will


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder. The names of answers are hexadecimal digests, which the agent checks before they come here."""

    folder: Path

    def open(self) -> None:
        """Makes the folder, and removes what is older than a week and what was not completed."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.suffix != _ENDING or time() - path.stat().st_mtime > _KEPT_S:
                    path.unlink()

    def put(self, name: str, answer: Mapping[str, Any]) -> None:
        """The answer survives the death of the agent and of its machine once this returns. Raises OSError."""
        temporary = self.folder / f".{name}.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(answer, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(self._path(name))
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the name, too
        finally:
            os.close(descriptor)

    def get(self, name: str) -> dict[str, Any] | None:
        """None where there is no such answer, or a damaged one."""
        try:
            found = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def remove(self, names: Iterable[str]) -> int:
        """Returns how many of them were here."""
        removed = 0
        for name in names:
            with suppress(FileNotFoundError):
                self._path(name).unlink()
                removed += 1
        return removed

    def names(self) -> Iterator[str]:
        """The names of all answers that wait, in no order."""
        with suppress(OSError):
            yield from (path.stem for path in self.folder.glob(f"*{_ENDING}"))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"
