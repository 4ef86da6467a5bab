"""Every installed search, on the tiny space and on the measurements of others."""

import numpy as np
import pytest

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.search.run import Limit, Plan, run
from hwprof.search.strategies import resolved, strategy
from hwprof.search.table_score import TableScore
from hwprof.spaces.nasbench201 import SPACE as CELLS
from hwprof.spaces.varied import VariedSpace
from hwprof.testing import check_search
from tests.tiny_space import SPACE

NAMES = plugins.names("search")
# Q-learning raises the mean of what it asks for (see test_qlearning); its best is no better than random search's here.
# A traversal only keeps what is not slower, and so cannot climb from networks that are fast here and score little.
# ESNAC trains its kernels for seconds in each run: test_esnac has a smaller one.
LEARNING = [name for name in NAMES if name not in ("random", "qlearning", "traversal", "esnac")]


class Line:
    """8 positions of 3 choices; `graph` is not needed."""

    choices = (3,) * 8


def latency_ms(archs: np.ndarray) -> np.ndarray:
    return 1.0 + archs.sum(axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_search_keeps_the_contract(name):
    check_search(plugins.load("search", name))
    check_search(plugins.load("search", name), SPACE, n=3)


@pytest.mark.parametrize("name", NAMES)
def test_a_space_of_one_architecture_is_searched(name):
    class One:
        choices = (1, 1)

    assert len(run(strategy(name, One()), lambda _arch: 1.0, Limit(latency_ms), Plan(5)).trials) == 1


@pytest.mark.parametrize("name", LEARNING)
def test_a_search_beats_the_mean_of_random_ones_within_a_limit(name):
    """The score is the sum of the choices in the first half, so that the best network within the limit is known."""

    def best(made: str, seed: int) -> float:
        searched = run(strategy(made, Line(), seed), lambda arch: float(sum(arch[:4])), Limit(latency_ms, 9), Plan(60))
        return searched.best()[0].score

    seeds = range(5)
    assert np.mean([best(name, seed) for seed in seeds]) > np.mean([best("random", seed) for seed in seeds])


def test_auto_is_a_strategy():
    assert resolved("auto") in NAMES
    assert resolved("random") == "random"


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(InputError, match="no search is named 'guess'; known: esnac, evolution, mads, netadapt, nsga2"):
        strategy("guess", SPACE)


def test_a_search_on_nas_bench_201_stays_within_the_latency_and_finds_good_cells(shared_data):
    space = VariedSpace("nasbench201")
    accuracy = TableScore.load(shared_data / "nb201_accuracy.parquet", space, "cifar10_test_200")
    latency = TableScore.load(shared_data / "nb201_latency_ms.parquet", space, "raspi4")
    limit = Limit(lambda archs: np.array([latency(tuple(arch)) for arch in archs.tolist()]), 8.0)
    searched = run(strategy("evolution", CELLS), accuracy, limit, Plan(60))
    assert max(latency(trial.arch) for trial in searched.trials) <= 8.0
    fitting = [score for arch, score in accuracy.by_arch.items() if latency(arch) <= 8.0]
    assert searched.best()[0].score > np.quantile(fitting, 0.95)
