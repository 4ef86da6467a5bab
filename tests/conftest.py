"""Fixtures that tests share."""

import os

import pytest

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that run it without hwprof's backend


@pytest.fixture
def tiny_graph() -> Graph:
    """Two convolutions on 8 x 8."""
    b = GraphBuilder("tiny")
    x = b.input((1, 3, 8, 8))
    return b.build(b.relu(b.conv(b.relu(b.conv(x, 4, 3)), 4, 3)))
