"""A device whose latencies are known exactly, so that predictors can be set against the truth."""

import numpy as np
import pytest

from hwprof.builder import GraphBuilder


def network(depth, channels, dead=0):
    """`depth` convolutions, and `dead` ones that nobody reads."""
    b = GraphBuilder(f"{depth} x {channels}, {dead} dead")
    x = b.input((1, channels, 8, 8))
    for _ in range(depth):
        x = b.relu(b.conv(x, channels, 3))
    for _ in range(dead):
        b.conv(x, channels, 3)
    return b.build(b.global_average_pool(x))


@pytest.fixture(scope="session")
def graphs():
    """60 networks of 1 to 5 live and 0 to 3 dead convolutions with 4 to 16 channels."""
    rng = np.random.default_rng(0)
    sizes = zip(rng.integers(1, 6, 60), 4 * rng.integers(1, 5, 60), rng.integers(0, 4, 60), strict=True)
    return [network(int(depth), int(channels), int(dead)) for depth, channels, dead in sizes]


@pytest.fixture(scope="session")
def architectures():
    """80 points of a space with 4 positions of 3 choices."""
    return [tuple(map(int, arch)) for arch in np.random.default_rng(1).integers(0, 3, (80, 4))]
