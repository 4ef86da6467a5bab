"""The grammar of variants, for every command and for Python: which text names which variant of a network.

int8              static QDQ quantization; `int8:s8s8` or `int8:u8u8` for other types than u8s8 of activations, weights
int8:reduced      with weights from -64 to 64: what `int8` means where products of 8 bits saturate (`unsaturated`)
integer           QDQ everywhere, so that the backend `integer` runs the network whole; `integer:reduced` with weights
                  from -64 to 64, which its kernels multiply faster without VNNI, `integer:full` on any processor from
                  -127 to 127
fp16              float16 inside, float32 at inputs and outputs
prune:0.5         half of the channels of every prunable group stay
sparse:0.9        nine tenths of each weight tensor are zero; dense kernels are not faster for it
lowrank:0.25      two factors of a quarter of the full rank; `lowrank:16` of rank 16, `lowrank:0.25:spatial`
cut, folded       without multiplications by zero, as runtimes leave them out (`hwprof.variants.fold`)
prune:0.5+int8    one after the other

A variant of a network is a Graph again. `Variant.change` makes it from a graph without weights, `Variant.rewrite` from
a graph with weights; both give the same graph, with one digest.

2026-11-29, why the range of the weights depends on the device. Without VNNI, kernels sum pairs of products of uint8 and
int8 in 16 bits, which saturate: an int8 MobileNetV2 had a relative error of 0.24 there, and 0.012 with weights of 7
bits. The latency is the same. So the variant's text and the network's name tell both apart, and the content of
the file, by which stored measurements are found; the digest, which no weight's value is part of, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import cast

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.onnx_io.inference import fold
from hwprof.onnx_io.opset import with_opset
from hwprof.variants import branches, calibration, float_operators, grids, quantized_values
from hwprof.variants.factorize import Scheme, factorize, factorize_weights
from hwprof.variants.fold import cut, folded, kept_weights
from hwprof.variants.half import LARGEST_FLOAT16, half
from hwprof.variants.low_bit import integer_dictionaries, integer_dictionary_weights
from hwprof.variants.prune import prune_channels, prune_weights
from hwprof.variants.quantize import inline_hard_swish, quantize
from hwprof.variants.quantize_whole import quantize_whole, with_states
from hwprof.variants.samples import Samples
from hwprof.variants.sparsify import sparsify_weights
from hwprof.variants.weights import Weights, constant_arrays

EXAMPLES = (
    "int8, int8:s8s8, int8:reduced, integer, integer:reduced, fp16, prune:0.5, sparse:0.9, lowrank:0.25, lowrank:16, "
    "lowrank:0.25:spatial, cut, folded, prune:0.5+int8"
)
_QDQ_OPSET = 13  # the first whose DequantizeLinear has an axis
_INT8_TYPES = {"u8s8": ("uint8", "int8"), "s8s8": ("int8", "int8"), "u8u8": ("uint8", "uint8")}
_REDUCED, _FULL = "reduced", "full"  # ranges of weights
_NOT_TRAINED = "the network was not trained further: its latency is meaningful, its accuracy is not"

Change = Callable[[Graph], Graph]
Draw = Callable[[Graph], Samples]  # the inputs to calibrate a network with


@dataclass(frozen=True, slots=True)
class Weighted:
    """A network with its weights and constants by name, each of its tensor's shape, and what to tell its user."""

    graph: Graph
    weights: Weights
    warnings: tuple[str, ...] = ()


Rewrite = Callable[[Weighted, Draw], Weighted]


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant as `parse` read it.

    `change` and `rewrite` raise InputError for a network that the variant does not fit. `is_calibrated`: `rewrite`
    draws inputs. `needs_weights`: why the variant cannot be made without weights; empty where it can.
    """

    text: str
    change: Change = field(compare=False, repr=False)
    rewrite: Rewrite = field(compare=False, repr=False)
    is_calibrated: bool = False
    needs_weights: str = ""

    def then(self, other: Variant) -> Variant:
        """The chain of both variants, the other one last."""
        return Variant(
            f"{self.text}+{other.text}",
            lambda graph: other.change(self.change(graph)),
            lambda network, draw: other.rewrite(self.rewrite(network, draw), draw),
            self.is_calibrated or other.is_calibrated,
            self.needs_weights or other.needs_weights,
        )


def parse(text: str) -> Variant:
    """Raises InputError for a text that names no variant."""
    return reduce(Variant.then, (_parse_one(part) for part in text.split("+")))


def unsaturated(text: str) -> str:
    """The variant that replaces this one where two products of uint8 and int8 are summed in 16 bits: `int8` and
    `integer` have reduced weights there. What the user names is kept."""
    return "+".join(f"{part}:{_REDUCED}" if part in ("int8", "integer") else part for part in text.split("+"))


def change(text: str) -> Change:
    """The change of a graph without weights; none for an empty text.

    Raises InputError for a text that names no variant, or one that cannot be made without weights.
    """
    if not text:
        return lambda graph: graph
    variant = parse(text)
    if variant.needs_weights:
        raise InputError(variant.needs_weights)
    return lambda graph: variant.change(fold(graph))  # as a file of the variant is folded when it is loaded


def _parse_one(text: str) -> Variant:
    name, colon, argument = text.partition(":")
    entry = _ENTRIES.get(name)
    if entry is None or (colon and not argument):
        raise _unknown(text, "unknown")
    return entry(text, argument)


def _unknown(text: str, wanted: str) -> InputError:
    reason = f"no variant is named {text!r}" if wanted == "unknown" else f"variant {text!r} {wanted}"
    return InputError(f"{reason}; examples: {EXAMPLES}")


# -- quantization --------------------------------------------------------------------------------------


def _int8(text: str, argument: str) -> Variant:
    is_reduced = argument == _REDUCED
    types = "u8s8" if is_reduced else argument or "u8s8"
    if types not in _INT8_TYPES:
        raise _unknown(text, f"needs types of activations and weights: {', '.join(_INT8_TYPES)}, or {_REDUCED}")
    activation, weight = _INT8_TYPES[types]
    largest = grids.REDUCED_WEIGHT if is_reduced else grids.LARGEST_WEIGHT
    return _calibrated(
        text, lambda graph: quantize(graph, activation, weight), inline_hard_swish, largest_weight=largest,
        tells_floats=True,
    )  # fmt: skip


def int8_of(layers: Collection[str], types: str = "u8s8", largest_weight: int = grids.LARGEST_WEIGHT) -> Variant:
    """int8 of the named layers alone (`hwprof.variants.int8_layers.layers`) and of the operators that follow them.

    largest_weight: the largest integer of a weight; `hwprof.variants.grids.REDUCED_WEIGHT` where products saturate.
    """
    activation, weight = _INT8_TYPES[types]
    return _calibrated(
        "int8", lambda graph: quantize(graph, activation, weight, layers=layers), inline_hard_swish,
        largest_weight=largest_weight,
    )  # fmt: skip


def _integer(text: str, argument: str) -> Variant:
    if argument not in ("", _FULL, _REDUCED):
        raise _unknown(text, f"needs the range of weights {_FULL} or {_REDUCED}, or none")
    largest = grids.REDUCED_WEIGHT if argument == _REDUCED else grids.LARGEST_WEIGHT
    return _calibrated(text, quantize_whole, with_states, runs_whole=True, largest_weight=largest)


def _calibrated(
    text: str,
    quantizer: Change,
    observable: Change,
    runs_whole: bool = False,
    largest_weight: int = grids.LARGEST_WEIGHT,
    tells_floats: bool = False,
) -> Variant:
    """observable: the float network in which every tensor with a grid has a name. tells_floats: the graph's warnings
    name the operators that stay float."""

    def changed(graph: Graph) -> Graph:
        flat = branches.taken(graph)[0] if runs_whole else graph
        return quantizer(integer_dictionaries(with_opset(flat, _QDQ_OPSET)))

    def rewritten(network: Weighted, draw: Draw) -> Weighted:
        if runs_whole:
            network = Weighted(*branches.taken(network.graph, network.weights), network.warnings)
        graph = with_opset(network.graph, _QDQ_OPSET)
        weights = integer_dictionary_weights(graph, {**network.weights, **constant_arrays(graph)})
        graph = integer_dictionaries(graph)
        quantized = quantizer(graph)
        if not quantized_values.activations(quantized):
            float_operators.require_float32(graph)
        samples = draw(graph)
        drawn = (dict(zip(samples, sample, strict=True)) for sample in zip(*samples.values(), strict=True))
        batches: Iterable[dict[str, np.ndarray]] = drawn if samples else [{}]  # one run of a network without inputs
        ranges = calibration.ranges_for(quantized, observable(graph), weights, batches)
        arrays = quantized_values.values(quantized, quantized_values.folded(graph, weights), ranges, largest_weight)
        if runs_whole:
            lowering.lower(quantized, arrays)
        unchanged = () if ranges else ("no operator could be quantized: this is the unchanged network",)
        made = quantized_values.with_constants(quantized, arrays)
        if tells_floats:
            made = replace(made, warnings=(*made.warnings, *float_operators.warnings(made)))
        return Weighted(made, arrays, (*network.warnings, *unchanged))

    return Variant(text, changed, rewritten, is_calibrated=True)


def _fp16(text: str, argument: str) -> Variant:
    _require_no_argument(text, argument)

    def rewritten(network: Weighted, _draw: Draw) -> Weighted:
        limited, warnings = dict(network.weights), list(network.warnings)
        for name in network.graph.weight_names:
            array = limited[name]
            if array.dtype.kind == "f" and np.abs(array).max(initial=0) > LARGEST_FLOAT16:
                limited[name] = np.clip(array, -LARGEST_FLOAT16, LARGEST_FLOAT16)
                warnings.append(f"values of {name!r} above {LARGEST_FLOAT16:.0f} were cut to the largest float16")
        return Weighted(half(network.graph), limited, tuple(warnings))

    return Variant(text, half, rewritten)


# -- smaller networks ----------------------------------------------------------------------------------


def _prune(text: str, argument: str) -> Variant:
    keep = _share(text, argument, "share of channels to keep, above 0 and at most 1", lambda x: 0 < x <= 1)

    def rewritten(network: Weighted, _draw: Draw) -> Weighted:
        graph, weights = prune_weights(network.graph, network.weights, keep)
        return _smaller(network, graph, weights, "no channel could be pruned: this is the unchanged network")

    return Variant(text, lambda graph: prune_channels(graph, keep), rewritten)


def _lowrank(text: str, argument: str) -> Variant:
    number, colon, scheme = argument.partition(":")
    if (scheme if colon else "channel") not in ("channel", "spatial"):
        raise _unknown(text, f"needs the scheme channel or spatial, not {scheme!r}")
    wanted = "rank, an integer from 1, or a share of the full rank, above 0 and at most 1"
    rank: int | float = int(number) if number.isdecimal() else _share(text, number, wanted, lambda x: 0 < x <= 1)
    if rank == 0:
        raise _unknown(text, f"needs a {wanted}")
    by = cast("Scheme", scheme or "channel")

    def rewritten(network: Weighted, _draw: Draw) -> Weighted:
        graph, weights = factorize_weights(network.graph, network.weights, rank, by)
        return _smaller(network, graph, weights, "no operator gets smaller at this rank: this is the unchanged network")

    return Variant(text, lambda graph: factorize(graph, rank, by), rewritten)


def _smaller(before: Weighted, graph: Graph, weights: Weights, unchanged: str) -> Weighted:
    warning = unchanged if graph == before.graph else _NOT_TRAINED
    return Weighted(graph, {**constant_arrays(graph), **weights}, (*before.warnings, warning))


def _sparse(text: str, argument: str) -> Variant:
    sparsity = _share(text, argument, "share of zeros, at least 0 and below 1", lambda x: 0 <= x < 1)
    dense = "dense kernels multiply the zeros too: the latency is that of the dense network"

    def rewritten(network: Weighted, _draw: Draw) -> Weighted:
        weights = sparsify_weights(network.graph, network.weights, sparsity)
        return Weighted(network.graph, weights, (*network.warnings, _NOT_TRAINED, dense))

    reason = (
        f"variant {text!r} only changes weights, so without weights it is the dense network; leave it out, or give a "
        "model with weights to hwprof profile"
    )
    return Variant(text, lambda graph: graph, rewritten, needs_weights=reason)


def _without_zeros(leave_out: Change) -> Callable[[str, str], Variant]:
    def entry(text: str, argument: str) -> Variant:
        _require_no_argument(text, argument)

        def rewritten(network: Weighted, _draw: Draw) -> Weighted:
            graph = leave_out(network.graph)
            weights = kept_weights(network.graph, graph, network.weights)
            return Weighted(graph, {**constant_arrays(graph), **weights}, network.warnings)

        return Variant(text, leave_out, rewritten)

    return entry


# -- arguments -----------------------------------------------------------------------------------------


def _require_no_argument(text: str, argument: str) -> None:
    if argument:
        raise _unknown(text, f"takes no argument, not {argument!r}")


def _share(text: str, argument: str, wanted: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(argument)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise _unknown(text, f"needs a {wanted}")
    return value


_ENTRIES: Mapping[str, Callable[[str, str], Variant]] = {
    "int8": _int8,
    "integer": _integer,
    "fp16": _fp16,
    "prune": _prune,
    "sparse": _sparse,
    "lowrank": _lowrank,
    "cut": _without_zeros(cut),
    "folded": _without_zeros(folded),
}
