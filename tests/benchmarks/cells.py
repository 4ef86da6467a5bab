"""Recurrent cells that ONNX has no operator for, as loops in PyTorch: with layer normalization, and with attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormLstm(nn.Module):
    """Ba, Kiros & Hinton, "Layer Normalization", arXiv 1607.06450, equations 20 to 22."""

    def __init__(self, depth: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.of_x, self.of_h = nn.Linear(depth, 4 * units, bias=False), nn.Linear(units, 4 * units, bias=False)
        self.norm_x, self.norm_h, self.norm_c = nn.LayerNorm(4 * units), nn.LayerNorm(4 * units), nn.LayerNorm(units)

    def forward(self, x: Tensor) -> Tensor:
        """x: [steps, batch, depth]. Returns the states, [steps, batch, units]."""
        h = c = x.new_zeros(x.shape[1], self.units)
        states = []
        for t in range(x.shape[0]):
            h, c = self.step(x[t], h, c)
            states.append(h)
        return torch.stack(states)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        in_, forget, out, fresh = (self.norm_x(self.of_x(x)) + self.norm_h(self.of_h(h))).chunk(4, -1)
        c = forget.sigmoid() * c + in_.sigmoid() * fresh.tanh()
        return out.sigmoid() * self.norm_c(c).tanh(), c


class NormGru(nn.Module):
    """A GRU whose sums of gates are normalized, those of x and of h by themselves."""

    def __init__(self, depth: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.of_x, self.of_h = nn.Linear(depth, 3 * units, bias=False), nn.Linear(units, 3 * units, bias=False)
        self.norm_x, self.norm_h = nn.LayerNorm(3 * units), nn.LayerNorm(3 * units)

    def forward(self, x: Tensor) -> Tensor:
        """As `NormLstm`."""
        h = x.new_zeros(x.shape[1], self.units)
        states = []
        for t in range(x.shape[0]):
            h = self.step(x[t], h)
            states.append(h)
        return torch.stack(states)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        reset_x, update_x, fresh_x = self.norm_x(self.of_x(x)).chunk(3, -1)
        reset_h, update_h, fresh_h = self.norm_h(self.of_h(h)).chunk(3, -1)
        reset, update = (reset_x + reset_h).sigmoid(), (update_x + update_h).sigmoid()
        return (1 - update) * (fresh_x + reset * fresh_h).tanh() + update * h


class AttentionLstm(nn.Module):
    """An LSTM whose every step reads its own inputs by their likeness to its state (Luong, Pham & Manning, "Effective
    Approaches to Attention-based Neural Machine Translation", EMNLP 2015: dot products)."""

    def __init__(self, depth: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.key, self.gates = nn.Linear(depth, units), nn.Linear(depth + 2 * units, 4 * units)

    def forward(self, x: Tensor) -> Tensor:
        """As `NormLstm`."""
        h = c = x.new_zeros(x.shape[1], self.units)
        keys = self.key(x).transpose(0, 1)  # [batch, steps, units]
        states = []
        for t in range(x.shape[0]):
            shares = (h[:, None] @ keys.transpose(1, 2)).softmax(-1)
            context = (shares @ keys)[:, 0]
            in_, forget, out, fresh = self.gates(torch.cat([x[t], context, h], -1)).chunk(4, -1)
            c = forget.sigmoid() * c + in_.sigmoid() * fresh.tanh()
            h = out.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states)
