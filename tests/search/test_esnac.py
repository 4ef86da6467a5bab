import numpy as np
import torch

from hwprof.interfaces import Trial
from hwprof.search.esnac import Embeddings, Esnac, expected_improvement
from tests.tiny_space import SPACE


def test_a_batch_of_embeddings_is_that_of_torch_one_by_one():
    """The mean output of a bidirectional nn.LSTM on one-hot codes, scaled to length 1."""
    embeddings = Embeddings(2, vocabulary=5, hidden=3, seed=0)
    choices = torch.tensor([[[0, 3], [1, 4], [2, 2]]] * 2)
    found = embeddings(choices)
    for number in range(2):
        lstm = torch.nn.LSTM(5, 3, bidirectional=True, batch_first=True)
        with torch.no_grad():
            for suffix, group in (("", number), ("_reverse", 2 + number)):
                getattr(lstm, f"weight_ih_l0{suffix}").copy_(embeddings.inputs[group].T)
                getattr(lstm, f"weight_hh_l0{suffix}").copy_(embeddings.recurrent[group].T)
                getattr(lstm, f"bias_ih_l0{suffix}").zero_()
                getattr(lstm, f"bias_hh_l0{suffix}").zero_()
        outputs, _ = lstm(torch.nn.functional.one_hot(choices[number], 5).float())
        expected = torch.nn.functional.normalize(outputs.mean(dim=1), dim=-1)
        assert torch.allclose(found[number], expected, atol=1e-6)


def test_little_improvement_is_expected_of_a_network_that_is_known_to_be_bad():
    points = torch.eye(3)[:2]
    near_bad, near_good, unknown = expected_improvement(
        points, torch.tensor([-1.0, 1.0]), torch.eye(3), torch.tensor(1.0)
    )
    assert near_bad < near_good < unknown


def test_the_proposals_of_a_round_differ():
    search = Esnac(SPACE, kernels=2, steps=2, initial=4)
    search.tell([Trial(arch, float(sum(arch)), 1.0) for arch in search.ask(4)])
    assert len(set(search.ask(6))) == 6


def test_what_is_proposed_is_better_than_chance():
    search = Esnac(SPACE, kernels=4, steps=20, initial=16)
    search.tell([Trial(arch, float(sum(arch)), 1.0) for arch in search.ask(16)])
    assert np.mean([sum(arch) for arch in search.ask(4)]) > 4.5  # the mean of the space is 4


def test_one_score_is_too_few_to_learn_from_and_no_error():
    search = Esnac(SPACE, initial=1)
    search.tell([Trial(search.ask(1)[0], 1.0, 1.0)])
    assert search.ask(1)
