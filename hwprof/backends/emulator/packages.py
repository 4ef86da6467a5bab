"""Debian packages without privileges: apt with a private state, whose packages are unpacked, not installed.

The suite is fixed, whatever the host runs: the emulator and the C library are among the things that decide the counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwprof.errors import EnvironmentUnfitError

SUITE = "bookworm"
_MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TOOLS = ("apt-get", "dpkg", "dpkg-source", "patch")
_LONGEST_REASON = 200


class Apt:
    """Works in `folder`; its commands print to the file `log`."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Fetches the lists of packages. Raises EnvironmentUnfitError without Debian's tools or its mirror."""
        require_tools(_TOOLS)
        if not _KEYRING.exists():
            raise EnvironmentUnfitError(f"{_KEYRING} is missing; install the package debian-archive-keyring")
        self._folder, self._log = folder, log
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        kinds = ("deb", "deb-src")
        lines = [f"{kind} [signed-by={_KEYRING}] {_MIRROR} {SUITE} main\n" for kind in kinds]
        (folder / "sources.list").write_text("".join(lines), encoding="ascii")
        (folder / "apt.conf").write_text(_configuration(folder), encoding="utf-8")
        self._apt_get("update")

    def unpack(self, packages: Sequence[str], architecture: str, into: Path) -> None:
        """Unpacks the packages' files into `into`, without their dependencies."""
        folder = self._folder / f"debs-{into.name}"
        folder.mkdir(parents=True, exist_ok=True)
        self._apt_get("download", *(f"{name}:{architecture}" for name in packages), cwd=folder)
        into.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.glob("*.deb")):
            run(["dpkg", "-x", str(file), str(into)], self._log)

    def source(self, package: str, into: Path) -> None:
        """Unpacks the patched source of the package. Apt has checked its signature."""
        folder = self._folder / package
        folder.mkdir(parents=True, exist_ok=True)
        self._apt_get("--only-source", "--download-only", "source", package, cwd=folder)
        (description,) = folder.glob("*.dsc")
        run(["dpkg-source", "--no-check", "-x", str(description), str(into)], self._log)

    def _apt_get(self, *arguments: str, cwd: Path | None = None) -> None:
        run(["apt-get", "-q", *arguments], self._log, {"APT_CONFIG": str(self._folder / "apt.conf")}, cwd)


def architecture() -> str:
    """Debian's name of the host's architecture."""
    require_tools(_TOOLS)
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def require_tools(names: Sequence[str]) -> None:
    """Raises EnvironmentUnfitError, naming the first that is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise EnvironmentUnfitError(
            f"the emulator is built with the tools of Debian or Ubuntu, and {missing[0]!r} is missing "
            "(apt install build-essential pkg-config)"
        )


def run(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Raises EnvironmentUnfitError with the last line of output of a command that failed."""
    with log.open("a+", encoding="utf-8", errors="replace") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        status = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, check=False,
            env={**os.environ, **(environment or {})},
        ).returncode  # fmt: skip
    if status:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise EnvironmentUnfitError(f"{command[0]} failed: {lines[-1][:_LONGEST_REASON]} (full log: {log})")


def _configuration(folder: Path) -> str:
    architectures = " ".join(f'"{name}";' for name in dict.fromkeys((architecture(), "arm64")))
    return f"""Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
APT::Architectures {{ {architectures} }};
APT::Sandbox::User "";
Acquire::Languages "none";
"""
