import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hwprof.builder import GraphBuilder
from hwprof.data import dataset
from hwprof.data.dataset import Card, Entry
from hwprof.errors import InputError
from hwprof.measurement import Evidence
from hwprof.spaces.varied import VariedSpace
from tests.samples import counted_measurement, counted_process, counts, make_measurement, make_process


class Space:
    choices = (2, 2)

    def graph(self, arch):
        b = GraphBuilder("tiny")
        x = b.input((1, 3, 8, 8))
        for choice in arch:
            x = b.conv(x, 4 + choice, 3)
        return b.build(x)


SPACE = Space()
ARCHS = [(0, 0), (0, 1), (1, 1)]


def measured(arch):
    graph = SPACE.graph(arch)
    processes = [make_process(i, [1e6 * (1 + sum(arch)), 1e6 * (1.1 + sum(arch))], warnings=("hot",)) for i in range(3)]
    environment = {"load": 0.5, "hardware": {"cpu": "Z80", "features": ["ldir", "cpir"], "cores": 1}}
    return make_measurement(processes, digest=graph.digest, anchor_baseline_ns={"a": 5.0}, environment=environment)


def entries():
    return [Entry.of(measured(arch), arch) for arch in ARCHS]


def written(folder, name="tiny"):
    card = dataset.card_of(name, [measured(arch) for arch in ARCHS], space="tiny")
    return dataset.write(folder, card, entries())


def test_raw_samples_and_everything_around_them_come_back(tmp_path):
    written(tmp_path / "d")
    found = dataset.read(tmp_path / "d")
    assert list(found.measurements()) == [measured(arch) for arch in ARCHS]


def test_architectures_and_latencies_come_back(tmp_path):
    found = written(tmp_path / "d")
    assert found.archs == ARCHS
    np.testing.assert_allclose(found.latency_ms, [1.05, 2.05, 3.05])
    np.testing.assert_allclose(found.normalized_ms, [1.05, 2.05, 3.05])
    for entry in found.entries:
        label, low, high = entry.label
        assert low <= label <= high


def test_the_card_says_where_the_data_is_from(tmp_path):
    card = written(tmp_path / "d", name='quo"ted \\ name \x7f').card
    assert card.name == 'quo"ted \\ name \x7f'
    assert (card.space, card.rows, card.device.name, card.backend) == ("tiny", 3, "d", "roofline")
    assert card.machine == {"cpu": "Z80", "features": ["ldir", "cpir"], "cores": 1}
    assert (card.versions, card.evidence) == ({"runtime": "1"}, "measured")
    assert card.protocol["target"] == 0.01
    assert card.first_date == "2026-01-01T00:00:00+00:00"


def test_a_card_claims_no_measurement_of_what_was_computed():
    computed = make_measurement([make_process(0, [1e6])], evidence=Evidence.ANALYTIC)
    assert dataset.card_of("x", [computed]).source == "analytic by hwprof"
    assert dataset.card_of("x", [measured((0, 0))]).source == "measured by hwprof"


def test_a_network_is_built_only_when_its_turn_comes(tmp_path):
    built = []

    class Counting(Space):
        def graph(self, arch):
            built.append(arch)
            return super().graph(arch)

    networks = written(tmp_path / "d").each_graph(Counting())
    next(networks)
    assert built == ARCHS[:1]


def test_the_space_rebuilds_the_networks_that_were_measured(tmp_path):
    found = written(tmp_path / "d")
    assert [g.digest for g in found.graphs(SPACE)] == [e.digest for e in found.entries]
    dataset.validate(found, SPACE)


def test_a_space_that_builds_another_network_is_refused(tmp_path):
    class Changed(Space):
        def graph(self, arch):
            return super().graph((1, *arch))

    with pytest.raises(InputError, match="no longer builds the network"):
        written(tmp_path / "d").graphs(Changed())


@pytest.mark.parametrize("name", ["darts-cpu-1t", "darts-int8-cpu-1t"])
def test_data_sets_of_hwprof_are_read_and_rebuilt(name):
    """The digests of quantized networks in them counted the values of zero points."""
    found = dataset.read(Path(__file__).parents[2] / "latency_data" / name)
    few = replace(found, entries=found.entries[:2])
    graphs = few.graphs(VariedSpace(found.card.space, found.card.variant))
    is_former = [graph.digest != entry.digest for graph, entry in zip(graphs, few.entries, strict=True)]
    assert is_former == [found.card.variant == "int8"] * 2


def test_networks_without_a_space_carry_their_graphs(tmp_path):
    graph = SPACE.graph((0, 1))
    found = dataset.write(tmp_path / "d", Card("models", "cpu"), [Entry(2.0, digest=graph.digest, graph=graph)])
    assert found.graphs() == [graph]


def test_a_network_that_nothing_could_rebuild_is_refused(tmp_path):
    with pytest.raises(InputError, match="row 1 has no graph"):
        dataset.write(tmp_path / "d", Card("models", "cpu"), [Entry(2.0, digest="a")])


@pytest.mark.parametrize("name", [dataset.GRAPHS, dataset.MEASUREMENTS])
def test_a_file_that_changed_since_is_refused(tmp_path, name):
    written(tmp_path / "d")
    with (tmp_path / "d" / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match=f"{name} changed since its card was written"):
        dataset.read(tmp_path / "d")


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.toml"):
        dataset.read(tmp_path)


def test_a_newer_card_is_refused(tmp_path):
    written(tmp_path / "d")
    card = tmp_path / "d" / dataset.CARD
    card.write_text(card.read_text().replace(dataset.SCHEMA, "hwprof.dataset/9"))
    with pytest.raises(InputError, match=r"schema is 'hwprof\.dataset/9'"):
        dataset.read(tmp_path / "d")


@pytest.mark.parametrize("ms", [0.0, -1.0, math.nan, math.inf])
def test_a_latency_that_is_not_positive_is_refused_with_its_row(tmp_path, ms):
    with pytest.raises(InputError, match="row 2 has a latency"):
        dataset.write(tmp_path / "d", Card("x", "cpu", space="tiny"), [Entry(1.0, (0, 0)), Entry(ms, (0, 1))])


def test_a_network_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="row 2 repeats the network"):
        dataset.write(tmp_path / "d", Card("x", "cpu", space="tiny"), [Entry(1.0, (0, 0)), Entry(1.0, (0, 0))])


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="empty"):
        dataset.write(tmp_path / "d", Card("x", "cpu", space="tiny"), [])


def test_architectures_of_another_space_are_refused(tmp_path):
    found = dataset.write(tmp_path / "d", Card("x", "cpu", space="tiny"), [Entry(1.0, (0, 2))])
    with pytest.raises(InputError, match=r"\(0, 2\) is not an architecture of tiny"):
        dataset.validate(found, SPACE)


def test_measurements_of_two_machines_do_not_make_one_card():
    other = make_measurement([make_process(0, [1e6])], hardware="other")
    with pytest.raises(InputError, match="another device or machine"):
        dataset.card_of("x", [measured((0, 0)), other])


def test_a_data_set_of_another_version_is_refused(tmp_path):
    folder = tmp_path / "d"
    written(folder)
    table = pq.read_table(folder / dataset.MEASUREMENTS).drop_columns(["latency_ms"])
    pq.write_table(table, folder / dataset.MEASUREMENTS)
    content = (folder / dataset.MEASUREMENTS).read_bytes()
    lines = (folder / dataset.CARD).read_text().splitlines()
    changed = [
        f'measurements_sha256 = "{sha256(content).hexdigest()}"' if "measurements_sha" in x else x for x in lines
    ]
    (folder / dataset.CARD).write_text("\n".join(changed))
    with pytest.raises(InputError, match="no column 'latency_ms'"):
        dataset.read(folder)


def counted(arch):
    return counted_measurement(
        counted_process(0, counts(1000 + sum(arch))), digest=SPACE.graph(arch).digest, model=str(arch)
    )


def written_counts(folder):
    card = dataset.card_of("counts", [counted(arch) for arch in ARCHS], space="tiny")
    return dataset.write(folder, card, [Entry.of(counted(arch), arch) for arch in ARCHS])


def test_counted_instructions_come_back_and_the_card_says_what_they_are(tmp_path):
    written_counts(tmp_path / "d")
    found = dataset.read(tmp_path / "d")
    assert (found.card.unit, found.card.evidence, found.card.source) == (
        "instructions", "emulated", "emulated by hwprof",
    )  # fmt: skip
    assert found.instructions.sum(axis=1).tolist() == [1000, 1001, 1002]
    assert list(found.measurements()) == [counted(arch) for arch in ARCHS]
    dataset.validate(found, SPACE)


@pytest.mark.parametrize("figures", ["latency_ms", "normalized_ms"])
def test_where_latencies_are_wanted_counted_instructions_are_refused(tmp_path, figures):
    found = written_counts(tmp_path / "d")
    with pytest.raises(InputError, match=r"counts \(emulated\) holds instructions, not ms"):
        getattr(found, figures)


def test_where_instructions_are_wanted_latencies_are_refused(tmp_path):
    found = written(tmp_path / "d")
    with pytest.raises(InputError, match=r"holds ms, not instructions"):
        _ = found.instructions


def test_a_data_set_of_an_earlier_version_is_read():
    data = dataset.read("latency_data/nasbench201-cpu-1t")
    assert len(data.entries) == data.card.rows > 100
    assert data.card.space == "nasbench201"
