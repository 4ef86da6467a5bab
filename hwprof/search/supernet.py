"""The DARTS supernet with partial channels and edge normalization (PC-DARTS, Xu et al., arXiv 1907.05737).

How the relaxed network, its latency and the derived one belong together: the supernet weighs operation k of
edge j with m_jk = beta_j alpha_jk (softmax over operations, softmax over the inputs of a node). Deriving takes,
for each node, the edge and operation (other than `none`) of largest m, then again among the other edges: the
rule of the paper. Read as chances instead, the same two steps draw two inputs without replacement, each with
probability in proportion to m; `probabilities` holds how likely each edge then ends with each operation, or
with `none` when it is not drawn. Two inputs per node are expected at any alpha, as in every derived network,
`none` among the alphas only weakens its edge, and when the alphas and betas harden the probabilities become
the derived architecture. Softmax of the alphas alone would count all 14 edges as if they stayed.

2026-11-29: the supernet is a Graph, too, that of the space with a weighted sum on every edge; the weights of the sums
are inputs. So no operation is written twice, and the search trains the operators that the derived Graph consists of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces.blocks import channel_shuffle, total
from hwprof.spaces.darts import EDGES, INPUTS_PER_NODE, NODES, NONE, OPERATIONS, Darts, Edge, add_operation
from hwprof.torch_io.trainable import TrainableGraph

_INITIAL_SCALE = 1e-3
_INPUTS = [node + 2 for node in range(NODES)]  # edges into each node; they are side by side in EDGES
_REAL = slice(NONE + 1, None)  # of the operations; `none` is the first
_IMAGES, _ALPHAS, _BETAS = "images", "alphas", "betas"  # inputs of the graph


@dataclass(frozen=True, slots=True)
class Mixtures:
    """The work of each edge of a supernet: all operations, mixed, on the first of `partial` equal parts of the
    channels; the other channels pass by.

    alphas: for each edge, those of the normal cell first, the names of the weights, [1], of all operations but `none`,
    which contributes zeros and needs no computing. betas: the name of the weight, [1], of each edge; empty without any.
    """

    partial: int
    alphas: Sequence[Sequence[str]]
    betas: Sequence[str] = ()

    def add(self, b: GraphBuilder, edge: Edge, x: str) -> str:
        """x: [1, channels, height, width]. Returns the output, with as many channels."""
        place = len(EDGES) * edge.reduces + edge.number
        channels = b.shape(x)[1]
        worked = b.slice(x, 1, 0, channels // self.partial) if self.partial > 1 else x
        operations = zip(OPERATIONS[_REAL], self.alphas[place], strict=True)
        mixed = total(b, [b.mul(_add_searchable(b, name, worked, edge.stride), alpha) for name, alpha in operations])
        if self.partial > 1:
            passed = b.slice(x, 1, channels // self.partial, channels)
            passed = b.pool("MaxPool", passed, 2, 2) if edge.stride == 2 else passed
            mixed = channel_shuffle(b, b.concat([mixed, passed]), self.partial)  # so that the next works on others
        return b.mul(mixed, self.betas[place]) if self.betas else mixed


def _add_searchable(b: GraphBuilder, name: str, x: str, stride: int) -> str:
    """Pools get a batch norm in a supernet, or their larger outputs would win."""
    y = add_operation(b, name, x, stride)
    return b.batch_norm(y) if "pool" in name else y


def supernet_graph(space: Darts, partial: int, edge_normalization: bool) -> Graph:
    """Images [1, 3, resolution, resolution], the weights of all operations but `none` [2 * n_edges * n_operations]
    and, with edge normalization, those of the edges [2 * n_edges], to logits [1, classes].

    Raises InputError when the channels cannot be split into `partial` parts.
    """
    if partial < 1 or space.channels % partial:
        raise InputError(f"{space.channels} channels cannot be split into {partial} equal parts")
    b = GraphBuilder("darts_supernet")
    images = b.input((1, 3, space.resolution, space.resolution), name=_IMAGES)
    edges, operations = 2 * len(EDGES), len(OPERATIONS[_REAL])
    alphas = b.split(b.input((edges * operations,), name=_ALPHAS), [1] * edges * operations, axis=0)
    betas = b.split(b.input((edges,), name=_BETAS), [1] * edges, axis=0) if edge_normalization else []
    of_edges = [alphas[operations * edge : operations * (edge + 1)] for edge in range(edges)]
    return b.build(space.add_network(b, images, Mixtures(partial, of_edges, betas).add))


class Supernet(TrainableGraph):
    """Every network of the space at once: images [batch, 3, resolution, resolution] to logits [batch, classes].

    partial: K of the paper, 1 runs the operations on all channels. `alphas`: [2, n_edges, n_operations] and, with edge
    normalization, `betas`: [2, n_edges], both logits, of the normal and of the reduction cells. With partial=1 and
    without edge normalization this is DARTS's supernet. Batch norms of cells learn no scale and no shift, which would
    rescale the alphas.
    """

    betas: nn.Parameter | None

    def __init__(self, space: Darts, partial: int = 4, edge_normalization: bool = True, seed: int = 0) -> None:
        """Raises InputError when the channels cannot be split into `partial` parts."""
        graph = supernet_graph(space, partial, edge_normalization)
        super().__init__(graph, onnx_io.initial_weights(graph, seed), {t.name: None for t in graph.inputs[1:]})
        self.space = space
        generator = torch.Generator().manual_seed(seed)
        self.alphas = nn.Parameter(_INITIAL_SCALE * torch.randn(2, len(EDGES), len(OPERATIONS), generator=generator))
        betas = nn.Parameter(_INITIAL_SCALE * torch.randn(2, len(EDGES), generator=generator))
        self.betas = betas if edge_normalization else None
        _stem, *norms = (node for node in graph.nodes if node.op == "BatchNormalization")
        for name in (name for norm in norms for name in norm.inputs[1:3]):
            self.tensor(name).requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # the rest it has itself
        """images: [batch, 3, resolution, resolution]. Returns the logits, [batch, classes]."""
        alphas = self.alphas.softmax(-1)[..., _REAL].flatten()
        weights = (alphas,) if self.betas is None else (alphas, _log_shares(self.betas).exp().flatten())
        logits = super().forward(images, *weights)
        assert isinstance(logits, torch.Tensor)
        return logits

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [self.alphas] if self.betas is None else [self.alphas, self.betas]

    def weights(self) -> list[nn.Parameter]:
        """The parameters that training changes, without those of the architecture."""
        open_ones = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in super().weights() if id(parameter) not in open_ones]

    def probabilities(self) -> torch.Tensor:
        """The probabilities of each edge's operations when an architecture is drawn (see the module), in the order of
        the space's positions, for an expected latency: [2, n_edges, n_operations]."""
        nodes = torch.split(self._log_mixing(), _INPUTS, dim=1)
        return torch.cat([_drawn(log_mixing) for log_mixing in nodes], dim=1)

    def derive(self) -> Arch:
        """The architecture of the largest alphas and betas, with two inputs per node."""
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
