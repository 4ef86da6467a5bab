"""Compiles the integer kernels while hwprof is installed; without a compiler, hwprof is installed without them.

Hatchling runs this file by its path (pyproject.toml); nothing of hwprof imports it.
"""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "hwprof/integer/kernels"


class KernelBuildHook(BuildHookInterface):  # type: ignore[misc]  # hatchling is not installed when types are checked
    """Hatchling finds it by its base class."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Writes the libraries next to their sources, where an editable installation finds them, too."""
        if self.target_name != "wheel":
            return
        script = runpy.run_path(str(Path(self.root, _PACKAGE, "compile.py")))
        try:
            built = script["build"]()
        except script["CompilerMissingError"] as error:
            self.app.display_warning(f"hwprof is installed without its integer kernels: {error}")
            return
        build_data["artifacts"] += [f"/{_PACKAGE}/{path.name}" for path in built]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
