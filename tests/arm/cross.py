"""GCC for aarch64 on this machine: Debian's cross compiler, unpacked into the emulator's cache without privileges."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hwprof.backends.emulator import location
from hwprof.backends.emulator.packages import SUITE, Apt, architecture

TRIPLET = "aarch64-linux-gnu"
_VERSION = 12  # of GCC, in that suite
_PROGRAMS = (
    f"g++-{_VERSION}-{TRIPLET}", f"gcc-{_VERSION}-{TRIPLET}", f"gcc-{_VERSION}-{TRIPLET}-base",
    f"cpp-{_VERSION}-{TRIPLET}", f"binutils-{TRIPLET}", "libgmp10", "libisl23", "libjansson4", "libmpc3", "libmpfr6",
    "libzstd1", "zlib1g",
)  # fmt: skip
_LIBRARIES = (
    "libc6-dev-arm64-cross", "libc6-arm64-cross", "linux-libc-dev-arm64-cross", "libgcc-s1-arm64-cross",
    f"libgcc-{_VERSION}-dev-arm64-cross", "libstdc++6-arm64-cross", f"libstdc++-{_VERSION}-dev-arm64-cross",
)  # fmt: skip


def folder() -> Path:
    return location.cache() / "cross"


def programs() -> Path:
    """The folder of the compiler, and of the disassembler under its plain name. They are there after `build`."""
    return folder() / "bin"


def compiler() -> Path:
    return programs() / f"{TRIPLET}-g++"


def build(log: Path) -> Path:
    """Fetched once (50 MB). Returns the command. Raises EnvironmentUnfitError without Debian's tools or its mirror."""
    versions = {"g++": f"{_VERSION}, Debian {SUITE}"}
    if location.manifest(folder()) != versions:
        with tempfile.TemporaryDirectory(prefix="work-", dir=location.cache()) as text:
            apt = Apt(Path(text, "apt"), log)
            apt.unpack(_PROGRAMS, architecture(), folder())
            apt.unpack(_LIBRARIES, "all", folder())
        _relocate()
        (folder() / location.MANIFEST).write_text(json.dumps(versions), encoding="utf-8")
    return compiler()


def _relocate() -> None:
    """The C library names its parts by their paths in an installed system, and the compiler's own are in none."""
    script = folder() / "usr" / TRIPLET / "lib" / "libc.so"
    script.write_text(script.read_text().replace(f"/usr/{TRIPLET}/lib/", ""))
    libraries = os.pathsep.join(map(str, (folder() / "usr" / "lib").glob("*-linux-gnu")))
    programs().mkdir(exist_ok=True)
    for name, installed in ((compiler().name, f"{TRIPLET}-g++-{_VERSION}"), ("objdump", f"{TRIPLET}-objdump")):
        program = folder() / "usr" / "bin" / installed
        (programs() / name).write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {program} "$@"\n')
        (programs() / name).chmod(0o755)
