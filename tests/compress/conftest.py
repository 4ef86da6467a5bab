import pytest

from hwprof.compress.networks import open_network
from tests.compress.board import DEVICE, network, task


@pytest.fixture
def opened(tmp_path):
    """The small network with random weights, and its task's examples."""
    return open_network(network(), task(), DEVICE, tmp_path)


@pytest.fixture
def no_cost():
    def refuse(_choices):
        raise AssertionError("a method without a training reads no cost")

    return refuse
