"""Checks the library before it is imported: another package has its name, and one of its parts can crash it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from hwprof.errors import EnvironmentUnfitError

_FFI_OF = {"0.27": "0.1.14"}  # apache-tvm: its apache-tvm-ffi; newer ones crash it
_INSTALL = "pip install 'hwprof[tvm]'"


def require_working() -> None:
    """Raises EnvironmentUnfitError for another package called `tvm` or for parts that do not fit together, and
    ModuleNotFoundError where there is none."""
    spec = find_spec("tvm")
    if spec is None:
        raise ModuleNotFoundError("No module named 'tvm'", name="tvm")
    if not any((Path(folder) / "relax").is_dir() for folder in spec.submodule_search_locations or ()):
        raise EnvironmentUnfitError(
            f"the installed package 'tvm' is not Apache TVM; install that with: pip uninstall tvm && {_INSTALL}"
        )
    installed, ffi = _version("apache-tvm"), _version("apache-tvm-ffi")
    wanted = _FFI_OF.get(".".join(installed.split(".")[:2]))
    if wanted and not f"{ffi}.".startswith(f"{wanted}."):
        raise EnvironmentUnfitError(
            f"apache-tvm {installed} crashes with apache-tvm-ffi {ffi or 'of unknown version'}; "
            f"install the one that fits with: {_INSTALL}"
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built from source
        return ""


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Makes a module look as if it were not installed, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # how Python marks "not there"
    try:
        yield
    finally:
        del sys.modules[module]


require_working()
os.environ["TVM_BIND_THREADS"] = "0"  # hwprof pins its workers; read when the first thread starts
with _without("torch"):  # tvm loads it where it finds it: seconds and hundreds of megabytes in every worker
    import tvm
    import tvm.relax.frontend.onnx
    from tvm import relax, rpc

__all__ = ["relax", "require_working", "rpc", "tvm"]
