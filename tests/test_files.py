import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hwprof import files
from hwprof.errors import EnvironmentUnfitError
from hwprof.files import write_bytes, write_text


def test_a_file_is_written_whole_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "a.txt", "é")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "é"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(EnvironmentUnfitError, match="No such file or directory"):
        write_bytes(tmp_path / "missing" / "a", b"")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/a", "No such file or directory"), ("file/a", "Not a directory"), (".", "Is a directory")],
)
def test_where_no_file_can_be_written_is_known_before(tmp_path: Path, name: str, reason: str):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentUnfitError, match=reason):
        files.require_writable(tmp_path / name)
    files.require_writable(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "a"
    write_bytes(target, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentUnfitError, match="No space left"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def killed(program: str) -> str:
    """What a process printed before it was killed."""
    program += "\nimport os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", f"import sys\n{program}"], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


@pytest.fixture
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_goes_with_its_context(own_tmp: Path):
    with files.temporary_folder() as folder:
        (folder / "model.onnx").touch()
        assert list(own_tmp.iterdir()) == [folder]
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(own_tmp.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_uses_is_not(own_tmp: Path):
    left = killed(
        "from hwprof import files\nfolder = files.temporary_folder()\npath = folder.__enter__()\n"
        "(path / 'sub').mkdir(); (path / 'sub' / 'model.onnx').touch(); print(path)"
    )
    assert (Path(left) / "sub" / "model.onnx").exists()
    with files.temporary_folder() as first, files.temporary_folder() as second:
        assert sorted(own_tmp.iterdir()) == sorted([first, second])


def test_folders_of_others_and_links_stay(own_tmp: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").touch()
    (own_tmp / "hwprof-run-link").symlink_to(elsewhere)
    (own_tmp / "hwprof-other").mkdir()
    with files.temporary_folder():
        pass
    assert (elsewhere / "precious").exists()
    assert (own_tmp / "hwprof-other").exists()


def test_a_temporary_folder_that_cannot_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(EnvironmentUnfitError, match="cannot make a folder in '/nowhere'"), files.temporary_folder():
        pass


def test_a_lock_has_one_holder_and_ends_with_it(tmp_path: Path):
    path, held = files.new_locked_file(tmp_path / "run-")
    assert held is not None
    assert files.lock(path) is None
    assert not files.remove_unlocked(path)
    os.close(held)
    assert files.remove_unlocked(path)
    assert not path.exists()
    assert files.remove_unlocked(path)  # gone is not in use
    assert files.lock(path) is None


def test_a_lock_of_a_killed_process_is_nobodys(tmp_path: Path):
    prefix = str(tmp_path / "run-")
    left = Path(killed(f"from hwprof import files\nprint(files.new_locked_file({prefix!r})[0])"))
    assert left.exists()
    assert files.remove_unlocked(left)
