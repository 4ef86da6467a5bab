from __future__ import annotations

from dataclasses import dataclass

import pytest

from hwprof.backends import options
from hwprof.device import Device
from hwprof.errors import InputError


@dataclass(frozen=True)
class Known:
    path: str
    speed: float = 1.0
    count: int = 2
    quick: bool | None = None


def read(**given):
    return options.read(Known, Device("d", "b").with_options(**given))


def test_options_fill_the_fields_and_leave_the_defaults():
    assert read(path="p", count=3) == Known("p", 1.0, 3, None)


def test_a_whole_number_will_do_for_a_fraction():
    assert read(path="p", speed=2) == Known("p", 2.0)


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no option 'sped'; known: count, path, quick, speed"):
        read(path="p", sped=1)


def test_a_missing_option_is_named():
    with pytest.raises(InputError, match="needs the option 'path'"):
        read()


@pytest.mark.parametrize("given", [{"path": 1}, {"path": "p", "count": True}, {"path": "p", "quick": "yes"}])
def test_an_option_of_the_wrong_type_is_refused(given):
    with pytest.raises(InputError, match="must be"):
        read(**given)


def test_the_process_is_the_option_then_the_environment_then_the_first(monkeypatch):
    monkeypatch.delenv("HWPROF_PROCESS", raising=False)
    assert options.process_number(-1) == 0
    monkeypatch.setenv("HWPROF_PROCESS", "3")
    assert options.process_number(-1) == 3
    assert options.process_number(1) == 1
    monkeypatch.setenv("HWPROF_PROCESS", "x")
    with pytest.raises(InputError, match="HWPROF_PROCESS must be the number"):
        options.process_number(-1)
