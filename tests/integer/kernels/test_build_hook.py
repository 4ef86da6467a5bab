import runpy
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.imports import PACKAGE

INTERFACE = "hatchling.builders.hooks.plugin.interface"


@pytest.fixture
def hook(monkeypatch):
    """The hook for a target, with the two attributes of hatchling's base class that it reads."""
    interface = ModuleType(INTERFACE)
    interface.BuildHookInterface = object
    for name in (INTERFACE, *(INTERFACE.rsplit(".", n)[0] for n in range(1, 5))):
        monkeypatch.setitem(sys.modules, name, interface)
    made = runpy.run_path(str(PACKAGE / "integer/kernels/build_hook.py"))["KernelBuildHook"]()
    made.root, made.warned = PACKAGE.parent, []
    made.app = SimpleNamespace(display_warning=made.warned.append)
    return made


def test_without_a_compiler_the_wheel_is_pure_and_a_warning_says_so(hook, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    hook.target_name, data = "wheel", {"artifacts": []}
    hook.initialize("standard", data)
    assert data == {"artifacts": []}
    assert hook.warned[0].startswith("hwprof is installed without its integer kernels: ")


def test_a_source_archive_is_not_compiled(hook):
    hook.target_name, data = "sdist", {"artifacts": []}
    hook.initialize("standard", data)
    assert data == {"artifacts": []}
    assert hook.warned == []
