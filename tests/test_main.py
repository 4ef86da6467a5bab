"""The rim of the command line: what becomes of errors that no one expected."""

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
