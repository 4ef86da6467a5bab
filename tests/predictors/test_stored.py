"""Files that earlier versions wrote (tests/predictors/stored) load, and predict what was predicted then."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwprof.predictors import files
from tests.predictors.conftest import network

STORED = Path(__file__).parent / "stored"
FLOAT32 = ("gcn", "mlp", "embedding_gp")
EXPECTED = json.loads((STORED / "expected.json").read_text())
ARCHS = [tuple(map(int, arch)) for arch in np.random.default_rng(1).integers(0, 3, (30, 4))[:6]]
GRAPHS = [network(1, channels, dead) for channels in (4, 8) for dead in (0, 1, 2)]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_an_earlier_version_predicts_the_same(name):
    predictor, then = files.load(STORED / f"{name}.hwp"), EXPECTED[name]
    assert predictor.takes == then["takes"]
    networks = ARCHS if predictor.takes == "arch" else GRAPHS
    precision = 1e-6 if name.partition("-")[0] in FLOAT32 else 1e-12  # sums of float32 have no fixed order
    low_ms, high_ms = predictor.predict_interval(networks, 0.9)
    for found, key in ((predictor.predict(networks), "ms"), (low_ms, "low_ms"), (high_ms, "high_ms")):
        np.testing.assert_allclose(found, then[key], rtol=precision)
