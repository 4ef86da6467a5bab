"""A network that a compression made: its result and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwprof.data.result import Met, Result
from hwprof.files import write_bytes


@dataclass(frozen=True, slots=True)
class Compressed:
    """A result and the file of its network."""

    result: Result
    path: Path

    @property
    def met(self) -> Met | None:
        return self.result.met

    def save(self, path: str | Path) -> None:
        """Copies the network's file. Raises EnvironmentUnfitError where that cannot be written."""
        write_bytes(Path(path), self.path.read_bytes())
