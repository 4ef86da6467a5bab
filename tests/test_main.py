"""The rim of the command line: what becomes of errors that no one expected."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwprof import __main__
from hwprof.errors import EnvironmentUnfitError


@pytest.fixture
def failing(monkeypatch):
    """Makes every command raise an error."""

    def fail_with(error: BaseException) -> int:
        def app(*_arguments, **_options):
            raise error

        monkeypatch.setattr(__main__, "app", app)
        return __main__.run(["devices"])

    return fail_with


def test_a_fault_of_hwprof_says_how_to_report_it(failing, monkeypatch, capsys):
    monkeypatch.delenv("HWPROF_DEBUG", raising=False)
    assert failing(KeyError("missing")) == 2
    text = capsys.readouterr().err
    assert text.startswith("hwprof: internal error: KeyError: 'missing'")
    assert "please report it" in text
    assert "HWPROF_DEBUG=1" in text
    assert text.count("\n") == 1


def test_a_fault_of_hwprof_shows_its_traceback_on_request(failing, monkeypatch):
    monkeypatch.setenv("HWPROF_DEBUG", "1")
    with pytest.raises(KeyError):
        failing(KeyError("missing"))


def test_too_little_memory_is_not_a_fault_of_hwprof(failing, capsys):
    assert failing(MemoryError()) == EnvironmentUnfitError.exit_status
    assert "internal error" not in capsys.readouterr().err


def ended(output: int | str, *arguments: str) -> tuple[int, str]:
    """The exit status and the standard error of a command that writes to a descriptor or a file."""
    stream = os.open(output, os.O_WRONLY) if isinstance(output, str) else output
    command = [sys.executable, "-m", "hwprof", *(arguments or ["devices"])]
    done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True)
    os.close(stream)
    return done.returncode, done.stderr


def test_a_reader_that_has_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    assert ended(writer) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_finds_no_space_is_one_line_and_unfit():
    assert ended("/dev/full") == (3, "hwprof: No space left on device\n")


def test_a_closed_output_is_no_error():
    command = f"{sys.executable} -m hwprof devices >&- 2>&-"
    assert subprocess.run(["sh", "-c", command]).returncode == 0


@pytest.mark.parametrize(
    ("command", "is_resumed"),
    [("profile net.onnx", True), ("lut build net.onnx", True), ("train data", False), ("explain net.onnx", False)],
)
def test_what_an_interrupted_command_can_go_on_from_is_said(command, is_resumed, capsys, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(__main__.app), "__call__", interrupt)
    assert __main__.run(command.split()) == 130
    assert ("the same command continues from there" in capsys.readouterr().err) is is_resumed


def test_an_interruption_while_modules_load_is_one_line():
    program = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "import hwprof.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "hwprof: interrupted\n")
