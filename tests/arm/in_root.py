"""Runs tests under an emulated aarch64 Python, with the real ONNX Runtime, TVM and integer kernels for ARM.

python -m tests.arm.in_root [--core CORE] [PYTEST ARGUMENTS]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hwprof.backends.emulator.build import build
from hwprof.backends.emulator.cores import CORES
from tests.arm import cross, emulated

_OF_KERNELS = ("gated", "kernels", "library", "recurrent", "sequence_kernels", "weight_formats", "wide_kernels")
_KERNELS = tuple(f"tests/integer/test_{name}.py" for name in _OF_KERNELS)
NEW, OLD = "cortex-a76", "cortex-a72"  # with the dot product and without
TESTS = {
    NEW: (
        "tests/arm/test_natively.py",
        "tests/backends/test_onnxruntime.py",
        "tests/backends/test_replay.py",
        "tests/backends/test_roofline.py",
        "tests/backends/test_host_timer.py",
        *_KERNELS,
        "tests/measure/test_cores.py",
        "-k",
        "not scalar",  # which is the same C++ on every machine
    ),
    OLD: ("tests/arm/test_without_dot_product.py",),
}


def run(core: str, arguments: list[str]) -> int:
    """Pytest's status. It runs beside the sources, not in them: hwprof is to be the installed one."""
    with tempfile.TemporaryDirectory(prefix="hwprof-arm-") as text:
        folder = Path(text)
        (folder / "python").mkdir()
        python = emulated.python(CORES[core], folder / "python")
        work = folder / "work"
        work.mkdir()
        for name in ("pyproject.toml", "constraints.txt", "devices", "tests"):
            (work / name).symlink_to(emulated.ROOT / name)
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--durations=10", *arguments]
        path = os.pathsep.join((str(cross.programs()), os.environ["PATH"]))
        return subprocess.run(command, cwd=work, env={**os.environ, "PATH": path}, check=False).returncode


def main(arguments: list[str]) -> int:
    build(print)
    emulated.install()
    if arguments[:1] == ["--core"]:
        return run(arguments[1], arguments[2:] or list(TESTS[arguments[1]]))
    if arguments:
        return run(NEW, arguments)
    return max(run(core, list(tests)) for core, tests in TESTS.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
