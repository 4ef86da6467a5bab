"""Instructions of an emulated core as features of a predictor of a real board."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwprof.backends.emulator import location
from hwprof.data import dataset
from hwprof.data.dataset import Entry
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.jobs import predicting
from hwprof.predictors.trained import Trained
from tests.samples import counted_measurement, counted_process, counts


def write_counts(collected, folder, kept=slice(None), space="space"):
    """Of the networks of `collected`: as many multiply-adds as their latency has nanoseconds, twice as many loads."""
    found = dataset.read(collected)
    measurements, entries = [], []
    for entry in found.entries[kept]:
        amount = round(entry.normalized_ms * 1e6)
        m = counted_measurement(counted_process(0, counts(amount, load=2 * amount)), digest=entry.digest)
        measurements.append(m)
        entries.append(Entry.of(m, entry.arch))
    return dataset.write(folder, replace(dataset.card_of("counts", measurements), space=space), entries).folder


@pytest.fixture
def counted(collected, tmp_path, tiny_spaces):
    return write_counts(collected, tmp_path / "counts")


def test_a_predictor_that_is_given_instructions_learns_what_they_cost(collected, counted):
    trained = predicting.train(collected, "physical", counts=counted)
    assert trained.predictor.hypothesis_ == "instructions"
    assert trained.origin.mape < 0.1
    assert trained.origin.counted_on["name"] == "emulated-cortex-a72"


def test_it_keeps_them_in_its_file(collected, counted, tmp_path):
    trained = predicting.train(collected, "physical", counts=counted)
    trained.save(tmp_path / "x.hwp")
    again = Trained.load(tmp_path / "x.hwp")
    assert again.origin == trained.origin
    rows = np.hstack([again.predictor.encode(dataset.read(collected).archs), dataset.read(counted).instructions])
    np.testing.assert_array_equal(again.predictor.predict(rows), trained.predictor.predict(rows))


def test_networks_without_counts_are_left_out(collected, tmp_path, tiny_spaces):
    some = write_counts(collected, tmp_path / "some", slice(20))
    assert predicting.train(collected, "physical", counts=some).origin.n == 20


def test_a_graph_alone_is_not_enough_for_it(collected, counted):
    trained = predicting.train(collected, "physical", counts=counted)
    with pytest.raises(InputError, match="learned from counted instructions: give rows that end with them"):
        trained.predictor.predict(dataset.read(collected).archs)


def test_it_does_not_predict_without_counting(collected, counted):
    trained = predicting.train(collected, "physical", counts=counted)
    with pytest.raises(InputError, match=r"learned from counted instructions; hwprof\.predict counts those"):
        trained.predict(["2,1,1,0"])


def test_latencies_are_no_counts(collected, tiny_spaces):
    with pytest.raises(InputError, match="holds ms, not instructions"):
        predicting.train(collected, "physical", counts=collected)


def test_instructions_are_no_latencies(counted):
    with pytest.raises(InputError, match="holds instructions, not ms"):
        predicting.train(counted, "physical")


def test_counts_of_another_space_are_refused(collected, tmp_path, tiny_spaces):
    other = write_counts(collected, tmp_path / "other", space="zeroed")
    with pytest.raises(InputError, match="counts networks of zeroed; the data set needs space"):
        predicting.train(collected, "physical", counts=other)


def test_too_few_networks_in_common_are_refused(collected, tmp_path, tiny_spaces):
    few = write_counts(collected, tmp_path / "few", slice(3))
    with pytest.raises(InputError, match="have 3 networks in common; 5 are needed"):
        predicting.train(collected, "physical", counts=few)


def test_a_predictor_without_use_for_instructions_says_so(collected, counted):
    with pytest.raises(InputError, match="'lut' cannot learn from instructions; use --counts with physical"):
        predicting.train(collected, "lut", counts=counted)


def test_a_network_that_is_predicted_is_counted_first(collected, counted):
    try:
        location.versions()
    except EnvironmentUnfitError as error:
        pytest.skip(str(error))
    trained = predicting.train(collected, "physical", counts=counted)
    (found,) = predicting.predict(trained, ["2,1,1,0"])
    assert 0 < found.low_ms < found.latency_ms < found.high_ms
