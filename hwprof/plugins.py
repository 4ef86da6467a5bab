"""Finds backends, spaces and predictors among the installed entry points; each is imported when first asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from hwprof.errors import EnvironmentUnfitError, InputError

GROUPS = {"backend": "hwprof.backends", "space": "hwprof.spaces", "predictor": "hwprof.predictors"}

# import name -> what to `pip install`, where the two differ or an extra of hwprof brings it
_PACKAGES = {
    "onnxruntime": "hwprof[onnxruntime]",
    "openvino": "hwprof[openvino]",
    "pyarrow": "hwprof[data]",
    "pynvml": "hwprof[cuda]",
    "sklearn": "scikit-learn",
    "torch": "hwprof[torch]",
    "tornado": "hwprof[tvm]",
    "tvm": "hwprof[tvm]",
    "yaml": "hwprof[data]",
}


def names(kind: str) -> list[str]:
    """Sorted names of what is installed for a kind of `GROUPS`."""
    return sorted({p.name for p in entry_points(group=GROUPS[kind])})


def load(kind: str, name: str) -> Any:
    """The object behind the entry point.

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


def load_module(module: str, purpose: str) -> ModuleType:
    """A module of hwprof that only some uses need, because it stands on an optional library.

    Raises EnvironmentUnfitError, naming the purpose, when that library is not installed.
    """
    try:
        return import_module(module)
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
