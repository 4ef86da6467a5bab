import numpy as np
import pytest

from hwprof.interfaces import Trial
from hwprof.search.qlearning import QLearning


class Line:
    choices = (3, 3, 3)


def train(search, reward, batches: int = 40):
    for _ in range(batches):
        search.tell([Trial(arch, reward(arch), 1.0 + arch[0]) for arch in search.ask(5)])
    return search.ask(50)


def test_the_policy_finds_choices_that_only_pay_together():
    """The state of a position is the choice before it."""
    asked = train(QLearning(Line(), horizon=100, least_random=0.0), lambda arch: float(arch[0] == arch[1] == arch[2]))
    assert np.mean([arch[0] == arch[1] == arch[2] for arch in asked]) > 0.8


def test_random_actions_become_rarer():
    search = QLearning(Line(), horizon=20, least_random=0.1)
    assert search.random_share == 1
    search.tell([Trial((0, 0, 0), 1.0, 1.0)] * 10)
    assert search.random_share == pytest.approx(0.55)
    search.tell([Trial((0, 0, 0), 1.0, 1.0)] * 10)
    assert search.random_share == 0.1


def test_mu_prefers_the_faster_of_equal_networks():
    asked = train(QLearning(Line(), mu=1.0, horizon=100, least_random=0.0), lambda _arch: 1.0)
    assert np.mean([arch[0] == 0 for arch in asked]) > 0.8


def test_a_refused_network_is_avoided():
    search = QLearning(Line(), horizon=100, least_random=0.0)
    asked = train(search, lambda arch: None if arch[0] == 2 else float(arch[0]))
    assert np.mean([arch[0] == 1 for arch in asked]) > 0.8
