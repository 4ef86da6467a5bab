import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hwprof.__main__ import run
from hwprof.data.store import Store
from tests.data.test_store_care import changed, filled


def test_a_sound_store_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = filled(tmp_path / "s.db", "a", "b")
    assert run(["store", "check", str(path), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    counts = {
        "measurements": 2,
        "unfinished": 0,
        "processes": 2,
        "comparisons": 0,
        "results": 0,
        "scores": 0,
        "graphs": 0,
        "damage": 0,
    }
    assert row == {"store": str(path)} | counts


def test_each_damage_is_a_line_and_the_last_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = changed(filled(tmp_path / "s.db", "a", "b"), "UPDATE process SET record = '5'")
    assert run(["store", "check", str(path)]) == 2
    first, second, last = capsys.readouterr().err.splitlines()
    assert "measurement 1" in first
    assert "measurement 2" in second
    assert last.startswith(f"hwprof: store '{path}' is damaged in 2 places; hwprof store merge {path} --out NEW.db")


def test_stores_are_merged_into_a_new_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    paths = [str(filled(tmp_path / f"{name}.db", name)) for name in "ab"]
    assert run(["store", "merge", *paths, "--out", str(tmp_path / "both.db"), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["measurements"], row["repeated"], row["damage"]) == (2, 0, 0)
    with Store(tmp_path / "both.db") as store:
        assert [m.model for m in store.measurements()] == ["a", "b"]


def test_another_programs_database_is_one_line_for_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with closing(sqlite3.connect(tmp_path / "places.db")) as db:
        db.execute("CREATE TABLE moz_places (url TEXT)")
    path = str(tmp_path / "places.db")
    for arguments in (
        ["store", "check", path],
        ["store", "merge", path, "--out", str(tmp_path / "out.db")],
        ["report", "--store", path, "-o", str(tmp_path / "r.html")],
        ["profile", "light_squeezenet", "--store", path],
    ):
        assert run(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "is another program's database" in line
    assert [p.name for p in tmp_path.iterdir()] == ["places.db"]
