import itertools

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.objective.expected import ExpectedLatency
from hwprof.search.supernet import Mixtures, Supernet
from hwprof.spaces.darts import EDGES, OPERATIONS, Darts, Edge
from hwprof.torch_io import trainable
from tests.latency_table.tables import choices
from tests.search import darts_by_hand

TINY = Darts(channels=4, cells=3, resolution=8)
NODES = [[i for i, (_, target) in enumerate(EDGES) if target == node] for node in range(4)]


def images(n=2):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def with_logits(supernet, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in supernet.architecture_parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return supernet


def test_with_all_channels_and_without_betas_it_computes_what_darts_computes():
    """DARTS's forward as its paper writes it: every edge is the softmax-weighted sum of all operations."""
    supernet = with_logits(Supernet(TINY, partial=1, edge_normalization=False))

    def mixed(weights, reduces, edge, x, stride):
        alphas = supernet.alphas[int(reduces)][edge].softmax(-1)
        total = alphas[0] * (0.0 * x[:, :, ::stride, ::stride])
        for alpha, name in zip(alphas[1:], OPERATIONS[1:], strict=True):
            y = darts_by_hand.operation(weights, name, x, stride)
            total = total + alpha * (darts_by_hand.norm(weights, y) if "pool" in name else y)
        return total

    weights = iter([supernet.tensor(t.name) for t in supernet.graph.weights])
    with torch.no_grad():
        torch.testing.assert_close(supernet(images()), darts_by_hand.network(TINY, weights, images(), mixed))
    assert next(weights, None) is None


def mixture(stride, operation, with_beta=False):
    """One edge of 8 channels, a quarter of which works, with a weight of 1 for the operation; None: for `none`."""
    b = GraphBuilder("edge")
    x = b.input((1, 8, 4, 4))
    alphas = b.split(b.input((7,), name="alphas"), [1] * 7, axis=0)
    betas = [b.input((1,), name="beta")] if with_beta else []
    graph = b.build(Mixtures(4, [alphas], betas).add(b, Edge(False, 0, stride), x))
    module = trainable(graph, batch_axes={t.name: None for t in graph.inputs[1:]})
    weights = torch.tensor([float(name == operation) for name in OPERATIONS[1:]])
    return lambda *inputs: module(inputs[0], weights, *inputs[1:])


def test_a_quarter_of_the_channels_works_and_the_others_pass_by_shuffled():
    x = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 4, 4)
    # worked: channels 0 1, passed: 2 to 7; groups of two, in turns: 0 2 4 6, 1 3 5 7
    assert mixture(1, "skip_connect")(x)[0, :, 0, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    doubled = mixture(1, "skip_connect", with_beta=True)(x, torch.tensor([2.0]))
    assert doubled[0, :, 0, 0].tolist() == [0, 4, 8, 12, 2, 6, 10, 14]


def test_the_channels_that_pass_a_reduction_are_pooled():
    mixed = mixture(2, None)
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 8, 4, 4)
    assert mixed(x)[0, 1].tolist() == [[5, 7], [13, 15]]
    assert mixed(x)[0, 0].tolist() == [[0, 0], [0, 0]]


def saved_bytes(supernet, x):
    """Of the tensors that the forward pass keeps for the backward one, parameters left out."""
    kept = {}
    own = {p.untyped_storage().data_ptr() for p in supernet.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        supernet(x)
    return sum(size for _, size in kept.values())


def test_a_quarter_of_the_channels_needs_at_most_half_of_the_memory():
    space = Darts(channels=8, cells=3, resolution=8)
    whole, quarter = (saved_bytes(Supernet(space, partial=k), images(16)) for k in (1, 4))
    assert quarter <= 0.5 * whole


def test_two_inputs_per_node_are_expected_at_any_alphas():
    supernet = with_logits(Supernet(TINY), scale=5.0)
    p = supernet.probabilities()
    torch.testing.assert_close(p.sum(-1), torch.ones(2, len(EDGES)))
    assert (p >= 0).all()
    for edges in NODES:
        torch.testing.assert_close((1 - p[:, edges, 0]).sum(-1), torch.full((2,), 2.0))


def test_probabilities_are_those_of_drawing_two_edges_without_replacement():
    supernet = with_logits(Supernet(TINY))
    edges = NODES[2]
    mixing = supernet.alphas[1].softmax(-1)[edges] * supernet.betas[1][edges].softmax(-1)[:, None]
    real = mixing[:, 1:].double()
    strength = real.sum(-1) / real.sum()
    expected = torch.zeros(4, dtype=torch.double)
    for a, b in itertools.permutations(range(4), 2):
        chance = strength[a] * strength[b] / (1 - strength[a])
        expected[a] += chance
        expected[b] += chance
    expected_operations = expected[:, None] * real / real.sum(-1, keepdim=True)
    torch.testing.assert_close(supernet.probabilities()[1, edges, 1:].double(), expected_operations)


def test_hard_alphas_and_betas_have_the_probabilities_of_the_derived_architecture():
    supernet = with_logits(Supernet(TINY), scale=200.0, seed=3)
    with torch.no_grad():
        supernet.alphas[..., 0] = -1e4  # an edge of nothing but `none` is not decided between its operations
    derived = torch.tensor(supernet.derive()).view(2, len(EDGES))
    torch.testing.assert_close(supernet.probabilities().argmax(-1), derived)
    assert (supernet.probabilities().amax(-1) > 0.99).float().mean() > 0.8


def test_deriving_follows_the_largest_products_of_beta_and_alpha():
    supernet = Supernet(TINY)
    with torch.no_grad():
        supernet.alphas.zero_()
        supernet.betas.zero_()
        supernet.alphas[0, :, OPERATIONS.index("skip_connect")] = 1.0
        supernet.alphas[0, :, 0] = 3.0  # `none` is never derived
        supernet.betas[0, NODES[3][1]] = 2.0
        supernet.alphas[0, NODES[3][4], OPERATIONS.index("sep_conv_5x5")] = 2.0
    arch = supernet.derive()
    last_node = {i: OPERATIONS[arch[i]] for i in NODES[3] if arch[i]}
    assert last_node == {NODES[3][1]: "skip_connect", NODES[3][4]: "sep_conv_5x5"}
    assert TINY.parse(TINY.format(arch)) == arch


def test_an_edge_of_mostly_none_is_drawn_less():
    supernet = Supernet(TINY, edge_normalization=False)
    with torch.no_grad():
        supernet.alphas[0, NODES[1][0], 0] = 4.0
    none = supernet.probabilities()[0, NODES[1], 0]
    assert none[0] > 0.7 > none[1:].max()


def test_the_expected_latency_has_a_gradient_for_alphas_and_betas():
    times = [[0.1, 1.0, 1.0, 0.5, 4.0, 6.0, 2.0, 3.0]] * 28
    supernet = with_logits(Supernet(TINY), scale=0.5)
    latency = ExpectedLatency(choices(times), TINY)
    before = latency(supernet.probabilities())
    before.backward()
    with torch.no_grad():
        for parameter in supernet.architecture_parameters():
            assert parameter.grad.abs().max() > 0
            parameter.sub_(0.1 * parameter.grad)
    assert latency(supernet.probabilities()) < before


def test_weights_and_architecture_are_apart_and_together_everything():
    supernet = Supernet(TINY)
    parts = [id(p) for p in [*supernet.weights(), *supernet.architecture_parameters()]]
    assert sorted(parts) == sorted(id(p) for p in supernet.parameters() if p.requires_grad)
    assert len(supernet.architecture_parameters()) == 2


def test_only_the_batch_norm_of_the_stem_learns_a_scale():
    supernet = Supernet(TINY)
    gains = [node.inputs[1] for node in supernet.graph.nodes if node.op == "BatchNormalization"]
    assert [supernet.tensor(name).requires_grad for name in gains] == [True] + [False] * (len(gains) - 1)


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="4 channels cannot be split into 3 equal parts"):
        Supernet(TINY, partial=3)


def sparse(progress, seed=3):
    supernet = with_logits(Supernet(TINY, relaxation="sparsestmax"), seed=seed)
    supernet.anneal(progress)
    return supernet


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.9])
def test_with_sparsestmax_two_inputs_per_node_are_expected_too(progress):
    p = sparse(progress).probabilities()
    torch.testing.assert_close(p.sum(-1), torch.ones(2, len(EDGES)))
    assert (p >= -1e-6).all()
    for edges in NODES:
        torch.testing.assert_close((1 - p[:, edges, 0]).sum(-1), torch.full((2,), 2.0))


def test_with_sparsestmax_at_the_end_the_supernet_is_the_derived_network():
    supernet = sparse(1.0).eval()
    derived = torch.tensor(supernet.derive()).view(2, len(EDGES))
    one_hot = torch.nn.functional.one_hot(derived, len(OPERATIONS)).float()
    torch.testing.assert_close(supernet.probabilities(), one_hot)
    with torch.no_grad():
        torch.testing.assert_close(supernet(images()), supernet.at(supernet.derive())(images()))


def test_a_network_of_the_supernet_shares_its_weights():
    supernet = Supernet(TINY)
    network = supernet.at(supernet.derive())
    assert {id(p) for p in supernet.weights()} <= {id(p) for p in network.parameters()}


def test_gumbel_draws_anew_in_training_mode_only():
    supernet = with_logits(Supernet(TINY, relaxation="gumbel"))
    first, second = (supernet._weights_of_choices()[0] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (supernet.eval()._weights_of_choices()[0] for _ in range(2))
    assert torch.equal(first, second)


def test_an_unknown_relaxation_is_refused():
    with pytest.raises(InputError, match="no relaxation is named 'hard'; known: softmax, gumbel, sparsestmax"):
        Supernet(TINY, relaxation="hard")


def test_sparsestmax_without_betas_is_refused():
    with pytest.raises(InputError, match="use it with edge normalization"):
        Supernet(TINY, edge_normalization=False, relaxation="sparsestmax")
