"""`hwprof.testing.check_method`: which broken rule it finds."""

import pytest

from hwprof.compress.choice import AS_BEFORE, Choice
from hwprof.compress.magnitude import Magnitude
from hwprof.compress.networks import open_network
from hwprof.testing import check_method
from tests.compress.board import DEVICE, network, task


@pytest.fixture
def opened(tmp_path):
    return open_network(network(16), task(), DEVICE, tmp_path)


class Nameless(Magnitude):
    name = ""


class Greedy(Magnitude):
    needs = frozenset({"a GPU"})


class Hookless(Magnitude):
    def attach(self, network, cost):
        super().attach(network, cost)


class Unordered(Magnitude):
    def options(self, graph):
        return {name: (some[-1], some[0]) for name, some in super().options(graph).items()}


class Rewarding(Magnitude):
    def harm(self, layer, choice):
        return -super().harm(layer, choice)


class Single(Magnitude):
    def options(self, graph):
        return dict.fromkeys(super().options(graph), (AS_BEFORE,))


class Idle(Magnitude):
    def finish(self, choices):
        return super().finish({})


class Breaking(Magnitude):
    def finish(self, choices):
        return super().finish({next(iter(self._norms)): Choice(kept=8)})


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (Nameless, "`name` of the method is not a text"),
        (Greedy, "`needs` has 'a GPU'"),
        (Hookless, "`attach` returns a NoneType without parameters"),
        (Unordered, r"the first option of layer .* is Choice\(kept=8.*, not as before"),
        (Rewarding, "falls for smaller options"),
        (Single, "has nothing to choose from"),
        (Idle, "the smallest choices leave the network as it was"),
        (Breaking, "with nothing chosen, the network computes something else"),
    ],
)
def test_a_broken_rule_is_found(made, told, opened):
    with pytest.raises(AssertionError, match=told):
        check_method(made, opened)
