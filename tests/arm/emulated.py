"""An aarch64 Python with hwprof in it, on this machine: the root of `hwprof emulator build`, and what tests need.

All of it lies in the emulator's cache and takes no privilege. hwprof is installed anew each time, as any other wheel,
and its kernels are cross-compiled.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from hwprof.backends.emulator import location
from hwprof.backends.emulator.build import install_wheels
from hwprof.backends.emulator.cores import Core
from hwprof.backends.emulator.process import command, prefix
from hwprof.integer.kernels import compile as kernels
from tests.arm import cross

ROOT = Path(__file__).parents[2]
WHEELS = (
    "apache-tvm", "apache-tvm-ffi", "cloudpickle", "hypothesis", "onnx", "psutil", "pyarrow", "pytest", "rich",
    "scikit-learn", "scipy", "tornado", "typer",
)  # as constraints.txt pins them  # fmt: skip
# Python names itself by what it was started as; a worker has to be started by the script instead, for the host
# cannot run ARM files.
_SITE = "import os, sys\nsys.executable = os.environ['HWPROF_ARM_PYTHON']\n"


def packages() -> Path:
    """Where the wheels lie, with their manifest once they are complete."""
    return location.cache() / "test-packages"


def install() -> None:
    """The wheels and the compiler, once, and hwprof as it stands now. Raises EnvironmentUnfitError."""
    log = location.cache() / "test-build.log"
    log.write_text("", encoding="utf-8")
    pins = [w for w in (ROOT / "constraints.txt").read_text().split() if w.partition("==")[0] in WHEELS]
    if location.manifest(packages()) != {"wheels": " ".join(pins)}:
        constraint = ["--constraint", str(ROOT / "constraints.txt")]
        install_wheels([*pins, *constraint], packages(), log, with_dependencies=True)
        (packages() / location.MANIFEST).write_text(json.dumps({"wheels": " ".join(pins)}), encoding="utf-8")
    compiler, own = cross.build(log), os.environ.get("CXX", "")
    os.environ["CXX"] = "false"  # the wheel would hold this machine's kernels
    install_wheels(["--upgrade", str(ROOT)], packages(), log)
    os.environ["CXX"] = str(compiler)
    kernels.build(packages() / "hwprof" / "backends" / "integer", machine="aarch64")
    os.environ["CXX"] = own


def python(core: Core, folder: Path) -> Path:
    """A command that is Python on the core; `folder` is empty and must stay."""
    (folder / "root").mkdir()
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(_SITE)
    script = folder / "python"
    words = command(core, prefix(core, folder / "root"), ())
    path = os.pathsep.join(map(str, (folder / "site", packages(), location.root() / "packages")))
    at = words.index("-S")
    words[at:] = []
    words[-1:-1] = ["-E", f"PYTHONPATH={path}", "-E", f"HWPROF_ARM_PYTHON={script}", "-E", "PYTHONNOUSERSITE=1"]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    return script
