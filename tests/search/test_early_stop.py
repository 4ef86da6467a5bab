import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.search.early_stop import EarlyStop, density, fitted


def test_the_reward_falls_with_cost_and_density():
    assert EarlyStop(mu=2.0, rho=1.0)(70.0, cost=2.718281828, density=2.718281828) == pytest.approx(67.0)
    assert EarlyStop()(70.0, cost=1e9, density=9.0) == 70.0


def test_the_weights_are_those_that_made_the_difference():
    costs, densities = [1.0, 2.0, 4.0, 3.0, 7.0], [1.0, 1.5, 1.1, 2.0, 1.7]
    early = [50.0, 55.0, 51.0, 40.0, 44.0]
    made = EarlyStop(mu=-3.0, rho=2.0)
    final = [10 + made(*each) for each in zip(early, costs, densities, strict=True)]
    found = fitted(early, final, costs, densities)
    assert (found.mu, found.rho) == pytest.approx((-3.0, 2.0))


def test_too_few_networks_are_refused():
    with pytest.raises(InputError, match="at least 4 networks trained to the end, not 3"):
        fitted([1.0] * 3, [1.0] * 3, [1.0] * 3, [1.0] * 3)


def test_density_is_edges_over_nodes():
    b = GraphBuilder("two paths")
    x = b.relu(b.input((1, 4)))
    assert density(b.build(b.add(x, b.relu(x)))) == pytest.approx(3 / 3)
