"""Finds a search strategy by its name."""

from __future__ import annotations

from collections.abc import Mapping

from hwprof import plugins
from hwprof.errors import EnvironmentUnfitError
from hwprof.interfaces import Search, SearchSpace

AUTO = "auto"
_AUTO_IS = "predictor"  # it also searches spaces that are too large to be listed


def strategy(name: str, space: SearchSpace, seed: int = 0) -> Search:
    """The search of an entry point of `hwprof.searches`, or "auto" for one that suits any space. Raises InputError
    for an unknown name, and for a space that the strategy cannot search."""
    made: Search = plugins.load("search", resolved(name))(space, seed)
    return made


def resolved(name: str) -> str:
    """The name itself, or of the strategy that is taken for "auto"."""
    return _AUTO_IS if name == AUTO else name


def version_of(name: str) -> int:
    """The version of the strategy's code. Raises as `plugins.load`."""
    return plugins.version_of(plugins.load("search", name))


def listed() -> list[Mapping[str, str]]:
    """The installed strategies: their names, what each needs of a space, and its paper, as far as it says so."""
    return [_row(name) for name in plugins.names("search")]


def _row(name: str) -> Mapping[str, str]:
    try:
        made = plugins.load("search", name)
    except EnvironmentUnfitError as error:
        return {"strategy": name, "needs": str(error), "paper": ""}
    return {"strategy": name, "needs": getattr(made, "needs", ""), "paper": getattr(made, "paper", "")}
