"""The DARTS supernet with partial channels and edge normalization (PC-DARTS, Xu et al., arXiv 1907.05737).

How the relaxed network, its latency and the derived one belong together: the supernet weighs operation k of
edge j with m_jk = beta_j alpha_jk (softmax over operations, softmax over the inputs of a node). Deriving takes,
for each node, the edge and operation (other than `none`) of largest m, then again among the other edges: the
rule of the paper. Read as chances instead, the same two steps draw two inputs without replacement, each with
probability in proportion to m; `probabilities` holds how likely each edge then ends with each operation, or
with `none` when it is not drawn. Two inputs per node are expected at any alpha, as in every derived network,
`none` among the alphas only weakens its edge, and when the alphas and betas harden the probabilities become
the derived architecture. Softmax of the alphas alone would count all 14 edges as if they stayed.

2026-11-29: with sparsestmax in the place of both softmaxes (Wu et al., arXiv 2101.06658) a node's two inputs are drawn
in the same way, among operations without `none`, and each edge is weighed with the probability that it is kept. At the
end of a search one operation on two edges of each node is left, and the relaxed network is the derived one.

2026-11-29: the supernet is a Graph, too, that of the space with a weighted sum on every edge; the weights of the sums
are inputs. So no operation is written twice, and the search trains the operators that the derived Graph consists of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.objective.sparsestmax import gumbel_softmax, sparsestmax
from hwprof.spaces import checked
from hwprof.spaces.blocks import channel_shuffle, total
from hwprof.spaces.darts import EDGES, INPUTS_PER_NODE, NODES, NONE, OPERATIONS, Darts, Edge, add_operation
from hwprof.torch_io.trainable import TrainableGraph

Relaxation: TypeAlias = Literal["softmax", "gumbel", "sparsestmax"]
_INITIAL_SCALE = 1e-3
_HOTTEST, _COLDEST = 1.0, 0.1  # temperatures of gumbel
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

    relaxation: how logits become weights of operations and edges. "gumbel" draws new ones in each forward pass of
    training mode (Dong and Yang, arXiv 1910.04465); "sparsestmax" needs edge normalization.
    """

    betas: nn.Parameter | None

    def __init__(
        self,
        space: Darts,
        partial: int = 4,
        edge_normalization: bool = True,
        seed: int = 0,
        relaxation: Relaxation = "softmax",
    ) -> None:
        """Raises InputError when the channels cannot be split into `partial` parts, and for an unknown relaxation or
        one that needs edge normalization."""
        if relaxation not in get_args(Relaxation):
            raise InputError(f"no relaxation is named {relaxation!r}; known: {', '.join(get_args(Relaxation))}")
        if relaxation == "sparsestmax" and not edge_normalization:
            raise InputError("sparsestmax chooses between edges by their betas; use it with edge normalization")
        graph = supernet_graph(space, partial, edge_normalization)
        super().__init__(graph, onnx_io.initial_weights(graph, seed), {t.name: None for t in graph.inputs[1:]})
        self.space = space
        self.relaxation = relaxation
        self._progress = 0.0
        generator = torch.Generator().manual_seed(seed)
        self.alphas = nn.Parameter(_INITIAL_SCALE * torch.randn(2, len(EDGES), len(OPERATIONS), generator=generator))
        betas = nn.Parameter(_INITIAL_SCALE * torch.randn(2, len(EDGES), generator=generator))
        self.betas = betas if edge_normalization else None
        _stem, *norms = (node for node in graph.nodes if node.op == "BatchNormalization")
        for name in (name for norm in norms for name in norm.inputs[1:3]):
            self.tensor(name).requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # the rest it has itself
        """images: [batch, 3, resolution, resolution]. Returns the logits, [batch, classes]."""
        return self._weighted(images, *self._weights_of_choices())

    def at(self, arch: Arch) -> nn.Module:
        """The derived architecture's network with the shared weights, still with partial channels: every operation is
        there, those that were not chosen times 0. Raises InputError for an architecture outside of the space."""
        return SubNetwork(self, checked("darts", self.space.choices, arch))

    def anneal(self, progress: float) -> None:
        """progress: 0 to 1. Hardens the choices of "gumbel" and "sparsestmax"."""
        self._progress = progress

    def _weights_of_choices(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The weights of operations, [2, n_edges, n_operations - 1], and of edges, [2, n_edges], or None."""
        if self.relaxation == "sparsestmax":
            return sparsestmax(self.alphas[..., _REAL], self._progress), self._kept()
        alphas = self.alphas.softmax(-1)
        if self.relaxation == "gumbel" and self.training:
            alphas = gumbel_softmax(self.alphas, _HOTTEST * (_COLDEST / _HOTTEST) ** self._progress)
        return alphas[..., _REAL], None if self.betas is None else _log_shares(self.betas).exp()

    def _weighted(
        self, images: torch.Tensor, operations: torch.Tensor, edges: torch.Tensor | None
    ) -> torch.Tensor:  # fmt: skip
        given = (operations.flatten(),) if edges is None else (operations.flatten(), edges.flatten())
        logits = super().forward(images, *given)
        assert isinstance(logits, torch.Tensor)
        return logits

    def _kept(self) -> torch.Tensor:
        """The probability that each edge is drawn, with sparsestmax: [2, n_edges]."""
        assert self.betas is not None
        nodes = torch.split(self.betas, _INPUTS, dim=-1)
        return torch.cat([_drawn_sparsely(betas, self._progress) for betas in nodes], dim=-1)

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [self.alphas] if self.betas is None else [self.alphas, self.betas]

    def weights(self) -> list[nn.Parameter]:
        """The parameters that training changes, without those of the architecture."""
        open_ones = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in super().weights() if id(parameter) not in open_ones]

    def probabilities(self) -> torch.Tensor:
        """The probabilities of each edge's operations when an architecture is drawn (see the module), in the order of
        the space's positions, for an expected latency: [2, n_edges, n_operations]."""
        if self.relaxation == "sparsestmax":
            operations, kept = sparsestmax(self.alphas[..., _REAL], self._progress), self._kept().unsqueeze(-1)
            return torch.cat([1 - kept, kept * operations], dim=-1)
        nodes = torch.split(self._log_mixing(), _INPUTS, dim=1)
        return torch.cat([_drawn(log_mixing) for log_mixing in nodes], dim=1)

    def derive(self) -> Arch:
        """The architecture of the largest alphas and betas, with two inputs per node."""
        strengths, best = self._log_mixing().detach()[..., _REAL].max(dim=-1)
        if self.relaxation == "sparsestmax":
            assert self.betas is not None
            strengths = self.betas.detach()
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


def _drawn_sparsely(betas: torch.Tensor, radius: float) -> torch.Tensor:
    """betas: [2, n_inputs] of one node. Returns, in the same shape, the probability that an edge is one of two that are
    drawn without replacement, each by sparsestmax; they add up to 2."""
    n_inputs = betas.shape[-1]
    if n_inputs == INPUTS_PER_NODE:
        return torch.ones_like(betas)
    first = sparsestmax(betas, radius)
    others = [torch.tensor([j for j in range(n_inputs) if j != i], device=betas.device) for i in range(n_inputs)]
    second = torch.zeros_like(betas)
    for i, left in enumerate(others):
        second = second.index_add(-1, left, first[:, i : i + 1] * sparsestmax(betas[:, left], radius))
    return first + second


class SubNetwork(nn.Module):
    """One architecture of a supernet: images [batch, 3, resolution, resolution] to logits [batch, classes]."""

    def __init__(self, supernet: Supernet, arch: Arch) -> None:
        super().__init__()
        self.supernet = supernet
        choices = torch.tensor(arch).view(2, len(EDGES))
        self.register_buffer("operations", nn.functional.one_hot(choices, len(OPERATIONS))[..., _REAL].float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: [batch, 3, resolution, resolution]. Returns the logits, [batch, classes]."""
        operations = self.get_buffer("operations")
        edges = None if self.supernet.betas is None else operations.sum(-1)
        return self.supernet._weighted(images, operations, edges)
