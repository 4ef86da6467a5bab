"""A network that a compression made: its result and its file."""

from __future__ import annotations

from collections.abc import Sequence
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


def reached(made: Sequence[Compressed]) -> Met:
    """Whether each target is met by some network: no where one is surely missed by all."""
    found: dict[float | None, set[Met | None]] = {}
    for one in made:
        found.setdefault(one.result.target.ms, set()).add(one.met)
    missed = [met for met in found.values() if Met.YES not in met]
    if not missed:
        return Met.YES
    return Met.NO if any(Met.CANNOT_TELL not in met for met in missed) else Met.CANNOT_TELL
