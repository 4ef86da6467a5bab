"""8 bits after training: ranges of the activations come from examples, those of the weights from their rows (Jacob et
al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018)."""

from __future__ import annotations

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.choices import INT8, int8_names, int8_variant_of
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Graph
from hwprof.training import Hooks


class Int8:
    """A baseline with which every other method is compared."""

    name = "int8"
    result: Outcome = "int8"
    paper = "Jacob et al., Quantization and Training of Neural Networks, CVPR 2018"
    needs: frozenset[Need] = frozenset({"examples"})

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- all layers get 8 bits
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- there is nothing to decide
        self._network, self._quantized = network, network.rewritten(network.int8)
        return Hooks()

    def choices(self) -> Choices:
        """8 bits for each operator that reads a tensor on a grid."""
        graph = self._quantized.graph
        known = {node.label for node in self._network.graph.nodes}
        on_grid = {out for node in graph.nodes if node.op == "DequantizeLinear" for out in node.outputs}
        layers = [node.label for node in graph.nodes if node.label in known and on_grid.intersection(node.inputs)]
        return dict.fromkeys(layers, Choice(bits=INT8))

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        """Where some layers are left out, they and the operators between them stay float, if the device runs both."""
        if not choices:
            return self._network
        if self._network.int8 != "int8" or choices.keys() >= self.choices().keys():
            return self._quantized
        layers = int8_names(self._network.graph, choices)
        return self._network.rewritten(int8_variant_of(self._network.graph, layers))
