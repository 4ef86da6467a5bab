"""The kernels that a runtime executes of networks, kept in a data set's folder: the next training does not ask again.

Like kept encodings, the file is not a part of the data set: one of another runtime or of other code counts as absent.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwprof.data.encodings import identity_of_code
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.files import read_bytes, write_bytes
from hwprof.interfaces import ExecutedKernel

_CODE = ("backends", "onnx_io", "integer")  # what an answer depends on besides the network and the runtime
_DAMAGE = (HwprofError, ValueError, KeyError, TypeError, OSError, EOFError)


@dataclass(slots=True)
class KeptKernels:
    """The kernels that a runtime executes, by the digest of the network; `of` identifies the runtime. `read` finds
    those of a folder."""

    path: Path
    of: str
    kernels: dict[str, Sequence[ExecutedKernel]] = field(default_factory=dict)
    is_changed: bool = False

    @classmethod
    def read(cls, folder: Path, device: Device, versions: Mapping[str, Any]) -> KeptKernels:
        """The kernels in the folder; none where there is no file of this device, these versions and this code."""
        of = json.dumps([device.digest, sorted(versions.items()), identity_of_code(_CODE)])
        found = cls(folder / f"executed-{device.backend}.json.gz", hashlib.sha256(of.encode()).hexdigest()[:32])
        with suppress(*_DAMAGE):
            record = json.loads(gzip.decompress(read_bytes(found.path, str(found.path))))
            if record["of"] == found.of:
                for digest, kernels in record["kernels"].items():
                    found.kernels[digest] = [ExecutedKernel.of(*fields) for fields in kernels]
        return found

    def keep(self, digest: str, kernels: Sequence[ExecutedKernel]) -> None:
        self.kernels[digest], self.is_changed = kernels, True

    def write(self) -> None:
        """Writes the file where something was kept and the folder can be written."""
        if self.is_changed:
            content = json.dumps({"of": self.of, "kernels": self.kernels}, separators=(",", ":")).encode()
            with suppress(HwprofError):
                write_bytes(self.path, gzip.compress(content, mtime=0))
