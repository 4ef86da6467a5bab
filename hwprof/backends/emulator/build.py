"""Builds the emulator: qemu with its plugin interface, the counting plugin, and the ARM files that run under it.

Debian builds its own qemu without plugins, so it is rebuilt here from Debian's source package, for user mode and
AArch64 only. Nothing is installed and no privilege is needed: all files are in `location.cache()`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hwprof.backends.emulator import location
from hwprof.backends.emulator.packages import SUITE, Apt, architecture, require_tools, run

# The tested wheels, as in constraints.txt: another version is another library with other kernels.
ONNXRUNTIME, NUMPY = "1.31.1", "2.4.6"
_PYTHON = "3.11"  # the suite's version
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_ROOT_PACKAGES = (
    "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libssl3",
    "libuuid1", "libsqlite3-0", f"python{_PYTHON}-minimal", f"libpython{_PYTHON}-minimal",
    f"libpython{_PYTHON}-stdlib",
)  # fmt: skip
_QEMU_PACKAGES = ("libglib2.0-dev", "libglib2.0-0", "libpcre2-dev", "libpcre2-8-0", "zlib1g-dev", "zlib1g")
_BUILD_WHEELS = ("meson==1.12.1", "ninja>=1.11")
_QEMU_LIBRARIES = ("libglib-2.0.so.0", "libgmodule-2.0.so.0", "libgthread-2.0.so.0", "libpcre2-8.so.0")
_PLUGIN = Path(__file__).parent / "counting_plugin.c"
_FIRMWARE = "roms = []\nblobs = []\n"  # for whole machines; Debian's source does not include it

Say = Callable[[str], None]


def build(say: Say = lambda _text: None, fresh: bool = False) -> Mapping[str, str]:
    """Builds what is missing, or everything if `fresh`. Returns the versions; calls `say` before each step.

    Raises EnvironmentUnfitError where a tool, the network or disk space is missing.
    """
    cache = location.cache()
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / "build.log"
    missing = [folder for folder in (location.root(), location.qemu()) if fresh or not location.manifest(folder)]
    if missing:
        log.write_text("", encoding="utf-8")
        require_tools(("gcc", "pkg-config", "make"))
        with tempfile.TemporaryDirectory(prefix="work-", dir=cache) as text:
            work = Path(text)
            say("fetching Debian's lists of packages")
            apt = Apt(work / "apt", log)
            if location.root() in missing:
                _build_root(apt, work / "root", log, say)
            if location.qemu() in missing:
                _build_qemu(apt, work, log, say)
    return location.versions()


# -- the ARM files -------------------------------------------------------------------------------------


def _build_root(apt: Apt, root: Path, log: Path, say: Say) -> None:
    say(f"unpacking {len(_ROOT_PACKAGES)} ARM packages and the wheels of NumPy {NUMPY} and ONNX Runtime {ONNXRUNTIME}")
    apt.unpack(_ROOT_PACKAGES, "arm64", root)
    install_wheels((f"onnxruntime=={ONNXRUNTIME}", f"numpy=={NUMPY}"), root / "packages", log)
    _finish(root, location.root(), {"onnxruntime": ONNXRUNTIME, "numpy": NUMPY, "arm packages": f"Debian {SUITE}"})


def install_wheels(requirements: Sequence[str], into: Path, log: Path, with_dependencies: bool = False) -> None:
    """Unpacks ARM wheels into `into`."""
    options = [word for name in _PLATFORMS for word in ("--platform", name)]
    options += ["--python-version", _PYTHON, "--implementation", "cp", "--only-binary=:all:"]
    options += [] if with_dependencies else ["--no-deps"]
    _pip(["--target", str(into), *options, *requirements], log)


def _pip(arguments: Sequence[str], log: Path) -> None:
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments], log)


# -- qemu ----------------------------------------------------------------------------------------------


def _build_qemu(apt: Apt, work: Path, log: Path, say: Say) -> None:
    say("fetching the source of qemu")
    apt.source("qemu", work / "source")
    apt.unpack(_QEMU_PACKAGES, architecture(), work / "libraries")
    (work / "source" / "pc-bios" / "meson.build").write_text(_FIRMWARE, encoding="ascii")
    _pip(["--target", str(work / "tools"), *_BUILD_WHEELS], log)
    (work / "tools" / "bin" / "python3").symlink_to(sys.executable)
    say("building qemu for AArch64 user mode (about 3 minutes on one core)")
    environment = _build_environment(work)
    folder = work / "build"
    folder.mkdir()
    run(_configure(work), log, environment, folder)
    run(["ninja", "qemu-aarch64"], log, environment, folder)
    say("building the counting plugin")
    made = work / "qemu"
    (made / "lib").mkdir(parents=True)
    shutil.copy2(folder / "qemu-aarch64", made)
    for name in _QEMU_LIBRARIES:
        shutil.copy2(_library_folder(work) / name, made / "lib" / name)
    run(["strip", str(made / "qemu-aarch64")], log)
    _compile_plugin(work, made / "counting.so", environment, log)
    version = (work / "source" / "VERSION").read_text(encoding="ascii").strip()
    _finish(made, location.qemu(), {"qemu": version})


def _build_environment(work: Path) -> dict[str, str]:
    """Finds everything among the unpacked packages; only the compiler is the host's."""
    return {
        "PATH": f"{work / 'tools' / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(work / "tools"),
        "PKG_CONFIG_LIBDIR": f"{_library_folder(work) / 'pkgconfig'}:{work / 'libraries' / 'usr/share/pkgconfig'}",
        "PKG_CONFIG_SYSROOT_DIR": str(work / "libraries"),
    }


def _configure(work: Path) -> list[str]:
    run_path = f"-Wl,-rpath,{location.qemu() / 'lib'}"  # the libraries' final place; they are still in `work`
    return [
        str(work / "source" / "configure"), "--target-list=aarch64-linux-user", "--enable-plugins",
        "--disable-system", "--disable-tools", "--disable-docs", "--without-default-features", "--disable-werror",
        f"--meson={work / 'tools' / 'bin' / 'meson'}",
        f"--extra-ldflags=-L{_library_folder(work)} {run_path} -Wl,-rpath-link,{_library_folder(work)}",
    ]  # fmt: skip


def _compile_plugin(work: Path, plugin: Path, environment: Mapping[str, str], log: Path) -> None:
    headers = work / "source" / "include" / "qemu"
    run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", f"-I{headers}", str(_PLUGIN), "-o", str(plugin)], log, environment)


def _library_folder(work: Path) -> Path:
    triplet = subprocess.run(["gcc", "-dumpmachine"], check=True, capture_output=True, text=True).stdout.strip()
    return work / "libraries" / "usr" / "lib" / triplet


def _finish(made: Path, final: Path, versions: Mapping[str, str]) -> None:
    """Replaces an older build, complete with its manifest."""
    (made / location.MANIFEST).write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")
    if final.exists():
        shutil.rmtree(final)
    made.rename(final)
