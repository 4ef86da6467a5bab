"""Reads from the code that torch.compile writes which operators went into which kernel.

Its comments name the variables of the module that each kernel computes ("Source Nodes: [n3, n4]"), and hwprof names
those variables after the graph's operators. Anything unreadable is left open, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hwprof.torch_io import place_of

_SOURCES = re.compile(r"# (?:Topologically Sorted )?Source Nodes: \[([^\]]*)\]")
_DEFINITION = re.compile(r"^(\w+) = async_compile\.")
_LIBRARY_CALL = re.compile(r"(?:extern_kernels\.|torch\.ops\.aten\.)(\w+)")
_KERNEL_CALL = re.compile(r"^\s+(triton_\w+)\.run\(|^\s+(cpp_fused\w+)\(")


@dataclass(frozen=True, slots=True)
class Unit:
    """One call in the compiled code: a generated kernel by its name or a library function ("aten::mm")."""

    name: str
    places: frozenset[int]


def first_call(compiled: Callable[..., Any], inputs: Sequence[Any]) -> str:
    """Calls the function for the first time, which compiles it. Returns the code; "" where PyTorch does not give it."""
    try:
        from torch._inductor.utils import run_and_get_code
    except ImportError:
        compiled(*inputs)
        return ""
    _, codes = run_and_get_code(compiled, *inputs)
    return codes[0] if len(codes) == 1 else ""


def units(code: str) -> list[Unit]:
    """The calls in their order, each with the indices of the graph's operators that it computes."""
    defined: dict[str, frozenset[int]] = {}
    found: list[Unit] = []
    sources: frozenset[int] = frozenset()
    for line in code.splitlines():
        if match := _SOURCES.search(line):
            sources = _places(match[1])
        elif match := _DEFINITION.match(line):
            defined[match[1]], sources = sources, frozenset()
        elif unit := _unit(line, sources, defined):
            found.append(unit)
            sources = frozenset()
    return found


def _unit(line: str, sources: frozenset[int], defined: dict[str, frozenset[int]]) -> Unit | None:
    if not line.startswith(" ") or "assert_size_stride" in line:
        return None
    if match := _KERNEL_CALL.match(line):
        name = match[1] or match[2]
        return Unit(name, sources or defined.get(name, frozenset()))
    if match := _LIBRARY_CALL.search(line):
        return Unit(f"aten::{match[1]}", sources)
    return None


def _places(names: str) -> frozenset[int]:
    return frozenset(place for name in names.split(",") if (place := place_of(name.strip())) is not None)
