"""Reads changed files and keeps those that end in anything but a result or a one-line error."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwprof.errors import HwprofError
from tests.fuzz.kinds import Kind

SLOW_S = 20.0


@dataclass(frozen=True)
class Fault:
    """A file, kept in `file`, that its reader did not answer as it should."""

    kind: str
    problem: str
    file: Path


def changed(kind: Kind, seed: str) -> bytes:
    """The content of a changed file; the same for the same seed."""
    rng = random.Random(seed)
    content = rng.choice(kind.seeds)
    return rng.choice(kind.mutations)(content, rng)


def fault_of(kind: Kind, content: bytes, folder: Path) -> str:
    """The problem with what the reader answers; empty where there is none."""
    path = folder / kind.name
    path.write_bytes(content)
    start = time.monotonic()
    try:
        kind.read(path)
    except HwprofError as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            return f"its error is not one line: {error!s:.300}"
    except Exception as error:  # noqa: BLE001 -- which is what is looked for
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    taken_s = time.monotonic() - start
    return f"took {taken_s:.0f} s" if taken_s > SLOW_S else ""


def faults(kinds: list[Kind], seeds: Iterator[str], folder: Path) -> Iterator[Fault | None]:
    """One answer for each file: None where all is well. Files that are faults are kept in the folder."""
    for seed in seeds:
        kind = kinds[random.Random(seed).randrange(len(kinds))]
        content = changed(kind, seed)
        if problem := fault_of(kind, content, folder):
            kept = folder / f"fault-{seed}-{kind.name}"
            kept.write_bytes(content)
            yield Fault(kind.name, problem, kept)
        else:
            yield None
