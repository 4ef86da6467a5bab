"""Writes a variant of a network, with its real weights, as a new .onnx file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.onnx_io import load, save
from hwprof.variants import spec as grammar
from hwprof.variants.samples import Samples, random_samples, read_samples
from hwprof.variants.spec import Variant, Weighted
from hwprof.variants.weights import load_weights, model_with

RANDOM_SAMPLES = 8
_RANDOM = f"calibrated with {RANDOM_SAMPLES} random inputs: its latency is meaningful, its accuracy is not"


def apply_variant(
    graph: Graph, spec: str | Variant, out_dir: Path, calibration: Path | None = None, seed: int = 0
) -> tuple[Graph, list[str]]:
    """The graph of the new file OUT_DIR/NAME-SPEC.onnx, and warnings for the user other than those of the graph.

    The weights are those of `graph.source`, else seeded random ones. calibration: a path that `read_samples` takes;
    without it the inputs are random. Raises InputError for a text that names no variant or a network that the variant
    does not fit, EnvironmentUnfitError without a library that it needs.
    """
    variant = grammar.parse(spec) if isinstance(spec, str) else spec
    if graph.is_program:
        raise InputError(
            f"{graph.name!r} is a PyTorch module, and a variant ({variant.text}) needs an ONNX network; export it with "
            "torch.onnx.export and give that file"
        )

    def draw(network: Graph) -> Samples:
        if calibration:
            return read_samples(network, calibration)
        return random_samples(network, RANDOM_SAMPLES, seed)

    changed = variant.rewrite(Weighted(graph, load_weights(graph, seed)), draw)
    title = f"{graph.name}-{variant.text.replace(':', '')}"
    path = out_dir / f"{title.replace(os.sep, '_')}.onnx"
    save(model_with(changed.graph, changed.weights), path)
    random = [_RANDOM] if variant.is_calibrated and not calibration else []
    written = replace(load(path).renamed(title), warnings=changed.graph.warnings)
    return written, [*random, *changed.warnings]
