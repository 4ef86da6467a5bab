"""The fleet's file: where its scheduler is, which keys it trusts, and which boards measure which devices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.files import reading, toml_table

SCHEMA = "hwprof.fleet/1"
GROUP_S = 60.0
PATIENCE_S = 3600.0
EXAMPLE = f"""\
schema = "{SCHEMA}"
scheduler = "127.0.0.1:8786"    # where `hwprof fleet up` runs, as every board reaches it
keys = "fleet-keys"             # made by `hwprof fleet init`; relative to this file

[[board]]                       # its agent is started on it: hwprof fleet agent fleet.toml NAME
name = "board-1"
devices = ["cpu-1t"]

# [[board]]                     # its agent is started by `hwprof fleet up`, on that machine
# name = "this-machine"
# devices = ["cpu-1t"]
# launch = "here"

# [[board]]                     # nothing of the fleet runs on it, only OpenSSH's server and hwprof
# name = "board-3"
# devices = ["cpu-1t"]
# launch = "ssh"
# host = "pi@10.0.0.5"
# python = "/home/pi/.venv/bin/python"
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._@:%\]\[-]*")
_FIELDS = {"schema", "scheduler", "keys", "board", "group_s", "patience_s"}
_BOARD_FIELDS = {"name", "devices", "launch", "host", "python"}


class Launch(StrEnum):
    """Who starts a board's agent: the board itself, `hwprof fleet up` on its own machine, or `hwprof fleet up` for a
    board that is reached through SSH."""

    AGENT = "agent"
    HERE = "here"
    SSH = "ssh"


@dataclass(frozen=True, slots=True)
class PlannedBoard:
    """One machine that measures, with the names of its devices. host, python: how SSH reaches it."""

    name: str
    devices: tuple[str, ...]
    launch: Launch = Launch.AGENT
    host: str = ""
    python: str = "python3"


@dataclass(frozen=True, slots=True)
class Plan:
    """scheduler: HOST:PORT. group_s: how long a request should last, so that one scheduler serves many boards.
    patience_s: how long a job waits for a board before it gives up."""

    path: Path
    scheduler: str
    keys: Path
    boards: tuple[PlannedBoard, ...]
    group_s: float = GROUP_S
    patience_s: float = PATIENCE_S

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Raises InputError for a file that is missing or wrong."""
        subject = f"fleet file {path}"
        table = toml_table(Path(path), subject)
        with reading(subject):
            return _read(Path(path), table)

    @property
    def address(self) -> str:
        """Dask's address of the scheduler."""
        return f"tls://{self.scheduler}"

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.scheduler.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def devices(self) -> list[str]:
        """The names of all devices, each once, in the order of the file."""
        return list(dict.fromkeys(device for board in self.boards for device in board.devices))

    def board(self, name: str) -> PlannedBoard:
        """Raises InputError for a name that the file lacks."""
        for board in self.boards:
            if board.name == name:
                return board
        known = ", ".join(board.name for board in self.boards)
        raise InputError(f"fleet file {self.path} has no board {name!r}; known: {known}")

    def boards_of(self, device: str) -> list[PlannedBoard]:
        """The boards that measure the device, also with another number of threads (NAME/2t). Raises InputError where
        none does."""
        found = [board for board in self.boards if device.partition("/")[0] in board.devices]
        if not found:
            raise InputError(f"no board of {self.path} has the device {device!r}; known: {', '.join(self.devices)}")
        return found


def _read(path: Path, table: dict[str, Any]) -> Plan:
    _require_known(table, _FIELDS)
    if table.get("schema") != SCHEMA:
        raise InputError(f"schema is {table.get('schema')!r}, but this version reads {SCHEMA!r}")
    scheduler = _text(table, "scheduler").removeprefix("tls://")
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}", scheduler):
        raise InputError(f"scheduler must be HOST:PORT, such as 192.168.1.2:8786, not {scheduler!r}")
    boards = tuple(_board(record) for record in _tables(table))
    names = [board.name for board in boards]
    if len(set(names)) < len(names):
        raise InputError(f"two boards have one name; the names are {', '.join(names)}")
    return Plan(
        path, scheduler, path.parent / _text(table, "keys"), boards,
        _seconds(table, "group_s", GROUP_S), _seconds(table, "patience_s", PATIENCE_S),
    )  # fmt: skip


def _tables(table: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    boards = table.get("board")
    if not isinstance(boards, list) or not boards:
        raise InputError("it has no [[board]]; add one for each machine that measures")
    return boards


def _board(record: dict[str, Any]) -> PlannedBoard:
    _require_known(record, _BOARD_FIELDS)
    name, devices, launch = _text(record, "name"), record.get("devices"), str(record.get("launch", Launch.AGENT))
    if not _NAME.fullmatch(name):
        raise InputError(f"a board's name is made of letters, digits, '.', '_' and '-', not {name!r}")
    if not isinstance(devices, list) or not devices or not all(isinstance(d, str) and d for d in devices):
        raise InputError(f"devices of board {name!r} must be a list of names, not {devices!r}")
    if launch not in set(Launch):
        raise InputError(f"launch of board {name!r} is {launch!r}; known: {', '.join(Launch)}")
    host, python = str(record.get("host", "")), str(record.get("python", "python3"))
    if (launch == Launch.SSH) != bool(host):
        raise InputError(f'board {name!r}: host goes with launch = "ssh", and only with it')
    if host and not _HOST.fullmatch(host):
        raise InputError(f"host of board {name!r} must be HOST or USER@HOST, not {host!r}")
    return PlannedBoard(name, tuple(devices), Launch(launch), host, python)


def _require_known(record: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(record.keys() - known):
        raise InputError(f"unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str) or not value:
        raise InputError(f"field {field!r} must be a text, not {value!r}")
    return value


def _seconds(record: Mapping[str, Any], field: str, default: float) -> float:
    value = record.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"field {field!r} must be a positive number of seconds, not {value!r}")
    return float(value)
