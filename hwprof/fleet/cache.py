"""The contents of files that a board keeps from earlier requests, by their SHA-256, so that each is sent to it once.

A network is the content of a file, too: its graph as JSON. Nothing depends on what is kept: a board asks for a content
that it lacks, and takes one that is not of its name for missing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hwprof.errors import InputError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1 << 30


def digest_of(content: bytes) -> str:
    """The name of a content: 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@dataclass(slots=True)
class Cache:
    """A folder with a file for each content. most_bytes: of all, beyond which those go that were not used for the
    longest time."""

    folder: Path
    most_bytes: int = _MOST_BYTES
    size_bytes: int = field(default=0, init=False)

    def open(self) -> None:
        """Makes the folder, and removes what was not completed."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self.folder.iterdir():
            if not _DIGEST.fullmatch(path.name):
                path.unlink(missing_ok=True)
        self.size_bytes = sum(path.stat().st_size for path in self.folder.iterdir())

    def add(self, texts: Mapping[str, str]) -> None:
        """texts: base64 by digest. Raises InputError for a content of another digest."""
        for digest, text in texts.items():
            content = base64.b64decode(text)
            if digest_of(content) != digest:
                raise InputError(f"the content {digest[:12]!r} arrived as another one")
            temporary = self.folder / f".{digest}.{os.getpid()}"
            temporary.write_bytes(content)
            temporary.rename(self.folder / digest)
            self.size_bytes += len(content)

    def missing(self, digests: Collection[str]) -> list[str]:
        """The digests whose contents are not here; the others were used now. Raises InputError for a name that is not
        a digest."""
        if wrong := [digest for digest in digests if not _DIGEST.fullmatch(digest)]:
            raise InputError(f"{wrong[0]!r} is not the digest of a content")
        return [digest for digest in digests if not self._is_here(self.folder / digest)]

    def trim(self, kept: Collection[str]) -> None:
        """Removes the oldest until the rest fits. kept: stay in any case."""
        if self.size_bytes <= self.most_bytes:
            return
        files = sorted(((path, path.stat()) for path in self.folder.iterdir()), key=lambda pair: pair[1].st_mtime_ns)
        self.size_bytes = sum(facts.st_size for _, facts in files)
        for path, facts in files:
            if self.size_bytes > self.most_bytes and path.name not in kept:
                path.unlink()
                self.size_bytes -= facts.st_size

    def read(self, digest: str) -> bytes:
        """Raises OSError for one that is missing."""
        return (self.folder / digest).read_bytes()

    def _is_here(self, path: Path) -> bool:
        with suppress(OSError), path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == path.name:
                os.utime(path)
                return True
        return False
