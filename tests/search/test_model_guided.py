import numpy as np

from hwprof.interfaces import Trial
from hwprof.search.model_guided import ModelGuided
from tests.tiny_space import SPACE


class Guided(ModelGuided):
    """Asks for what it is told to."""

    def near_best(self, n):
        return self._near_best(n, lambda arch: (arch[0], *self._rng.integers(self._space.choices[1:]).tolist()))

    def scored(self):
        return self._scored


def told(trials):
    search = Guided(SPACE, seed=0)
    search.tell(trials)
    return search


def test_models_are_fitted_to_scored_networks_only():
    trials = [Trial((0,) * len(SPACE.choices), 1.0, 1.0), Trial((1,) * len(SPACE.choices), None, 9.0)]
    assert told(trials).scored() == trials[:1]


def test_neighbours_are_those_of_the_best_networks():
    """The best five have a 1 in the first place, the others a 0."""
    rest = np.random.default_rng(0).integers(SPACE.choices[1:], size=(10, len(SPACE.choices) - 1)).tolist()
    trials = [Trial((int(i < 5), *arch), float(10 - i), 1.0) for i, arch in enumerate(rest)]
    assert {arch[0] for arch in told(trials).near_best(4)} == {1}


def test_neighbours_are_new():
    search = told([Trial((0,) * len(SPACE.choices), 1.0, 1.0)])
    found = search.near_best(3) + search.near_best(3)
    assert len(set(found)) == len(found)
