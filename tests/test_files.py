from pathlib import Path

import pytest

from hwprof.errors import EnvironmentUnfitError
from hwprof.files import write_bytes, write_text


def test_a_file_is_written_whole_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "a.txt", "é")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "é"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(EnvironmentUnfitError, match="No such file or directory"):
        write_bytes(tmp_path / "missing" / "a", b"")


def test_a_full_disk_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "a"
    write_bytes(target, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentUnfitError, match="No space left"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
