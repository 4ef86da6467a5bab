from __future__ import annotations

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

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


def test_a_missing_library_is_named_with_the_purpose(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with (
        pytest.raises(
            EnvironmentUnfitError,
            match=r"a table needs the library 'yaml'; install it with: pip install 'hwprof\[data\]'",
        ),
        plugins.optional_library("a table"),
    ):
        import yaml  # noqa: F401


def test_an_object_of_the_users_own_is_found_in_the_current_folder_and_by_its_file(monkeypatch, tmp_path):
    (tmp_path / "their_objects.py").write_text("class Spaces:\n    mine = 3\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")  # so that what is added to the path is undone
    monkeypatch.chdir(tmp_path)
    assert plugins.user_object("their_objects:Spaces.mine") == 3
    assert plugins.user_object(f"{tmp_path}/their_objects.py:Spaces.mine") == 3


@pytest.mark.parametrize(
    "reference", ["their_objects", "their objects:a", "no_such_module:a", "json:no_such_name", ":a"]
)
def test_a_reference_that_leads_to_nothing_is_refused_with_what_was_given(reference):
    with pytest.raises(InputError, match=f"^'{reference}' "):
        plugins.user_object(reference)


def test_every_library_is_named_by_an_extra_that_brings_it():
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert {f"hwprof[{name}]" for name in extras} >= set(plugins._PACKAGES.values())
    assert plugins._PACKAGES["sklearn"] == "hwprof[predict]"
