from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from hwprof import metrics
from hwprof.encoders.physical import QUANTITIES, PhysicalEncoder, by_hypothesis
from hwprof.errors import InputError
from hwprof.predictors import files
from hwprof.predictors.gcn import GraphPredictor
from hwprof.predictors.lut import LutPredictor
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.predictors.transfer import TransferPredictor
from tests.tiny_space import SPACE


def latencies(graphs, launch_ms, mac_ms):
    rows = by_hypothesis(PhysicalEncoder().transform(graphs))[:, 0]
    launches, macs = (rows[:, QUANTITIES.index(name)] for name in ("total launches", "total macs"))
    return 1 + launch_ms * launches + mac_ms * macs


@pytest.fixture(scope="module")
def sources(graphs):
    """Devices bound by launches and by multiply-adds."""
    kinds = [(0.2, 1e-7), (0.01, 4e-6)]
    return [PhysicalPredictor(process="never").fit(graphs, latencies(graphs, *kind)) for kind in kinds]


def test_four_measurements_of_a_device_like_another_are_enough(graphs, sources):
    ms = 3 * latencies(graphs, 0.01, 4e-6)
    chosen = [int(i) for i in np.argsort(ms)[[3, 20, 40, 55]]]
    predictor = TransferPredictor(sources).fit([graphs[i] for i in chosen], ms[chosen])
    assert metrics.mape(ms, predictor.predict(graphs)) < 3


def test_a_device_between_two_others_is_learned_from_ten(graphs, sources):
    ms = latencies(graphs, 0.1, 2e-6)
    predictor = TransferPredictor(sources).fit(graphs[:10], ms[:10])
    assert metrics.mape(ms[10:], predictor.predict(graphs[10:])) < 2


def test_rows_encoded_once_are_learned_from_and_predicted_as_the_graphs_are(graphs, sources):
    ms = latencies(graphs, 0.1, 2e-6)
    rows = TransferPredictor(sources).encode(graphs)
    from_rows = TransferPredictor(sources).fit(rows[:10], ms[:10]).predict(rows)
    assert np.array_equal(from_rows, TransferPredictor(sources).fit(graphs[:10], ms[:10]).predict(graphs))


def test_a_device_unlike_all_others_is_learned_from_five_informative_networks(graphs, sources):
    ms = latencies(graphs, 0.0, 4e-4)  # a hundred times the weight of multiply-adds
    chosen = TransferPredictor(sources).informative(graphs, 5)
    assert len(set(chosen.tolist())) == 5
    predictor = TransferPredictor(sources).fit([graphs[i] for i in chosen], ms[chosen])
    assert metrics.mape(ms, predictor.predict(graphs)) < 5


def test_the_sources_stay_fitted_in_a_clone(graphs, sources):
    ms = latencies(graphs, 0.1, 2e-6)
    assert clone(TransferPredictor(sources)).fit(graphs[:10], ms[:10]).predict(graphs[:1]) > 0


def test_the_sources_travel_in_the_file(tmp_path, graphs, sources):
    predictor = TransferPredictor(sources, seed=4).fit(graphs[:10], latencies(graphs, 0.1, 2e-6)[:10])
    files.save(predictor, tmp_path / "x.hwp")
    again = files.load(tmp_path / "x.hwp")
    assert again.seed == 4
    assert np.array_equal(again.predict(graphs), predictor.predict(graphs))


@pytest.mark.parametrize("name", ["quantities", "executions"])
def test_a_state_whose_rows_had_other_columns_is_refused(graphs, sources, name):
    predictor = TransferPredictor(sources).fit(graphs[:10], latencies(graphs, 0.1, 2e-6)[:10])
    state = predictor.state()
    older = replace(state, settings={key: value for key, value in state.settings.items() if key != name})
    with pytest.raises(ValueError, match="those of another version of hwprof; train it again"):
        TransferPredictor().restore(older)


def test_transfer_from_nowhere_is_refused(graphs):
    with pytest.raises(InputError, match="needs predictors of other devices"):
        TransferPredictor().fit(graphs, latencies(graphs, 0.1, 2e-6))


def test_each_source_is_given_what_it_takes(tiny_space_sources):
    archs, ms, sources = tiny_space_sources
    predictor = TransferPredictor(sources, SPACE).fit(archs[::4], ms[::4])
    assert predictor.takes == "arch"
    assert metrics.mape(ms, predictor.predict(archs)) < 2
    with pytest.raises(InputError, match="architectures are sequences of ints"):
        predictor.predict([SPACE.graph(archs[0])])


@pytest.fixture
def tiny_space_sources():
    """All architectures, their latencies on a new device, and predictors of two other devices."""
    archs = [tuple(map(int, arch)) for arch in np.ndindex(*SPACE.choices)]
    ms = np.array([1.0 + 2 * arch[0] + arch[1] for arch in archs])
    graphs = [SPACE.graph(arch) for arch in archs]
    gcn = GraphPredictor(hidden=4, depth=1, epochs=2).fit(graphs, ms)
    return archs, ms, [LutPredictor().fit(archs, 3 * ms), gcn]
