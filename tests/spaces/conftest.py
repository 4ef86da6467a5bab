from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hwprof import onnx_io
from hwprof.graph import Graph


@pytest.fixture
def learned_parameters() -> Callable[[Graph], int]:
    """What papers count: weights without the running mean and variance of batch normalization."""

    def count(graph: Graph) -> int:
        statistics = {name for node in graph.nodes if node.op == "BatchNormalization" for name in node.inputs[3:]}
        return sum(weight.numel for weight in graph.weights if weight.name not in statistics)

    return count


@pytest.fixture
def published() -> Callable[..., list[Any]]:
    """Rows of one of the data sets beside the repository, or the values of one of their columns."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the measurements of others are not beside the repository (../shared/data)")
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading the data needs pyarrow")

    def rows(name: str, column: str | None = None) -> list[Any]:
        path = folder / f"{name}.parquet"
        return parquet.read_table(path)[column].to_pylist() if column else parquet.read_table(path).to_pylist()

    return rows


@pytest.fixture
def run() -> Callable[[Graph], list[np.ndarray]]:
    """The outputs of a graph in ONNX Runtime, with seeded random weights and inputs."""

    def outputs(graph: Graph) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = onnx_io.to_model(graph).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return session.run(None, onnx_io.random_inputs(graph))

    return outputs
