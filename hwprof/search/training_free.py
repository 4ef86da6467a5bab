"""A score without training: how differently an untrained network treats examples (NASWOT: Mellor et al., Neural
Architecture Search without Training, arXiv 2006.04647, section 3).

Each ReLU passes an example or not: its code is one bit for each unit. The kernel of two examples is the number of equal
bits, and the score is the logarithm of the kernel's determinant. The kernel here has 1 added to its diagonal, so that a
network that ignores its input has a finite score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import Graph

with plugins.optional_library("a score without training"):
    import torch
    from torch import nn

    from hwprof.torch_io.trainable import trainable


@dataclass(frozen=True, slots=True)
class ActivationScore:
    """examples: how many random inputs, standard normal, the network is given."""

    examples: int = 16
    seed: int = 0

    def __call__(self, graph: Graph) -> float:
        """Larger is better. Raises InputError for a network without ReLU, or with several inputs."""
        outputs = [node.outputs[0] for node in graph.nodes if node.op == "Relu"]
        if not outputs or len(graph.inputs) != 1:
            raise InputError(f"{graph.name!r}: the score without training needs one input and at least one Relu")
        network = trainable(graph, seed=self.seed)
        probe = _Probe(self.examples)
        for name in outputs:
            network.insert(name, probe)
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            network(torch.randn(self.examples, *graph.inputs[0].shape[1:], generator=generator))
        return float(np.linalg.slogdet(probe.kernel.numpy() + np.eye(self.examples))[1])


class _Probe(nn.Module):
    """Adds up the numbers of equal bits of everything that passes."""

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.kernel = torch.zeros(examples, examples, dtype=torch.float64)

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        bits = (activations > 0).flatten(1).float()
        self.kernel += bits @ bits.T + (1 - bits) @ (1 - bits).T
        return activations
