"""The names that `import hwprof as hp` offers."""

import ast
import importlib
import sys

import pytest

import hwprof
from hwprof.jobs import reporting
from tests.imports import PACKAGE


def names_for_type_checkers() -> set[str]:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname or alias.name for node in block.body for alias in node.names}


def test_type_checkers_see_the_names_that_are_offered():
    assert names_for_type_checkers() == set(hwprof.__all__) == set(hwprof._LOADERS)


@pytest.mark.parametrize("name", hwprof.__all__)
def test_every_name_is_there_and_is_public_where_it_comes_from(name: str):
    found = getattr(hwprof, name)
    home = importlib.import_module(found.__module__)
    assert getattr(home, found.__name__) is found


def test_a_room_does_not_replace_the_verb_of_its_name():
    room = importlib.import_module("hwprof.report.page")
    assert hwprof.report is reporting.report
    assert sys.modules["hwprof.report.page"] is room


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hwprof' has no attribute 'prophesy'"):
        hwprof.prophesy  # noqa: B018
