"""Calibration: the scales of a quantized network are chosen from data.

Post-training static quantization (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018): activations get the range that they have on the data, weights that of
their rows.

2026-11-21, why states have 8 bits unless 16 are asked for. 16 take the error of an LSTM of 650 units with layer
normalization from 0.16 to 0.12 for 1.2 times the time (reports/integer-kernels), and in a trial that of a small BERT
from 0.023 to 0.011 for 1.4 times; MobileNetV2 gained nothing. 16 also need opset 21, and training simulates 8.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from hwprof import onnx_io, plugins
from hwprof.errors import InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.variants import branches, grids, quantized_values
from hwprof.variants.quantize_whole import quantize_whole, with_states
from hwprof.variants.quantized_values import Ranges
from hwprof.variants.weights import Weights, load_weights

Batch = Mapping[str, np.ndarray]


def calibrate(
    network: object,
    batches: Iterable[Batch],
    path: str | os.PathLike[str],
    state_bits: int = 8,
    weight_bits: int = 8,
) -> Graph:  # fmt: skip
    """Writes PATH, a Q/DQ model that the backend `integer` runs whole, and returns its graph.

        calibrate(net, ({"x": x} for x in arrays), "int8.onnx")

    network: a Graph, whose weights are those of its source, or a torch.nn.Module; batches: for each input an array of
    its shape by the input's name, for a module in the order of its arguments; state_bits: 8 or 16, as
    `quantize_whole` has them; weight_bits: 8, or 7 for processors without VNNI, on which the kernels are faster for
    weights from -64 to 64.

    Raises InputError without data, for data that do not fit, and for a network with an operator that integers cannot
    do; EnvironmentUnfitError without ONNX Runtime.
    """
    if isinstance(network, Graph):
        return _calibrated(network, _named(batches), Path(path), state_bits, weight_bits)
    waiting = _named(batches)
    first = next(waiting, None)
    if first is None:
        raise InputError("calibration needs at least one batch of data; none was given")
    with plugins.optional_library("a PyTorch module"):
        from hwprof.torch_io import onnx_export
    with temporary_folder() as folder:
        graph: Graph = onnx_export.export(network, first, folder / "float.onnx")
        return _calibrated(graph, chain([first], waiting), Path(path), state_bits, weight_bits)


def _named(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        if not isinstance(batch, Mapping):
            raise InputError(f"a batch is a mapping such as {{'x': array}}, not {type(batch).__name__}")
        yield batch


def observed_ranges(graph: Graph, weights: Weights, batches: Iterable[Batch]) -> Ranges:
    """Lowest and highest value, over the batches, of every tensor that gets a grid. Raises as `calibrate` does.

    weights: those of the float network by name, each of its tensor's shape; batches: for each input an array of its
    shape.
    """
    return ranges_for(quantize_whole(graph), with_states(graph), weights, batches)


def ranges_for(quantized: Graph, graph: Graph, weights: Weights, batches: Iterable[Batch]) -> Ranges:
    """Lowest and highest value, over the batches, of the tensors of the float network that have a grid in the quantized
    one. weights, batches: as in `observed_ranges`. Raises as `calibrate` does."""
    with plugins.optional_library("calibration"):
        from hwprof.variants.observed_ranges import observed
    names = quantized_values.activations(quantized)
    return observed(graph, weights, names, batches) if names else {}


def write(
    graph: Graph,
    weights: Weights,
    ranges: Ranges,
    path: str | os.PathLike[str],
    state_bits: int = 8,
    weight_bits: int = 8,
) -> Graph:
    """Writes the Q/DQ model of a float network and returns its graph.

    weights: those of the network by name, each of its tensor's shape; ranges: those of `observed_ranges`; state_bits,
    weight_bits: as in `calibrate`. Raises InputError where integers cannot run the network whole.
    """
    quantized, largest = quantize_whole(graph, state_bits), grids.largest_weight(weight_bits)
    arrays = quantized_values.values(quantized, quantized_values.folded(graph, weights), ranges, largest)
    lowering.lower(quantized, arrays)
    onnx_io.save(quantized_values.model(quantized, arrays), path)
    return onnx_io.load(path)


def _calibrated(graph: Graph, batches: Iterable[Batch], path: Path, state_bits: int, weight_bits: int) -> Graph:
    flat, weights = branches.taken(graph, load_weights(graph))
    return write(flat, weights, observed_ranges(flat, weights, batches), path, state_bits, weight_bits)
