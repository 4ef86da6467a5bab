from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwprof.data import dataset
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.jobs import Options, collecting, importing
from hwprof.jobs.collecting import Plan
from hwprof.measurement import FAST
from hwprof.spaces.varied import VariedSpace
from tests.samples import noisy_device

pytestmark = pytest.mark.usefixtures("tiny_spaces")
EDGE = Device.load("roofline-edge-gpu")
QUICK = replace(FAST, min_processes=2, max_processes=2)


def asked(**changes):
    return Options(QUICK, **changes)


def test_a_data_set_holds_each_graph_once_with_its_samples_and_card(collected):
    data = dataset.read(collected)
    assert len(data.archs) == 32  # 64 architectures, each two the same graph
    assert len({e.digest for e in data.entries}) == 32
    assert {arch[:3] for arch in data.archs} == {(d, c, k) for d in range(4) for c in range(4) for k in range(2)}
    card = data.card
    assert (card.space, card.variant, card.device_name, card.evidence) == ("space", "", "noisy", "analytic")
    assert card.protocol["target"] == FAST.target
    assert "normalized_ms" in card.description
    dataset.validate(data, VariedSpace("space"))


def test_the_latency_is_that_of_the_device(collected):
    data = dataset.read(collected)
    launches = np.array([2 * (arch[0] + 1) + 1 for arch in data.archs])  # a convolution and a relu each, and the pool
    assert data.latency_ms == pytest.approx(launches, rel=0.05)  # 1 ms a launch, all else is nothing


def test_the_first_networks_are_the_same_however_many_are_asked_for(tmp_path, collected):
    with Store() as store:
        few = collecting.carry_out(Plan("space", EDGE, 5), tmp_path / "few", store, asked()).dataset
    assert set(few.archs) <= set(dataset.read(collected).archs)
    assert len(few.archs) == 5


def test_a_space_that_has_fewer_networks_says_so(tmp_path):
    notes = []
    with Store() as store:
        found = collecting.carry_out(Plan("zeroed", EDGE, 9), tmp_path / "x", store, asked(on_note=notes.append))
    assert len(found.dataset.entries) == 3
    assert notes == ["space zeroed has only 3 different networks"]


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path):
    plan = Plan("space", noisy_device(), 6)

    def interrupt(group):
        if group.rounds == 2:
            raise KeyboardInterrupt

    visited = []
    with Store() as store:
        with pytest.raises(KeyboardInterrupt):
            collecting.carry_out(plan, tmp_path / "x", store, asked(on_progress=interrupt))
        collecting.carry_out(plan, tmp_path / "x", store, asked(on_progress=lambda g: visited.append(g.rounds)))
        assert 1 not in visited, "a network's first process was measured again"
        visited.clear()
        again = collecting.carry_out(plan, tmp_path / "x", store, asked(on_progress=lambda g: visited.append(g.rounds)))
    assert visited == [2] * 6, "stored networks count as done, each once, and none is measured again"
    assert len(again.dataset.entries) == 6


def test_the_operators_of_a_variant_that_stay_float_are_told_once(tmp_path):
    told: list[str] = []
    with Store() as store:
        collecting.carry_out(
            Plan("rnn_lm", EDGE, 2, variant="int8"), tmp_path / "x", store, asked(on_warning=told.append)
        )
    (warning,) = [text for text in told if "float" in text]
    assert warning.startswith("rnn_lm int8 ")
    assert "stay float: LSTM 'LSTM_1' (int8 has no LSTM)" in warning.replace("operator stays", "operators stay")


def test_a_variant_is_measured_and_rebuilt_by_the_card(tmp_path):
    plan = Plan("space", EDGE, 3, variant="int8")
    with Store() as store:
        data = collecting.carry_out(plan, tmp_path / plan.name, store, asked()).dataset
    assert (data.card.name, data.card.variant) == ("space-int8-roofline-edge-gpu", "int8")
    assert all(any(n.op == "QuantizeLinear" for n in g.nodes) for g in data.graphs(VariedSpace("space", "int8")))
    with pytest.raises(InputError, match="no longer builds the network"):
        data.graphs(VariedSpace("space"))


def test_measurements_of_one_sweep_share_the_lowest_anchor_times(tmp_path, monkeypatch):
    baselines = iter([5.0, 3.0, 4.0])
    real = collecting.profile_many

    def with_anchors(*arguments):
        for outcome in real(*arguments):
            anchors = {"compute": next(baselines)}
            yield replace(outcome, measurement=replace(outcome.measurement, anchor_baseline_ns=anchors))

    monkeypatch.setattr(collecting, "profile_many", with_anchors)
    with Store() as store:
        data = collecting.carry_out(Plan("space", EDGE, 3), tmp_path / "x", store, asked()).dataset
    assert [m.anchor_baseline_ns for m in data.measurements()] == [{"compute": 3.0}] * 3


@pytest.mark.parametrize("target_mape", [None, 5.0])
def test_when_no_network_can_be_measured_the_reason_is_told_and_nothing_is_written(tmp_path, target_mape):
    broken = EDGE.with_options(peak_macs_per_s=0.0)
    with Store() as store, pytest.raises(InputError, match="peaks must be > 0"):
        collecting.carry_out(Plan("space", broken, 3, target_mape=target_mape), tmp_path / "x", store, asked())
    assert not (tmp_path / "x").exists()


def test_batches_are_measured_until_the_error_is_small_enough(tmp_path):
    notes = []
    plan = Plan("space", noisy_device(0.01, 0.0), 32, target_mape=5.0)
    with Store() as store:
        found = collecting.carry_out(plan, tmp_path / "x", store, asked(on_note=notes.append))
    assert found.error is not None
    assert found.error.high <= 5
    assert 20 <= len(found.dataset.entries) < 32
    assert notes[-1].startswith(f"{len(found.dataset.entries)} networks: left-out error ")


def test_the_most_networks_end_a_sweep_that_does_not_reach_its_error(tmp_path):
    plan = Plan("space", noisy_device(0.01, 0.0), 22, target_mape=0.001)
    with Store() as store:
        found = collecting.carry_out(plan, tmp_path / "x", store, asked())
    assert len(found.dataset.entries) == 22
    assert found.error is not None
    assert found.error.high > 0.001


def test_a_folder_with_other_data_is_not_overwritten(collected):
    with Store() as store:
        with pytest.raises(InputError, match="holds another data set"):
            collecting.carry_out(Plan("nasbench201", EDGE, 40), collected, store, asked())
        device = dataset.read(collected).card.device
        with pytest.raises(InputError, match="holds 32 networks, more than --n 5"):
            collecting.carry_out(Plan("space", device, 5), collected, store, asked())


def test_a_data_set_of_the_user_s_own_space_names_it_and_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store() as store:
        found = collecting.collect("tests.tiny_space:SPACE", EDGE, 3, store=store, options=asked())
    assert found.dataset.folder == Path("latency_data/tests.tiny_space-SPACE-roofline-edge-gpu")
    assert found.dataset.card.space == "tests.tiny_space:SPACE"
    importing.validate(found.dataset.folder)


def test_a_varied_space_can_be_collected(tmp_path):
    with Store() as store:
        found = collecting.collect(
            VariedSpace("space", "fp16"), EDGE, 2, out=tmp_path / "x", store=store, options=asked()
        )
    assert (found.dataset.card.space, found.dataset.card.variant) == ("space", "fp16")


def test_a_sweep_for_some_minutes_goes_on_with_the_networks_that_its_data_set_has(tmp_path):
    """Whatever would be drawn today."""
    with Store() as store:
        before = collecting.carry_out(Plan("space", EDGE, 4), tmp_path / "x", store, asked()).dataset
        plan = Plan("space", EDGE, 6, seed=1, minutes=5)
        after = collecting.carry_out(plan, tmp_path / "x", store, asked()).dataset
    assert after.archs[:4] == before.archs
    assert len(after.archs) == 6


def test_the_end_of_a_sweep_must_be_given(tmp_path):
    with pytest.raises(InputError, match="give n, the number of networks, until_mape, the error, or minutes"):
        collecting.collect("space", EDGE, store=":memory:", out=tmp_path)


@pytest.mark.parametrize(
    ("space", "name"),
    [("fbnet", "fbnet"), ("a/b/mine.py:SPACE", "mine-SPACE"), ("pack.age:SPACE", "pack.age-SPACE")],
)
def test_the_folder_of_a_data_set_has_a_name_that_files_can_have(space, name):
    assert Plan(space, EDGE, 3, "prune:0.5").name == f"{name}-prune0.5-roofline-edge-gpu"
