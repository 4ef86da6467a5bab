from pathlib import Path

import numpy as np
import pytest

from hwprof.data import encodings
from hwprof.data.encodings import KeptEncodings

ROWS = [(np.array([1.0, 0.1]), frozenset({"Conv", "Relu"})), (np.array([2.0, 0.2]), frozenset())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    KeptEncodings.read(tmp_path, "physical").keep(["a", "b"], ROWS)
    return tmp_path


def test_rows_and_kinds_come_back_as_they_were(folder: Path):
    found = KeptEncodings.read(folder, "physical").rows
    assert [(name, row.tolist(), kinds) for name, (row, kinds) in found.items()] == [
        ("a", [1.0, 0.1], {"Conv", "Relu"}), ("b", [2.0, 0.2], set()),
    ]  # fmt: skip


def test_rows_are_added_to_those_that_are_kept(folder: Path):
    KeptEncodings.read(folder, "physical").keep(["c"], ROWS[:1])
    assert list(KeptEncodings.read(folder, "physical").rows) == ["a", "b", "c"]


def test_another_encoding_has_a_file_of_its_own(folder: Path):
    assert not KeptEncodings.read(folder, "other").rows


def test_rows_of_other_code_do_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encodings, "identity_of_code", lambda _places: "changed")
    assert not KeptEncodings.read(folder, "physical").rows


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b.replace(b"rows", b"cows")])
def test_a_damaged_file_counts_as_absent(folder: Path, damage):
    path = folder / "encodings-physical.npz"
    path.write_bytes(damage(path.read_bytes()))
    assert not KeptEncodings.read(folder, "physical").rows


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path):
    kept = KeptEncodings.read(tmp_path / "absent", "physical")
    kept.keep(["a", "b"], ROWS)
    assert list(kept.rows) == ["a", "b"]
