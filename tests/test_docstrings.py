"""Every public function that takes or returns arrays states their shapes in its docstring, be it "scalar"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports import modules, room

PACKAGE = modules()["hwprof"].parent
ARRAYS = re.compile(r"\b(ndarray|NDArray|Tensor|Integers|Samples)\b")
SHAPE = re.compile(r"\[[^\[\]]*\](?!\()|\bscalar\b")  # [n, n_features], [], [...]
ROOMS = sorted({room(module) for module in modules()})


def functions(body: list[ast.stmt], owner: ast.ClassDef | None = None) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Name, function and the text that may state its shapes: its docstring; `__call__`, `__init__` and properties
    also by that of their class."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body, node)
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__call__"):
            text = ast.get_docstring(node) or ""
            if owner and node.name == "__call__":
                text += ast.get_docstring(owner) or ""
            yield f"{owner.name}.{node.name}" if owner else node.name, node, text


def annotations(function: ast.FunctionDef) -> str:
    """The types of the arguments and of the result, as they are written."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    notes = [a.annotation for a in every if a is not None and a.annotation is not None]
    return ", ".join(ast.unparse(note) for note in [*notes, *([function.returns] if function.returns else [])])


def shapeless(path: Path) -> Iterator[str]:
    """One line for each public function whose docstring gives no shape for its arrays."""
    for name, function, text in functions(ast.parse(path.read_text()).body):
        is_overload = any(ast.unparse(decorator) == "overload" for decorator in function.decorator_list)
        if ARRAYS.search(annotations(function)) and not SHAPE.search(text) and not is_overload:
            yield f"{path.relative_to(PACKAGE.parent)}:{function.lineno}: {name} states no shape, as in [n, n_features]"


@pytest.mark.parametrize("name", ROOMS)
def test_public_functions_state_the_shapes_of_their_arrays(name: str):
    found = [line for module, path in modules().items() if room(module) == name for line in shapeless(path)]
    assert found == [], "\n".join(found)
