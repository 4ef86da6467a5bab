"""Compiles the kernels' C++ with the compiler at hand. Needs nothing but Python: the installation runs it, too.

    python hwprof/integer/kernels/compile.py                    # again, in place
    python hwprof/integer/kernels/compile.py FOLDER [FLAG ...]  # elsewhere, with more flags, to test

Each instruction set has its own flags and its own object, and one is chosen at run time; AMX shares AVX-512's object.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
KERNELS = "_kernels.so"
BORDER = "_border.so"
_SOURCES = FOLDER
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
# GCC 12 calls the undefined vectors in its own AVX-512 header uninitialized (its bug 105593).
_AVX512 = (
    "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512",
    "-Wno-uninitialized", "-Wno-maybe-uninitialized",
)  # fmt: skip
_X86: dict[str, tuple[str, ...]] = {
    "isa_avx2": ("-mavx2",), "isa_avxvnni": ("-mavx2", "-mavxvnni"), "isa_avx512": _AVX512,
}  # fmt: skip
# In place of the above, on a processor with AVX-512 VNNI: the same kernels without instructions that it may lack.
_STAND_INS: dict[str, tuple[str, ...]] = {
    "isa_avxvnni": ("-mavx2", "-mavx512vl", "-mavx512vnni", "-DHWPROF_STAND_IN"),
    "isa_avx512": (*_AVX512, "-DHWPROF_STAND_IN"),
}
_MACHINES: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": _X86,
    "aarch64": {"isa_neon": ("-march=armv8.2-a+dotprod",)},
}


class CompilerMissingError(Exception):
    """No C++ compiler is installed, or it cannot compile the kernels; the text says which."""


def compiler() -> str:
    """The command: $CXX, else what is found. Raises CompilerMissingError."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name.split()[0]):
            return name
    raise CompilerMissingError("no C++ compiler was found (c++, g++, clang++ or $CXX)")


def build(
    target: Path = FOLDER, flags: Sequence[str] = (), machine: str = "", stands_in: bool = False
) -> list[Path]:  # fmt: skip
    """Compiles both libraries into `target` and returns their paths. Raises CompilerMissingError.

    flags: more of them, for all files. machine: of the compiler's target, where that is not this one. stands_in: for
    tests; AMX and AVX-VNNI are replaced by what AVX-512 VNNI can do, so that their kernels run without them.
    """
    command = compiler().split()
    machine = machine or platform.machine()
    parts = {"plan": (), "isa_scalar": (), **_MACHINES.get(machine, {})}
    if stands_in and machine == "x86_64":
        parts |= _STAND_INS
    target.mkdir(parents=True, exist_ok=True)
    built = [target / KERNELS, target / BORDER]
    with tempfile.TemporaryDirectory() as folder:
        objects = [f"{folder}/{name}.o" for name in parts]
        commands = [
            [*command, *_FLAGS, *own, *flags, "-c", f"{_SOURCES}/{name}.cpp", "-o", made]
            for (name, own), made in zip(parts.items(), objects, strict=True)
        ]
        with ThreadPoolExecutor(_processors()) as pool:
            list(pool.map(_run, commands))
        new = Path(folder, "library.so")
        _run([*command, *flags, "-shared", "-pthread", *objects, "-o", str(new)])
        _put(new, built[0])
        # A float compared or rounded cannot trap here: without these the loops would not become vectors.
        quick = ("-fno-math-errno", "-fno-trapping-math")
        _run([*command, *_FLAGS, *quick, *flags, "-shared", f"{_SOURCES}/border.cpp", "-o", str(new)])
        _put(new, built[1])
    return built


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _put(new: Path, place: Path) -> None:
    """Replaces the file under a new inode: a process that uses the old library keeps it."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copy(new, temporary)
    temporary.replace(place)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "it failed")
        raise CompilerMissingError(f"the C++ compiler {command[0]!r} cannot compile the kernels: {reason}")


if __name__ == "__main__":
    folder, *more = sys.argv[1:] or [str(FOLDER)]
    print(*build(Path(folder), more, stands_in=Path(folder) != FOLDER), sep="\n")  # noqa: T201 - a program of its own
