"""Finds backends, spaces, predictors, tasks, methods and searches among the installed entry points.

Each is imported when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hwprof.errors import EnvironmentUnfitError, InputError

GROUPS = {
    "backend": "hwprof.backends",
    "method": "hwprof.methods",
    "predictor": "hwprof.predictors",
    "search": "hwprof.searches",
    "space": "hwprof.spaces",
    "task": "hwprof.tasks",
}

# import name -> the extra of hwprof that brings it
_PACKAGES = {
    "cloudpickle": "hwprof[tvm]",
    "cryptography": "hwprof[fleet]",
    "dask": "hwprof[fleet]",
    "distributed": "hwprof[fleet]",
    "matplotlib": "hwprof[plot]",
    "onnxruntime": "hwprof[onnxruntime]",
    "openvino": "hwprof[openvino]",
    "psutil": "hwprof[tvm]",
    "pyarrow": "hwprof[data]",
    "pynvml": "hwprof[cuda]",
    "safetensors": "hwprof[torch]",
    "scipy": "hwprof[predict]",
    "sklearn": "hwprof[predict]",
    "sympy": "hwprof[onnxruntime]",
    "torch": "hwprof[torch]",
    "tornado": "hwprof[tvm]",
    "tvm": "hwprof[tvm]",
    "xgboost": "hwprof[predict]",
    "yaml": "hwprof[data]",
}


def names(kind: str) -> list[str]:
    """Sorted names of the installed plug-ins of one kind of `GROUPS`."""
    return sorted({p.name for p in entry_points(group=GROUPS[kind])})


def load(kind: str, name: str) -> Any:
    """The object that the entry point names.

    Raises InputError for an unknown name (listing the known ones) or one name with two providers,
    EnvironmentUnfitError when a library that it needs is not installed.
    """
    found = {p.value: p for p in entry_points(group=GROUPS[kind], name=name)}
    if not found:
        raise InputError(f"no {kind} is named {name!r}; known: {', '.join(names(kind)) or 'none'}")
    if len(found) > 1:
        providers = " and ".join(sorted(_provider(p) for p in found.values()))
        raise InputError(f"{kind} {name!r} is provided twice, by {providers}; uninstall one of them")
    (point,) = found.values()
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise _missing_library(f"{kind} {name!r}", error) from None


def version_of(plugin: Any) -> int:
    """The version of a plug-in's code, 1 where it does not say. It rises with each change after which other results are
    made: a store keeps them by it."""
    return int(getattr(plugin, "version", 1))


def user_object(reference: str) -> Any:
    """The object that a user names as PACKAGE.MODULE:OBJECT, or FILE.py:OBJECT; modules are looked for in the current
    folder first. Raises InputError for a reference that leads to nothing."""
    place, _, attribute = reference.partition(":")
    is_file = place.endswith(".py")
    folder, name = (Path(place).resolve().parent, Path(place).stem) if is_file else (Path.cwd(), place)
    if not all(part.isidentifier() for part in (*name.split("."), *attribute.split("."))):
        raise InputError(f"{reference!r} does not name an object; write it as package.module:object or file.py:object")
    if str(folder) not in sys.path:  # as `python -m` and `python FILE` do
        sys.path.insert(0, str(folder))
    try:
        found: Any = import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # noqa: BLE001 -- whatever the user's code raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = ": ".join([type(error).__name__, *lines[:1]])
        raise InputError(f"{reference!r} does not lead to an object: {reason}") from None
    return found


@contextmanager
def optional_library(purpose: str) -> Iterator[None]:
    """A context for imports that need an optional library and that only some uses need.

    Raises EnvironmentUnfitError, naming the purpose, when that library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise _missing_library(purpose, error) from None


def _missing_library(what: str, error: ModuleNotFoundError) -> EnvironmentUnfitError:
    missing = (error.name or "").partition(".")[0]
    if missing == "hwprof":
        raise error
    package = _PACKAGES.get(missing, missing)
    return EnvironmentUnfitError(f"{what} needs the library {missing!r}; install it with: pip install '{package}'")


def _provider(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
