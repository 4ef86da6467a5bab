"""Variants of a network by a short name, with its real weights, as a new .onnx file.

int8             static QDQ quantization; `int8:s8s8` or `int8:u8u8` for other types than u8s8 of activations, weights
fp16             float16 inside, float32 at inputs and outputs
prune:0.5        half of the channels of every prunable group stay
sparse:0.9       nine tenths of each weight tensor are zero; dense kernels are not faster for it
lowrank:0.25     two factors of a quarter of the full rank; `lowrank:16` of rank 16, `lowrank:0.25:spatial`

`hwprof.jobs` knows one more, which stands on all of this: integer, QDQ everywhere (`hwprof.variants.integer.variant`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import onnx

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.onnx_io import load, save
from hwprof.variants.factorize import Scheme, factorize_weights
from hwprof.variants.half import LARGEST_FLOAT16, half
from hwprof.variants.prune import prune_weights
from hwprof.variants.samples import Samples, random_samples, read_samples
from hwprof.variants.sparsify import sparsify_weights
from hwprof.variants.weights import load_weights, model_with

RANDOM_SAMPLES = 8
_REASON_WIDTH = 200
_NOT_TRAINED = "the network was not trained further: its latency means something, its accuracy does not"


@dataclass(frozen=True, slots=True)
class Job:
    """What to make: the network, the part of the spec behind its name, where to write, on what to calibrate."""

    graph: Graph
    argument: str
    path: Path
    calibration: Path | None
    seed: int

    def samples(self) -> tuple[Samples, list[str]]:
        """What to calibrate on, and a warning where that is random. Raises InputError for data that do not fit."""
        if self.calibration:
            return read_samples(self.graph, self.calibration), []
        return random_samples(self.graph, RANDOM_SAMPLES, self.seed), [
            f"calibrated with {RANDOM_SAMPLES} random inputs: its latency means something, its accuracy does not"
        ]


Make = Callable[[Job], list[str]]  # writes the job's path, and returns warnings


def apply_variant(
    graph: Graph, spec: str, out_dir: Path, calibration: Path | None = None, seed: int = 0,
    variants: Mapping[str, Make] | None = None,
) -> tuple[Graph, list[str]]:  # fmt: skip
    """The graph of the new file OUT_DIR/NAME-SPEC.onnx, and warnings for the user. variants: `VARIANTS` or more.

    Weights are those of `graph.source`, else seeded random ones. Raises InputError for an unknown spec or a
    network that the variant does not fit, EnvironmentUnfitError when a library or memory is missing.
    """
    name, _, argument = spec.partition(":")
    known = VARIANTS if variants is None else variants
    makes = {example.partition(":")[0]: make for example, make in known.items()}
    if name not in makes:
        raise InputError(f"no variant is named {name!r}; known: {', '.join(known)}")
    title = f"{graph.name}-{spec.replace(':', '')}"
    path = out_dir / f"{title.replace(os.sep, '_')}.onnx"
    warnings = makes[name](Job(graph, argument, path, calibration, seed))
    return load(path).renamed(title), warnings


def _int8(job: Job) -> list[str]:
    types = job.argument or "u8s8"
    if types not in ("u8s8", "s8s8", "u8u8"):
        raise InputError(f"no combination of int8 types is named {types!r}; known: u8s8, s8s8, u8u8")
    if find_spec("onnxruntime") is None:
        raise EnvironmentUnfitError(
            "variant 'int8' needs the library 'onnxruntime'; install it with: pip install 'hwprof[onnxruntime]'"
        )
    if any(node.op == "QuantizeLinear" for node in job.graph.nodes):
        raise InputError(f"network {job.graph.name!r} is quantized already; give the float one")
    samples, warnings = job.samples()
    with temporary_folder() as work:
        source, data, result = (work / name for name in ("float.onnx", "samples.npz", job.path.name))
        save(model_with(job.graph, load_weights(job.graph, job.seed)), source)
        np.savez(data, allow_pickle=False, **samples)
        warnings += _run_quantizer(job, source, data, result, types, work)
        save(onnx.load(result), job.path)
    return warnings


def _run_quantizer(job: Job, source: Path, samples: Path, result: Path, types: str, work: Path) -> list[str]:
    arguments = [str(p) for p in (source, samples, result, types, work)]
    done = subprocess.run(
        [sys.executable, "-m", "hwprof.variants.onnx_quantize", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        raise EnvironmentUnfitError(
            f"signal {-done.returncode} killed the quantizer on {job.graph.name!r}; is there memory enough for it?"
        )
    if done.returncode:
        reason = textwrap.shorten(done.stderr.strip().rpartition("\n")[2], _REASON_WIDTH)
        raise InputError(f"ONNX Runtime cannot quantize {job.graph.name!r}: {reason}")
    warnings: list[str] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return warnings


def _fp16(job: Job) -> list[str]:
    if job.argument:
        raise InputError(f"variant 'fp16' takes no argument, not {job.argument!r}")
    smaller = half(job.graph)
    weights = load_weights(job.graph, job.seed)
    too_large = [n for n, w in weights.items() if w.dtype.kind == "f" and np.abs(w).max(initial=0) > LARGEST_FLOAT16]
    limited = {n: np.clip(w, -LARGEST_FLOAT16, LARGEST_FLOAT16) if n in too_large else w for n, w in weights.items()}
    save(model_with(smaller, limited), job.path)
    return [f"values of {name!r} above {LARGEST_FLOAT16:.0f} were cut to what float16 holds" for name in too_large]


def _prune(job: Job) -> list[str]:
    smaller, weights = prune_weights(job.graph, load_weights(job.graph, job.seed), _share(job))
    save(model_with(smaller, weights), job.path)
    if smaller == job.graph:
        return ["no channel could be pruned: this is the network as it was"]
    return [_NOT_TRAINED]


def _sparse(job: Job) -> list[str]:
    weights = load_weights(job.graph, job.seed)
    save(model_with(job.graph, sparsify_weights(job.graph, weights, _share(job))), job.path)
    return [_NOT_TRAINED, "dense kernels multiply the zeros too: the latency is that of the dense network"]


def _lowrank(job: Job) -> list[str]:
    rank, _, scheme = job.argument.partition(":")
    value = int(rank) if rank.isdecimal() else _share(replace(job, argument=rank))
    # factorize_weights checks the scheme that the user wrote
    smaller, weights = factorize_weights(
        job.graph, load_weights(job.graph, job.seed), value, cast("Scheme", scheme or "channel")
    )
    save(model_with(smaller, weights), job.path)
    if smaller == job.graph:
        return ["no operator gets smaller at this rank: this is the network as it was"]
    return [_NOT_TRAINED]


def _share(job: Job) -> float:
    try:
        return float(job.argument)
    except ValueError:
        raise InputError(f"the variant wants a number, not {job.argument!r}; examples: {', '.join(VARIANTS)}") from None


# By an example of how each is written.
VARIANTS: Mapping[str, Make] = {
    "int8": _int8,
    "fp16": _fp16,
    "prune:0.5": _prune,
    "sparse:0.9": _sparse,
    "lowrank:0.25": _lowrank,
}
