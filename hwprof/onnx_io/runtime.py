"""ONNX Runtime as hwprof imports it everywhere: without telemetry, and with one-line errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.graph import Graph
from hwprof.onnx_io.runtime_messages import plain_error

# From 1.29 on the Linux wheels write files, start a thread and try to upload unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

__all__ = ["ERRORS", "onnxruntime", "plain_errors"]

# ONNX Runtime's errors do not share a base class.
ERRORS: tuple[type[Exception], ...] = (
    *(e for e in vars(native).values() if isinstance(e, type) and issubclass(e, Exception)),
    RuntimeError,  # raised directly by a bound run that fails
)


@contextmanager
def plain_errors(graph: Graph) -> Iterator[None]:
    """Turns the runtime's errors, when loading or later, into one line each."""
    try:
        yield
    except ERRORS as error:
        text = plain_error(str(error))
        if "Failed to allocate memory" in text:
            raise EnvironmentUnfitError(f"not enough memory to run {graph.name!r}: {text}") from None
        raise InputError(f"onnxruntime cannot run {graph.name!r}: {text}") from None
