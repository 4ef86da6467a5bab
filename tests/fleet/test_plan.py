from pathlib import Path

import pytest

from hwprof.errors import InputError
from hwprof.fleet.plan import EXAMPLE, Launch, Plan

GOOD = """schema = "hwprof.fleet/1"
scheduler = "10.0.0.1:8786"
keys = "keys"
[[board]]
name = "a"
devices = ["cpu-1t", "gpu"]
[[board]]
name = "b"
devices = ["cpu-1t"]
launch = "ssh"
host = "pi@10.0.0.5"
"""


def plan(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return Plan.load(path)


def test_a_plan_names_its_scheduler_keys_and_boards(tmp_path: Path):
    found = plan(tmp_path, GOOD)
    assert found.address == "tls://10.0.0.1:8786"
    assert found.host_and_port == ("10.0.0.1", 8786)
    assert found.keys == tmp_path / "keys"
    assert found.devices == ["cpu-1t", "gpu"]
    assert [board.name for board in found.boards_of("cpu-1t")] == ["a", "b"]
    assert found.board("b").launch is Launch.SSH


def test_a_device_with_another_number_of_threads_is_on_the_same_boards(tmp_path: Path):
    assert [board.name for board in plan(tmp_path, GOOD).boards_of("gpu/2t")] == ["a"]


def test_the_example_is_a_plan(tmp_path: Path):
    assert plan(tmp_path, EXAMPLE).boards[0].name == "board-1"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"hwprof.fleet/1"', '"other"', "this version reads 'hwprof.fleet/1'"),
        ('"10.0.0.1:8786"', '"tcp://10.0.0.1:8786"', "must be HOST:PORT"),
        ('"10.0.0.1:8786"', '"10.0.0.1"', "must be HOST:PORT"),
        ('keys = "keys"', "", "field 'keys' must be a text"),
        ('keys = "keys"', 'keys = "keys"\nport = 1', "unknown field 'port'"),
        ('name = "b"', 'name = "a"', "two boards have one name"),
        ('name = "b"', 'name = "../b"', "a board's name is made of letters"),
        ('["cpu-1t", "gpu"]', "[]", "must be a list of names"),
        ('"ssh"', '"telnet"', "known: agent, here, ssh"),
        ('host = "pi@10.0.0.5"', "", 'host goes with launch = "ssh"'),
        ('"pi@10.0.0.5"', '"-oProxyCommand=evil"', "must be HOST or USER@HOST"),
        ('keys = "keys"', 'keys = "keys"\ngroup_s = 0', "must be a positive number of seconds"),
    ],
)
def test_a_wrong_plan_is_one_line_that_names_the_fault(tmp_path: Path, old: str, new: str, words: str):
    assert old in GOOD
    with pytest.raises(InputError) as raised:
        plan(tmp_path, GOOD.replace(old, new, 1))
    assert words in str(raised.value)
    assert "fleet.toml" in str(raised.value)


def test_an_unknown_board_or_device_is_an_error_that_lists_the_known_ones(tmp_path: Path):
    found = plan(tmp_path, GOOD)
    with pytest.raises(InputError, match="has no board 'c'; known: a, b"):
        found.board("c")
    with pytest.raises(InputError, match="has the device 'tpu'; known: cpu-1t, gpu"):
        found.boards_of("tpu")
