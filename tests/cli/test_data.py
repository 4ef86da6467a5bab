import json
from pathlib import Path

import pytest

from hwprof.__main__ import run

pytestmark = pytest.mark.usefixtures("tiny_spaces")


def imported(tmp_path: Path, *arguments: str, rows: str = "1-0-1-0,2.5\n1-1-1-0,0\n1-2-1-0,5\n") -> int:
    (tmp_path / "lat.csv").write_text("arch,pixel\n" + rows)
    return run(
        ["data", "import", str(tmp_path / "lat.csv"), "--space", "space", "--arch-column", "arch", "--latency-column",
         "pixel", "--device-name", "pixel3", "--source", "a paper", "--licence", "MIT", "--out", str(tmp_path / "out"),
         *arguments]
    )  # fmt: skip


def test_imported_rows_are_counted_and_refused_ones_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert imported(tmp_path, "--unit", "us", "--format", "json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["networks"], record["least_ms"], record["most_ms"]) == (2, 0.0025, 0.005)
    assert (record["evidence"], record["converged"], record["licence"]) == ("imported", None, "MIT")
    assert record["refused"] == [{"row": 2, "reason": "latency '0' is not a positive number"}]


def test_only_the_first_of_many_refused_rows_are_told_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert imported(tmp_path, rows="1-0-1-0,1\n" + "1-0-0-0,-1\n" * 25) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "row 2: latency '-1' is not a positive number"
    assert told[20:] == ["... and 5 more rows; --format json lists them all"]


def test_an_unknown_column_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert imported(tmp_path, "--latency-column", "iphone") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no column 'iphone'; known: arch, pixel" in line


def test_data_sets_are_shown_side_by_side(collected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    imported(tmp_path)
    capsys.readouterr()
    assert run(["data", "show", str(collected), str(tmp_path / "out"), "--format", "csv"]) == 0
    header, ours, theirs = capsys.readouterr().out.splitlines()
    assert header == "data,space,device,evidence,networks,converged,median ms,range ms,+-"
    assert ",space,noisy,analytic,32," in ours
    assert ",space,pixel3,imported,2,,3.75,2.5 .. 5," in theirs


def test_a_folder_that_is_no_data_set_does_not_hide_the_others(collected: Path, tmp_path: Path, capsys):
    assert run(["data", "show", str(tmp_path), str(collected), "--format", "csv"]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    (line,) = told.err.splitlines()
    assert line.startswith(f"hwprof: data set {tmp_path}: dataset.toml: there is no such file")


def test_a_changed_data_set_is_not_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    imported(tmp_path)
    assert run(["data", "validate", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "graphs.jsonl").open("a") as file:
        file.write("\n")
    capsys.readouterr()
    assert run(["data", "validate", str(tmp_path / "out")]) == 2
    assert "graphs.jsonl changed since its card was written" in capsys.readouterr().err
