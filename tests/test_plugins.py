from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from hwprof import plugins
from hwprof.errors import EnvironmentUnfitError, InputError


@pytest.fixture
def installed(monkeypatch):
    """Makes the given (name, value) pairs the only backends that are installed."""

    def install(*points):
        found = [EntryPoint(name, value, "hwprof.backends") for name, value in points]
        monkeypatch.setattr(
            plugins, "entry_points", lambda group, name=None: [p for p in found if name in (None, p.name)]
        )

    return install


def test_the_built_in_backends_are_plug_ins_like_any_other():
    assert {"onnxruntime", "openvino", "replay", "roofline"} <= set(plugins.names("backend"))


def test_the_object_behind_the_entry_point_is_loaded(installed):
    installed(("mine", "hwprof.backends.replay:BACKEND"))
    assert plugins.load("backend", "mine") is sys.modules["hwprof.backends.replay"].BACKEND


def test_an_unknown_name_is_refused_with_the_known_ones(installed):
    installed(("b", "m:B"), ("a", "m:A"))
    with pytest.raises(InputError, match="no backend is named 'nope'; known: a, b"):
        plugins.load("backend", "nope")


def test_one_name_with_two_providers_is_refused(installed):
    installed(("a", "one:A"), ("a", "two:A"))
    with pytest.raises(InputError, match="backend 'a' is provided twice, by one:A and two:A"):
        plugins.load("backend", "a")


def test_the_same_provider_seen_twice_is_one(installed):
    installed(("a", "hwprof.backends.replay:BACKEND"), ("a", "hwprof.backends.replay:BACKEND"))
    assert plugins.load("backend", "a")


def test_a_missing_library_is_named_with_the_command_that_installs_it(installed, monkeypatch):
    monkeypatch.setitem(plugins._PACKAGES, "no_such_library", "hwprof[extra]")
    installed(("a", "no_such_library.part:A"))
    with pytest.raises(
        EnvironmentUnfitError, match=r"'no_such_library'; install it with: pip install 'hwprof\[extra\]'"
    ):
        plugins.load("backend", "a")


def test_a_fault_within_hwprof_is_not_taken_for_a_missing_library(installed):
    installed(("a", "hwprof.no_such_module:A"))
    with pytest.raises(ModuleNotFoundError):
        plugins.load("backend", "a")


def test_a_module_that_only_some_uses_need_is_loaded_when_asked_for():
    assert plugins.load_module("hwprof.latency_table.json_file", "a table in json").SCHEMA == "hwprof.lut/1"


def test_a_missing_library_of_such_a_module_is_named_with_the_purpose(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "hwprof.latency_table.formats.yaml_file", raising=False)
    with pytest.raises(
        EnvironmentUnfitError, match=r"a table needs the library 'yaml'; install it with: pip install 'hwprof\[data\]'"
    ):
        plugins.load_module("hwprof.latency_table.formats.yaml_file", "a table")
