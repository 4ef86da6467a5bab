"""Networks that the tests of variants share, and ONNX Runtime to run them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from tests.onnx_oracle import unoptimized

Outputs = list[np.ndarray]
Run = Callable[..., Outputs]


@pytest.fixture
def run() -> Run:
    """Outputs of a Graph (seeded weights) or a model on the seeded random inputs of a graph, by ONNX Runtime."""

    def outputs(network: Graph | onnx.ModelProto, like: Graph | None = None, seed: int = 0) -> Outputs:
        model = onnx_io.to_model(network) if isinstance(network, Graph) else network
        onnx.checker.check_model(model, full_check=True)
        return unoptimized(model, onnx_io.random_inputs(like or network, seed))

    return outputs


@pytest.fixture
def shapes_hold(run: Run) -> Callable[[Graph], None]:
    """Asserts that every type in a graph is what ONNX infers and ONNX Runtime returns."""

    def check(graph: Graph) -> None:
        inferred = onnx_io.infer_types(graph)
        for tensor in graph.values:
            if inferred.has_type(tensor.name):
                assert inferred.type_of(tensor.name) == tensor
        results = run(graph)
        assert [r.shape for r in results] == [graph.shape(name) for name in graph.outputs]
        assert all(np.isfinite(r.astype(np.float64)).all() for r in results)

    return check


@pytest.fixture
def mobile_block() -> Graph:
    """Inverted residual with squeeze-and-excite behind a stem, a concatenation, and a classifier: 3x32x32 to 10."""
    b = GraphBuilder("mobile")
    x = b.relu6(b.batch_norm(b.conv(b.input((1, 3, 32, 32)), 16, 3, stride=2)))
    y = b.relu6(b.batch_norm(b.conv(x, 64)))
    y = b.relu6(b.batch_norm(b.conv(y, 64, 3, groups=64)))
    gate = b.relu(b.conv(b.global_average_pool(y), 16, bias=True))
    y = b.mul(y, b.unary("HardSigmoid", b.conv(gate, 64, bias=True)))
    y = b.add(x, b.batch_norm(b.conv(y, 16)))
    y = b.concat([y, b.relu(b.conv(y, 8, 3))])
    return b.build(b.gemm(b.flatten(b.pool("MaxPool", y, 2, 2)), 10))
