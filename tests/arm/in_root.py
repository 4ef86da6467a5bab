"""Installs hwprof under an emulated aarch64 Python and runs tests there, with the real ONNX Runtime for ARM.

    python tests/arm/in_root.py [PYTEST ARGUMENTS]

The root is that of `hwprof emulator build`; the wheels that the tests need besides lie beside it in the same cache.
No privilege is needed: worker processes are started through a script, since the host cannot run ARM files itself.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from hwprof.backends.emulator import location
from hwprof.backends.emulator.build import build, install_wheels
from hwprof.backends.emulator.cores import CORES
from hwprof.backends.emulator.process import command, prefix

ROOT = Path(__file__).parents[2]
CORE = CORES["cortex-a76"]
WHEELS = ("onnx", "pyarrow", "pytest", "rich", "scikit-learn", "scipy", "typer")  # as constraints.txt pins them
TESTS = (
    "tests/arm/test_natively.py",
    "tests/backends/test_onnxruntime.py",
    "tests/backends/test_replay.py",
    "tests/backends/test_roofline.py",
    "tests/backends/test_host_timer.py",
    "tests/measure/test_cores.py",
)
# Python names itself by what it was started as; a worker has to be started by the script instead.
_SITE = "import os, sys\nsys.executable = os.environ['HWPROF_ARM_PYTHON']\n"


def packages() -> Path:
    """The wheels, made once, and hwprof as it stands now, installed like any other wheel."""
    folder, log = location.cache() / "test-packages", location.cache() / "test-build.log"
    log.write_text("", encoding="utf-8")
    pins = [w for w in (ROOT / "constraints.txt").read_text().split() if w.partition("==")[0] in WHEELS]
    if location.manifest(folder) != {"wheels": " ".join(pins)}:
        install_wheels([*pins, "--constraint", str(ROOT / "constraints.txt")], folder, log, with_dependencies=True)
        (folder / location.MANIFEST).write_text(json.dumps({"wheels": " ".join(pins)}), encoding="utf-8")
    install_wheels(["--upgrade", str(ROOT)], folder, log)
    return folder


def main() -> int:
    build(print)
    installed = packages()
    with tempfile.TemporaryDirectory(prefix="hwprof-arm-") as text:
        folder = Path(text)
        (folder / "root").mkdir()
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(_SITE)
        python = folder / "python"
        words = command(CORE, prefix(CORE, folder / "root"), ())
        path = os.pathsep.join(map(str, (folder / "site", installed, location.root() / "packages")))
        at = words.index("-S")
        words[at:] = []
        words[-1:-1] = ["-E", f"PYTHONPATH={path}", "-E", f"HWPROF_ARM_PYTHON={python}", "-E", "PYTHONNOUSERSITE=1"]
        python.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        python.chmod(0o755)
        tests = sys.argv[1:] or TESTS
        options = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-q"]
        return subprocess.run([python, "-m", "pytest", *options, *tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
