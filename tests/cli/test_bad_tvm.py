"""Bad input to TVM's backend, from the command line: one line each, and the right exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwprof.__main__ import run
from tests.backends.tvm.conftest import Nodes
from tests.backends.tvm.test_library import distribution

DEVICE = """schema = "hwprof.device/1"
backend = "tvm"
threads = 1
{remote}
[options]
"""


def told_by(command: list[str], folder: Path) -> tuple[int, str]:
    """Status and line of a fresh process that finds the folder's packages first."""
    paths = [str(folder), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-m", "hwprof", *command], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert done.stdout == ""
    return done.returncode, line


def another_package(folder: Path) -> None:
    (folder / "tvm").mkdir()
    (folder / "tvm" / "__init__.py").write_text("raise SystemExit('imported')")


def crashing_ffi(folder: Path) -> None:
    distribution(folder, "apache-tvm", "0.27.0.post1")
    distribution(folder, "apache-tvm-ffi", "0.1.15")


def no_package(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("import sys; sys.modules['tvm'] = None")


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (another_package, "the installed package 'tvm' is not Apache TVM; install that with: "),
        (crashing_ffi, "apache-tvm 0.27.0.post1 crashes with apache-tvm-ffi 0.1.15; install the one that fits"),
        (no_package, "backend 'tvm' needs the library 'tvm'; install it with: pip install 'hwprof[tvm]'"),
    ],
)
def test_a_library_that_is_not_the_right_one(prepare, text, tmp_path: Path):
    prepare(tmp_path)
    status, line = told_by(["profile", "bert_tiny", "--device", "tvm-1t"], tmp_path)
    assert (status, text in line) == (3, True), line


@pytest.fixture
def refused(tmp_path: Path, monkeypatch, capsys):
    """Status and line of a profile on a device of these options, remote where an address is given."""
    monkeypatch.chdir(tmp_path)

    def profile(model: str, remote: str = "", **options: object) -> tuple[int, str]:
        lines = [f"{name} = {value!r}" for name, value in options.items()]
        address = f'remote = "{remote}"' if remote else ""
        (tmp_path / "d.toml").write_text(DEVICE.format(remote=address) + "\n".join(lines))
        status = run(["profile", model, "--device", "d.toml", "--fast"])
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = [x for x in told.err.splitlines() if not x.startswith("hwprof: warning")]
        return status, line

    return profile


def test_an_operator_that_it_lacks_is_named(refused):
    assert refused("lstm_lm") == (2, "hwprof: tvm cannot run 'lstm_lm': its importer has no operator LSTM")


def test_a_processor_that_it_cannot_build_for(refused):
    status, line = refused("bert_tiny", mcpu="pentium9")
    assert status == 2
    assert line.startswith("hwprof: device 'd': tvm cannot build for the processor 'pentium9'; it knows ")


def test_a_tracker_that_does_not_answer(refused):
    status, line = refused("bert_tiny", "127.0.0.1:1", key="k", mcpu="generic", wait_s=0.0)
    assert (status, line) == (
        3, "hwprof: device 'd': no TVM tracker answers at 127.0.0.1:1: Connection refused (waited 0 s)"
    )  # fmt: skip


def test_a_key_that_the_tracker_does_not_know(refused):
    nodes = Nodes()
    try:
        port = nodes.start("tracker")
        status, line = refused("bert_tiny", f"127.0.0.1:{port}", key="k", mcpu="generic", wait_s=0.0)
    finally:
        nodes.kill_last()
    assert status == 3
    assert f"the tracker at 127.0.0.1:{port} has no server with the key 'k'; no server is registered there" in line
