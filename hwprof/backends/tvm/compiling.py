"""From a graph to machine code: ONNX to Relax, operators fused into kernels, kernels scheduled and compiled."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any

from hwprof import onnx_io
from hwprof.backends.tvm.library import relax, tvm
from hwprof.backends.tvm.target import Target
from hwprof.errors import InputError
from hwprof.graph import Graph

_DOMAINS = ("", "ai.onnx", "com.microsoft")  # the importer looks only at names, not at domains
_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    AssertionError,
    IndexError,
    NotImplementedError,
)
_transform = relax.transform


@dataclass(frozen=True, slots=True)
class Compiled:
    """`executable` holds the machine code; `tuned` of its `kernels` different kernels have a tuned schedule."""

    executable: Any
    kernels: int
    tuned: int


def lower(graph: Graph, target: Target) -> Any:
    """The module of fused kernels in the order of their calls, not yet scheduled.

    Raises InputError, naming the operator, for a graph that TVM cannot import.
    """
    for node in graph.nodes:
        if node.domain not in _DOMAINS:
            raise InputError(f"tvm cannot run {graph.name!r}: its importer has no operator {node.domain}.{node.op}")
    with _plain_errors(graph), target:
        module = relax.frontend.onnx.from_onnx(onnx_io.materialize(graph), keep_params_in_input=False)
        passes = [_transform.DecomposeOpsForInference(), _transform.CanonicalizeBindings()]
        return tvm.transform.Sequential([*passes, relax.get_pipeline("zero")])(module)


def compile_module(graph: Graph, module: Any, target: Target, database: Any | None) -> Compiled:
    """Machine code with the schedules of the database, or TVM's default ones. Raises InputError."""
    before = kernel_names(module)
    with _plain_errors(graph), target, database or nullcontext():
        if database is not None:
            module = _transform.MetaScheduleApplyDatabase()(module)
        tuned = sum(bool((module[name].attrs or {}).get("tirx.is_scheduled", False)) for name in before)
        return Compiled(tvm.compile(module, target=target), len(before), tuned)


def kernel_names(module: Any) -> Sequence[str]:
    """Names of the module's functions that compute tensors."""
    return [var.name_hint for var, function in module.functions.items() if isinstance(function, tvm.tirx.PrimFunc)]


@contextmanager
def _plain_errors(graph: Graph) -> Iterator[None]:
    """The importer raises whatever its Python code runs into, and prints the operator's name."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # renamed inputs
            yield
    except tvm.error.OpNotImplemented as error:
        missing = str(error).partition("ONNX: ")[2] or str(error)
        raise InputError(f"tvm cannot run {graph.name!r}: its importer has no operator {missing}") from None
    except _ERRORS as error:
        at = re.search(r"Error converting operator (\w+)", printed.getvalue())
        where = f"operator {at[1]}: " if at else ""
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"tvm cannot run {graph.name!r}: {where}{reason[-1]}") from None
