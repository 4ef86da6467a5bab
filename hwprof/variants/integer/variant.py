"""The variant "integer": a float network with Q/DQ pairs everywhere, which integers run whole, by its name."""

from __future__ import annotations

from pathlib import Path

import onnx

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.variants.apply import Job
from hwprof.variants.integer import calibration
from hwprof.variants.weights import load_weights, model_with

_OPSET = 13  # DequantizeLinear knows an axis from here on


def make(job: Job) -> list[str]:
    """Writes the job's path. Returns warnings.

    Raises InputError for an argument, for data that do not fit, and for a network that integers cannot run;
    EnvironmentUnfitError without ONNX Runtime.
    """
    if job.argument:
        raise InputError(f"variant 'integer' takes no argument, not {job.argument!r}")
    samples, warnings = job.samples()
    batches = [dict(zip(samples, sample, strict=True)) for sample in zip(*samples.values(), strict=True)]
    with temporary_folder() as work:
        graph = _with_axes(job, work)
        weights = load_weights(graph, job.seed)
        calibration.write(graph, weights, calibration.observed_ranges(graph, weights, batches), job.path)
    return warnings


def _with_axes(job: Job, work: Path) -> Graph:
    """The network in an opset whose DequantizeLinear knows an axis."""
    if dict(job.graph.opsets).get("", 0) >= _OPSET:
        return job.graph
    model = model_with(job.graph, load_weights(job.graph, job.seed))
    path = work / "converted.onnx"
    onnx_io.save(onnx.version_converter.convert_version(model, _OPSET), path)
    return onnx_io.load(path).renamed(job.graph.name)
