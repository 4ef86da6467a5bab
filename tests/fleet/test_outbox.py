import os
from pathlib import Path

from hwprof.fleet.outbox import Outbox


def test_an_answer_is_there_until_it_is_removed(tmp_path: Path):
    box = Outbox(tmp_path)
    box.put("abc", {"x": 1})
    assert box.get("abc") == {"x": 1}
    assert [*Outbox(tmp_path).names()] == ["abc"]
    box.remove(["abc", "unknown"])
    assert box.get("abc") is None


def test_a_damaged_answer_is_none(tmp_path: Path):
    (tmp_path / "abc.json").write_text('{"x": ')
    (tmp_path / "def.json").write_text("[]")
    assert Outbox(tmp_path).get("abc") is None
    assert Outbox(tmp_path).get("def") is None


def test_opening_removes_what_was_not_completed_and_what_is_older_than_a_week(tmp_path: Path):
    box = Outbox(tmp_path / "box")
    box.open()
    box.put("new", {})
    box.put("old", {})
    os.utime(box.folder / "old.json", (0, 0))
    (box.folder / ".half.123").write_text("{")
    box.open()
    assert [path.name for path in box.folder.iterdir()] == ["new.json"]


def test_an_answer_is_complete_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch):
    """The order of the calls that a sudden end of the machine needs: content, name, folder."""
    order = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "rename", lambda self, to: (order.append("rename"), rename(self, to)))
    Outbox(tmp_path).put("abc", {})
    assert order == ["fsync", "rename", "fsync"]
