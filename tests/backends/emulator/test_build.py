from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwprof.backends.emulator import build, location, packages
from hwprof.errors import EnvironmentUnfitError


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnfitError, match="'gcc' is missing"):
        build.build()


def test_a_failed_command_shows_its_last_line_and_where_the_rest_is(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(EnvironmentUnfitError, match=rf"sh failed: it broke \(full log: {log}\)"):
        packages.run(["sh", "-c", "echo fine; echo it broke >&2; exit 3"], log)
    assert "fine" in log.read_text()


def test_a_folder_without_a_manifest_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))
    location.root().mkdir(parents=True)
    location.qemu().mkdir()
    (location.root() / location.MANIFEST).write_text(json.dumps({"numpy": "1"}))
    with pytest.raises(EnvironmentUnfitError, match=f"the emulator is not in {tmp_path / 'emulator'}"):
        location.versions()
    (location.qemu() / location.MANIFEST).write_text(json.dumps({"qemu": "7"}))
    assert location.versions() == {"qemu": "7", "numpy": "1"}


def test_what_is_there_is_not_built_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))
    for folder in (location.root(), location.qemu()):
        folder.mkdir(parents=True)
        (folder / location.MANIFEST).write_text(json.dumps({folder.name: "1"}))
    monkeypatch.setenv("PATH", str(tmp_path))  # no tool could be started
    said: list[str] = []
    assert build.build(said.append) == {"root": "1", "qemu": "1"}
    assert said == []


def test_the_emulated_wheels_are_those_that_hwprof_is_tested_with():
    lines = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert (pinned["onnxruntime"], pinned["numpy"]) == (build.ONNXRUNTIME, build.NUMPY)
