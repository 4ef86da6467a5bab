"""Networks that are changed after training, without a gradient: lower ranks, fewer channels, 8 bits, layer by layer.

The factors of a layer are those that keep its responses to the samples best: its outputs are projected onto the
principal directions of what it computes from them (Zhang et al., Accelerating Very Deep Convolutional Networks for
Classification and Detection, TPAMI 2016, section 3.1, of responses without their bias). The ranges of activations come
from the samples, too, and are observed once for all choices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from hwprof import plugins
from hwprof.compress import outputs
from hwprof.compress.choice import Choices
from hwprof.compress.fewer_channels import FewerChannels
from hwprof.graph import Graph, Node
from hwprof.onnx_io.opset import with_opset
from hwprof.variants import quantized_values
from hwprof.variants.factorize import FACTORS, factorize_weights, smaller_ranks
from hwprof.variants.grids import LARGEST_WEIGHT
from hwprof.variants.int8_layers import layers, with_names
from hwprof.variants.quantize import fold_batch_norm, inline_hard_swish, quantize, require_quantizable
from hwprof.variants.samples import Samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import Weights, constant_arrays

_QDQ_OPSET = 13
_MOST_POSITIONS = 1024  # of a layer's output that are looked at, for each sample


def prepared(graph: Graph, weights: Weights) -> Weighted:
    """The float network from which all others are made: batch normalization is folded, each operator has its name.

    weights: those of the graph by name, each of its tensor's shape. Raises InputError for a network that cannot be
    quantized.
    """
    named = with_names(with_opset(graph, _QDQ_OPSET))
    require_quantizable(named)
    arrays = quantized_values.folded(named, {**weights, **constant_arrays(named)})
    return Weighted(inline_hard_swish(fold_batch_norm(named)), arrays)


class Rewriting:
    """Makes networks with choices from a float one (`prepared`).

    samples: [n, *shape] for each input. largest_weight: the largest integer of an int8 weight.
    """

    def __init__(self, network: Weighted, samples: Samples, largest_weight: int = LARGEST_WEIGHT) -> None:
        self.float_network, self.largest_weight = network, largest_weight
        self._samples = samples
        self._ranges: dict[tuple[str, int | None], tuple[float, float]] = {}  # by tensor, and rank between two factors
        self._energies: dict[str, np.ndarray] = {}  # by layer, descending, [outputs]
        self._directions: dict[str, np.ndarray] = {}  # by layer, [outputs, outputs]
        self._channels = FewerChannels(network, samples)

    def network(self, choices: Choices) -> Weighted:
        """The network with the choices of ranks, channels and bits."""
        ranks = {name: choice.rank for name, choice in choices.items() if choice.rank is not None}
        kept = {name: choice.kept for name, choice in choices.items() if choice.kept is not None}
        network = self._factorized(ranks) if ranks else self.float_network
        network = self._channels.pruned(network, kept) if kept else network
        int8 = [part for name, choice in choices.items() if choice.bits for part in parts(name, name in ranks)]
        return self._quantized(network, int8, ranks) if int8 else network

    def lost_share(self, layer: str, rank: int) -> float:
        """The share of the energy of the layer's responses to the samples that is lost at this rank."""
        energies = self._responses()[layer]
        whole = float(energies.sum())
        return max(1.0 - float(energies[:rank].sum()) / whole, 0.0) if whole else 0.0

    # -- lower ranks ---------------------------------------------------------------------------------

    def _factorized(self, ranks: Mapping[str, int]) -> Weighted:
        self._responses()
        floats = self.float_network
        graph, weights = factorize_weights(floats.graph, floats.weights, ranks, "channel", self._directions)
        return Weighted(graph, {**constant_arrays(graph), **weights})

    def _responses(self) -> dict[str, np.ndarray]:
        """For each layer that can be factorized the energies of its responses along their principal directions."""
        graph = self.float_network.graph
        if not self._energies and (ranks := smaller_ranks(graph)):
            found = [node for node in graph.nodes if node.label in ranks]
            moments = {node.label: np.zeros(()) for node in found}
            for held in outputs.values(self.float_network, self._samples, [node.outputs[0] for node in found]):
                for node in found:
                    rows = _rows(held[node.outputs[0]], node) - self._bias(node)
                    moments[node.label] = moments[node.label] + rows.T @ rows
            for name, moment in moments.items():
                values, vectors = np.linalg.eigh(moment)
                self._energies[name] = np.maximum(values[::-1], 0.0)
                self._directions[name] = vectors[:, ::-1]
        return self._energies

    def _bias(self, node: Node) -> np.ndarray:
        """[outputs], or a scalar 0."""
        if len(node.inputs) < 3 or not node.inputs[2] or node.inputs[2] not in self.float_network.weights:
            return np.zeros(())
        return np.asarray(self.float_network.weights[node.inputs[2]], np.float64).ravel()

    # -- 8 bits --------------------------------------------------------------------------------------

    def _quantized(self, network: Weighted, int8: Collection[str], ranks: Mapping[str, int]) -> Weighted:
        graph = quantize(network.graph, layers=int8)
        between = {
            f"{node.outputs[0]}{FACTORS[0]}": ranks[node.label]
            for node in self.float_network.graph.nodes
            if node.label in ranks
        }
        keys = {name: (name, between.get(name)) for name in quantized_values.activations(graph)}
        if missing := [name for name, key in keys.items() if key not in self._ranges]:
            wanted = missing if self._ranges else list({*missing, *self._likely()})
            self._observe(network, wanted, between)
        ranges = {name: self._ranges[key] for name, key in keys.items()}
        arrays = quantized_values.values(graph, network.weights, ranges, self.largest_weight)
        return Weighted(quantized_values.with_constants(graph, arrays), arrays)

    def _observe(self, network: Weighted, names: Sequence[str], between: Mapping[str, int]) -> None:
        with plugins.optional_library("calibration"):
            from hwprof.variants.observed_ranges import observed
        samples = (
            dict(zip(self._samples, sample, strict=True)) for sample in zip(*self._samples.values(), strict=True)
        )
        found = observed(network.graph, network.weights, names, samples)
        self._ranges |= {(name, between.get(name)): found[name] for name in names}

    def _likely(self) -> set[str]:
        """The tensors of which some choice of bits needs the range."""
        graph = self.float_network.graph
        some = [quantize(graph, layers=chosen) for chosen in (layers(graph), *([name] for name in layers(graph)))]
        return {name for one in some for name in quantized_values.activations(one)}


def parts(layer: str, is_factorized: bool) -> tuple[str, ...]:
    """The names of the operators that the layer is."""
    return tuple(layer + suffix for suffix in FACTORS) if is_factorized else (layer,)


def _rows(values: np.ndarray, node: Node) -> np.ndarray:
    """values: an output of the layer, of a convolution [batch, channels, ...], else [..., channels]. Returns float64
    [positions, channels], evenly chosen ones of many."""
    rows = np.moveaxis(values, 1, -1) if node.op == "Conv" else values
    rows = rows.reshape(-1, rows.shape[-1])
    return rows[:: max(len(rows) // _MOST_POSITIONS, 1)].astype(np.float64)
