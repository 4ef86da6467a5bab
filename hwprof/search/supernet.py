"""The DARTS supernet with partial channels and edge normalization (PC-DARTS, Xu et al., arXiv 1907.05737).

How the relaxed network, its latency and the derived one belong together: the supernet weighs operation k of
edge j with m_jk = beta_j alpha_jk (softmax over operations, softmax over the inputs of a node). Deriving takes,
for each node, the edge and operation (other than `none`) of largest m, then again among the other edges: the
rule of the paper. Read as chances instead, the same two steps draw two inputs without replacement, each with
probability in proportion to m; `probabilities` holds how likely each edge then ends with each operation, or
with `none` when it is not drawn. Two inputs per node are expected at any alpha, as in every derived network,
`none` among the alphas only weakens its edge, and when the alphas and betas harden the probabilities become
the derived architecture. Softmax of the alphas alone would count all 14 edges as if they stayed.
"""

from __future__ import annotations

import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.interfaces import Arch
from hwprof.search.network import Network, operation
from hwprof.spaces.darts import EDGES, INPUTS_PER_NODE, NODES, NONE, OPERATIONS, Darts

_INITIAL_SCALE = 1e-3
_INPUTS = [node + 2 for node in range(NODES)]  # edges into each node; they lie side by side in EDGES
_REAL = slice(NONE + 1, None)  # of the operations; `none` is the first


class PartialMixedOperation(nn.Module):
    """All operations, mixed, on the first of `partial` equal parts of the channels; the others pass by."""

    def __init__(self, channels: int, stride: int, partial: int) -> None:
        super().__init__()
        self.partial = partial
        self.worked = channels // partial
        self.operations = nn.ModuleList(_searchable(name, self.worked, stride) for name in OPERATIONS[_REAL])
        self.bypass = nn.MaxPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x: torch.Tensor, alphas: torch.Tensor, beta: torch.Tensor | None = None) -> torch.Tensor:
        """x: [batch, channels, height, width]; alphas: [n_operations], which add up to one; beta: a scalar.

        `none` contributes zeros, which need no computing.
        """
        worked = x[:, : self.worked]
        weighted = [w * run(worked) for w, run in zip(alphas[_REAL], self.operations, strict=True)]
        mixed: torch.Tensor = sum(weighted[1:], start=weighted[0])
        if self.partial > 1:
            mixed = _shuffled(torch.cat([mixed, self.bypass(x[:, self.worked :])], dim=1), self.partial)
        return mixed if beta is None else beta * mixed


def _searchable(name: str, channels: int, stride: int) -> nn.Module:
    """Pools get a batch norm in a supernet, or their larger outputs would win."""
    run = operation(name, channels, stride, affine=False)
    return nn.Sequential(run, nn.BatchNorm2d(channels, affine=False)) if "pool" in name else run


def _shuffled(x: torch.Tensor, groups: int) -> torch.Tensor:
    """The channels of the groups in turns, so that the next operation works on others; channels stay last in memory."""
    n, c, h, w = x.shape
    turns = x.permute(0, 2, 3, 1).reshape(n, h, w, groups, c // groups).transpose(3, 4)
    return turns.reshape(n, h, w, c).permute(0, 3, 1, 2)


class Supernet(Network):
    """Every network of the space at once. partial: K of the paper, 1 runs the operations on all channels.

    `alphas`: [2, n_edges, n_operations] and, with edge normalization, `betas`: [2, n_edges], both logits, of the
    normal and of the reduction cells. With partial=1 and without edge normalization this is DARTS's supernet.
    """

    betas: nn.Parameter | None

    def __init__(self, space: Darts, partial: int = 4, edge_normalization: bool = True, seed: int = 0) -> None:
        """Raises InputError when the channels cannot be split into `partial` parts."""
        if partial < 1 or space.channels % partial:
            raise InputError(f"{space.channels} channels cannot be split into {partial} equal parts")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(space, lambda _r, _e, c, stride: PartialMixedOperation(c, stride, partial), affine=False)
            self.alphas = nn.Parameter(_INITIAL_SCALE * torch.randn(2, len(EDGES), len(OPERATIONS)))
            self.betas = nn.Parameter(_INITIAL_SCALE * torch.randn(2, len(EDGES))) if edge_normalization else None
        self.space = space

    def edge_weights(self, reduces: bool) -> tuple[torch.Tensor, ...]:
        alphas = self.alphas[int(reduces)].softmax(-1)
        return (alphas,) if self.betas is None else (alphas, _log_shares(self.betas[int(reduces)]).exp())

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [self.alphas] if self.betas is None else [self.alphas, self.betas]

    def weights(self) -> list[nn.Parameter]:
        open_ones = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in open_ones]

    def probabilities(self) -> torch.Tensor:
        """[2, n_edges, n_operations]: what each edge becomes when an architecture is drawn (see the module);
        in the order of the space's positions, for an expected latency."""
        nodes = torch.split(self._log_mixing(), _INPUTS, dim=1)
        return torch.cat([_drawn(log_mixing) for log_mixing in nodes], dim=1)

    def derive(self) -> Arch:
        """The architecture that the search has arrived at, two inputs per node."""
        strengths, best = self._log_mixing().detach()[..., _REAL].max(dim=-1)
        kept = torch.cat([_strongest(of_node) for of_node in torch.split(strengths, _INPUTS, dim=1)], dim=1)
        return tuple(torch.where(kept, best + _REAL.start, NONE).flatten().tolist())

    def _log_mixing(self) -> torch.Tensor:
        """[2, n_edges, n_operations]: log(beta alpha)."""
        log_alphas = self.alphas.log_softmax(-1)
        return log_alphas if self.betas is None else log_alphas + _log_shares(self.betas).unsqueeze(-1)


def _log_shares(betas: torch.Tensor) -> torch.Tensor:
    """betas: [..., n_edges], logits. Returns the logarithm of each edge's share of its node."""
    return torch.cat([of_node.log_softmax(-1) for of_node in torch.split(betas, _INPUTS, dim=-1)], dim=-1)


def _strongest(strengths: torch.Tensor) -> torch.Tensor:
    """strengths: [2, n_inputs] of one node. Returns which two of its inputs stay, in the same shape."""
    inputs = strengths.topk(INPUTS_PER_NODE, dim=-1).indices
    return torch.zeros_like(strengths, dtype=torch.bool).scatter(-1, inputs, True)


def _drawn(log_mixing: torch.Tensor) -> torch.Tensor:
    """log_mixing: [2, n_inputs, n_operations] of one node. Returns, in the same shape, the probability that an
    edge ends with an operation when two edges are drawn without replacement."""
    real = log_mixing[..., _REAL]
    edges = real.logsumexp(-1)
    first = edges.softmax(-1)
    n_inputs = edges.shape[-1]
    drawn_before = torch.eye(n_inputs, dtype=torch.bool, device=edges.device)
    second = edges.unsqueeze(-2).expand(-1, n_inputs, -1).masked_fill(drawn_before, -torch.inf).softmax(-1)
    kept = (first + (first.unsqueeze(-2) @ second).squeeze(-2)).clamp(max=1).unsqueeze(-1)
    return torch.cat([1 - kept, kept * real.softmax(-1)], dim=-1)
