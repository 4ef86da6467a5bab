"""The arrows between the files of hwprof, read from their import statements, the indented ones included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hwprof"
FLOORS_PAGE = ROOT / "docs/ARCHITECTURE.md"


def modules() -> dict[str, Path]:
    """Every module of hwprof by its dotted name."""
    return {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def arrows(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """For each module the modules of hwprof that it imports, itself left out."""
    return {name: set(_imported(path, known)) - {name} for name, path in known.items()}


def room(module: str) -> str:
    """The package or single module directly below hwprof; "__init__" for hwprof itself."""
    return module.split(".")[1] if "." in module else "__init__"


def floors() -> list[set[str]]:
    """The rooms of each floor, from the lowest, as docs/ARCHITECTURE.md has them."""
    rows = [line.strip("| \n").split(" | ") for line in FLOORS_PAGE.read_text().splitlines() if line.startswith("| ")]
    table = {int(row[0]): {name.strip("` ") for name in row[1].split(",")} for row in rows if row[0].isdecimal()}
    assert sorted(table) == list(range(len(table)))
    return [table[number] for number in range(len(table))]


def cycles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of two or more modules that import each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(arrows[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(arrows):
        if module not in index:
            visit(module)
    return found


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in (a for a in node.names if a.name != "__version__"):  # a fact that is there before all imports
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
