"""Imports go strictly down the floors; on one floor only within a package (DESIGN)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "hwprof"
FLOORS = [
    {
        "graph",
        "device",
        "measurement",
        "metrics",
        "latency_loss",
        "relaxed_latency",
        "multilinear_latency",
        "errors",
        "unit",
        "files",
        "instructions",
    },
    {"cost", "dataset", "dataset_import", "store", "plugins", "onnx_io", "torch_io", "builder"},
    {"encoders", "variants", "interfaces"},
    {"sampling"},  # below the spaces that it samples and the predictors that choose what to measure
    {"spaces", "workloads", "predictors", "latency_table", "backends", "arch_latency"},
    {"testing", "measure", "report", "explain", "expected_latency", "budget"},
    {"search", "compress", "fleet"},
    {"jobs"},
    {"cli"},
    {"__main__"},
]
MODULES = sorted(ROOT.rglob("*.py"))


def floor(part: str) -> int:
    return next(i for i, parts in enumerate(FLOORS) if part in parts)


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported_parts(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {n.split(".")[1] for n in names if n.startswith("hwprof.")} - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_floors_below(path: Path):
    own = part_of(path)
    if own == "__init__":
        return
    above = {p for p in imported_parts(path) - {own} if floor(p) >= floor(own) and floor(own) > 1}
    assert not above, f"{path} (floor {floor(own)}) imports {above}"


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(p) != "__init__"], ids=lambda p: p.stem)
def test_the_two_lowest_floors_import_nothing_above_themselves(path: Path):
    own = part_of(path)
    if floor(own) <= 1:
        assert all(floor(p) <= floor(own) for p in imported_parts(path))
