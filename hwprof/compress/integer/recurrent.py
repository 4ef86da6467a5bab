"""A classifier of sequences: LSTM layers, then a linear layer on their last state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph

_ONNX_ORDER = (0, 3, 1, 2)  # ONNX has the gates input, output, forget, cell; PyTorch input, forget, cell, output


class SequenceClassifier(nn.Module):
    """A network from sequences [batch, steps, depth] to scores [batch, classes], in PyTorch and as a Graph."""

    def __init__(self, steps: int, depth: int, units: int, classes: int, layers: int = 1) -> None:
        """Raises InputError for a size below 1."""
        super().__init__()
        if min(steps, depth, units, classes, layers) < 1:
            raise InputError("steps, depth, units, classes and layers of a classifier must be at least 1")
        self.steps, self.depth = steps, depth
        self.lstm = nn.LSTM(depth, units, num_layers=layers, batch_first=True)
        self.head = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, steps, depth]. Returns scores, [batch, classes]."""
        scores: Tensor = self.head(self.lstm(x)[0][:, -1])
        return scores

    def graph(self, batch: int) -> Graph:
        """The float network for batches of this size, its input named "x"."""
        b = GraphBuilder("sequence-classifier")
        units, classes = self.head.in_features, self.head.out_features
        states = b.transpose(b.input((batch, self.steps, self.depth), name="x"), (1, 0, 2))
        for _ in range(self.lstm.num_layers):
            states = b.lstm(states, units)
        last = b.reshape(b.slice(states, 0, self.steps - 1, self.steps), (batch, units))
        return b.build(b.gemm(last, classes))

    def tensors(self) -> dict[str, Tensor]:
        """The weights of `graph` by name, in ONNX's layout, connected to the parameters for the backward pass.

        Each LSTM layer has W [1, 4 * units, depth], R [1, 4 * units, units] and B [1, 8 * units]; the linear layer has
        [classes, units] and [classes].
        """
        ordered = []
        for layer in range(self.lstm.num_layers):
            w, r, wb, rb = (getattr(self.lstm, f"{name}_l{layer}") for name in _PARAMETERS)
            biases = torch.cat([_reordered(wb), _reordered(rb)])
            ordered += [_reordered(w)[None], _reordered(r)[None], biases[None]]
        named = (t.name for t in self.graph(1).weights)
        return dict(zip(named, (*ordered, self.head.weight, self.head.bias), strict=True))


_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _reordered(gates: Tensor) -> Tensor:
    """gates: [4 * units, ...], in PyTorch's order. Returns the same shape, in ONNX's order."""
    parts = gates.chunk(len(_ONNX_ORDER))
    return torch.cat([parts[i] for i in _ONNX_ORDER])
