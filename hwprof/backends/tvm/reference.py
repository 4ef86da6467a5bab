"""The results of ONNX Runtime: the compiled network must compute the same before it is timed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwprof.backends import onnxruntime
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph

# ONNX Runtime without fusion computes operator by operator, as the specification says.
_REFERENCE = Device("reference", "onnxruntime").with_options(graph_optimization_level="disabled")
_TOLERANCE = 1e-3  # relative to the output's largest value: sums in another order, and approximated functions
# One step of a quantized tensor, or of half precision, is larger; rounding decides which one it is.
_COARSE_TOLERANCE = 2e-2
_COARSE_TYPES = frozenset({"float16", "bfloat16", "int8", "uint8"})


def outputs(graph: Graph) -> Mapping[str, np.ndarray]:
    """The outputs by name, each of its shape [...], for the same seeded inputs that every backend gets. Raises as the
    ONNX Runtime backend does."""
    with onnxruntime.BACKEND.open(graph, _REFERENCE) as timer:
        return timer.outputs()


def require_same(graph: Graph, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """found, expected: the outputs by name, each of its shape [...]. Raises InputError for an output that differs."""
    kinds = {t.dtype for t in (*graph.inputs, *graph.weights, *graph.values)}
    tolerance = _COARSE_TOLERANCE if kinds & _COARSE_TYPES else _TOLERANCE
    for name, want in expected.items():
        have = found[name]
        if have.shape != want.shape:
            raise InputError(
                f"tvm computes {graph.name!r} wrong: output {name!r} has shape {have.shape}, not {want.shape}"
            )
        off = difference(have, want)
        if not off <= tolerance:
            raise InputError(
                f"tvm computes {graph.name!r} wrong: output {name!r} differs by {off:.1e} of its largest value from "
                "ONNX Runtime's; it is not timed"
            )


def difference(have: np.ndarray, want: np.ndarray) -> float:
    """have, want: [...]. The largest difference relative to the largest finite value in `want`; infinite where only one
    of them is a number."""
    have, want = np.asarray(have, np.float64), np.asarray(want, np.float64)
    if not want.size:
        return 0.0
    finite = np.isfinite(want)
    if not np.array_equal(have[~finite], want[~finite], equal_nan=True) or not np.isfinite(have[finite]).all():
        return float("inf")
    scale = np.abs(want[finite]).max(initial=0.0)
    return float(np.abs(have[finite] - want[finite]).max(initial=0.0) / (scale or 1.0))
