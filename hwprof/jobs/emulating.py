"""Builds the emulator of the emulated devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hwprof.backends.emulator import location
from hwprof.backends.emulator.build import build


def build_emulator(fresh: bool = False, on_note: Callable[[str], None] = lambda _text: None) -> Mapping[str, str]:
    """Builds the missing parts, or everything if `fresh`. Returns the folder and the versions.

    Raises EnvironmentUnfitError where a tool, the network or space on the disk is missing.
    """
    versions = build(on_note, fresh)
    return {"folder": str(location.cache()), **versions}
