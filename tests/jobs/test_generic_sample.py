from itertools import islice

import numpy as np
import pytest

from hwprof import onnx_io, workloads
from hwprof.data import dataset
from hwprof.encoders.kernels import KernelEncoder
from hwprof.errors import InputError
from hwprof.jobs import collecting, generic_sample
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from hwprof.spaces.generic import SPACE
from hwprof.spaces.varied import VariedSpace

GENERIC = VariedSpace("generic")


@pytest.fixture(scope="module")
def drawn():
    return [(arch, GENERIC.graph(arch)) for arch in islice(SPACE.archs(5), 60)]


def test_one_network_of_three_is_the_users_own(drawn):
    own = [workloads.build("super_resolution")] * 2
    found = list(generic_sample.interleaved(iter(drawn[:7]), iter(own)))
    assert [arch is None for arch, _ in found] == [False, False, True, False, False, True, False, False, False]


def test_the_least_known_networks_are_those_of_kinds_that_were_never_measured(drawn):
    networks = KernelEncoder()([graph for _, graph in drawn])
    ms = np.array([0.1 + n.amounts.sum() for n in networks])
    recurrent = [any(kind.startswith(("LSTM", "GRU")) for kind in n.kinds) for n in networks]
    known = [i for i, one in enumerate(recurrent) if not one]
    chosen = generic_sample.least_known([networks[i] for i in known], ms[known], networks, sum(recurrent))
    assert np.mean([recurrent[i] for i in chosen]) > 0.6


def test_half_of_a_batch_is_chosen_once_enough_is_measured(drawn, monkeypatch):
    monkeypatch.setattr(generic_sample, "BATCH", 10)
    monkeypatch.setattr(generic_sample, "CHOSEN_FROM", 20)
    encoder = KernelEncoder()
    known = encoder([graph for _, graph in drawn[:20]])
    found = generic_sample.informed(
        iter(drawn[20:]), lambda: (known, np.array([0.1 + n.amounts.sum() for n in known])), lambda g: encoder([g])[0]
    )
    batch = list(islice(found, 10))
    assert [arch for arch, _ in batch[::2]] == [arch for arch, _ in drawn[20:25]]
    assert {arch for arch, _ in batch[1::2]} <= {arch for arch, _ in drawn[25:40]}


def test_a_users_models_are_in_the_data_set_with_their_graphs(tmp_path):
    (tmp_path / "models").mkdir()
    onnx_io.save(workloads.build("super_resolution"), tmp_path / "models" / "mine.onnx")
    (tmp_path / "models" / "broken.onnx").write_bytes(b"none")
    notes = []
    found = collecting.collect(
        "generic", "roofline-edge-gpu", 6, models=[tmp_path / "models"], out=tmp_path / "x", store=tmp_path / "s.db",
        options=Options(FAST, on_note=notes.append),
    ).dataset  # fmt: skip
    again = dataset.read(found.folder)
    own = [entry for entry in again.entries if entry.arch is None]
    assert [entry.graph.name for entry in own] == ["mine", "mine"]
    assert len(again.graphs(GENERIC)) == 6
    dataset.validate(again, GENERIC)
    assert any("left out" in note and "broken" in note for note in notes)


def test_models_belong_to_a_generic_sample(tmp_path):
    with pytest.raises(InputError, match="models belong to a generic sample; space 'nasbench201' has networks of its"):
        collecting.collect("nasbench201", "cpu-1t", 5, models=[tmp_path], out=tmp_path / "x")


@pytest.mark.parametrize("name", ["missing.onnx", "empty"])
def test_models_that_a_user_named_and_that_cannot_be_had_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        collecting.collect(
            "generic", "roofline-edge-gpu", 5, models=[tmp_path / name], out=tmp_path / "x", store=":memory:"
        )
    assert not (tmp_path / "x").exists()
