"""Imports point strictly down the floors of docs/ARCHITECTURE.md, on one floor only within a room, in no circle."""

import ast
import re

import pytest

from tests.imports import arrows, cycles, floors, modules, room
from tests.rooms import arrows_by_room, drawing, lines_by_room

KNOWN = modules()
ARROWS = arrows(KNOWN)
FLOORS = floors()
CONSUMERS = {"search", "compress", "fleet"}
MOST_LOOSE = 15
LARGEST_SHARE = 0.2


def floor(of_room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if of_room in rooms)


def test_every_room_is_on_one_floor():
    on_floors = [name for rooms in FLOORS for name in rooms]
    assert sorted(on_floors) == sorted({room(m) for m in KNOWN} - {"__init__"})


@pytest.mark.parametrize("module", [m for m in KNOWN if room(m) != "__init__"])
def test_a_module_imports_only_from_floors_below(module: str):
    own = floor(room(module))
    others = {room(m) for m in ARROWS[module]} - {room(module), "__init__"}
    assert not {other for other in others if (floor(other) >= own and own > 0) or floor(other) > own}


@pytest.mark.parametrize("module", [m for m in KNOWN if room(m) in CONSUMERS])
def test_a_consumer_knows_no_runtime(module: str):
    assert "backends" not in {room(m) for m in ARROWS[module]}


def test_no_modules_import_each_other():
    assert cycles(ARROWS) == []


def test_few_modules_are_loose_and_no_room_holds_more_than_a_fifth():
    lines = lines_by_room()
    loose = [m for m, path in KNOWN.items() if path.parent.name == "hwprof"]
    assert len(loose) <= MOST_LOOSE
    assert {name: n for name, n in lines.items() if n > LARGEST_SHARE * sum(lines.values())} == {}


def test_no_module_is_imported_by_a_string():
    """But by an entry point or the user's own PACKAGE.MODULE:OBJECT, which `hwprof.plugins` imports."""
    users = {m for m, path in KNOWN.items() if re.search(r"\bimport_module\(|__import__\(", path.read_text())}
    assert users <= {"hwprof.plugins"}


def test_the_modules_are_parsed_as_python_parses_them():
    for path in KNOWN.values():
        ast.parse(path.read_text())


def test_the_drawing_shows_every_room_and_every_arrow_above_the_facts():
    counts = arrows_by_room(ARROWS)
    drawn = drawing(lines_by_room(), counts)
    assert all(name in drawn for name in lines_by_room() if name != "__init__")
    assert drawn.count("<path ") == sum(other not in FLOORS[0] for _, other in counts) > 30
