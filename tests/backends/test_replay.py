from __future__ import annotations

import json

import pytest

from hwprof.backends.replay import BACKEND
from hwprof.device import Device
from hwprof.errors import InputError
from tests.samples import make_measurement, make_process


def played(graph, path, n=3, **options):
    with BACKEND.open(graph, Device("d", "replay").with_options(samples=str(path), **options)) as timer:
        return timer(n)


def test_samples_come_in_their_order_and_start_again(tiny_graph, tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({tiny_graph.digest: [[10, 20, 30]]}))
    assert played(tiny_graph, path, 7) == [10, 20, 30, 10, 20, 30, 10]


def test_a_total_is_the_sum_of_the_next_samples(tiny_graph, tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({tiny_graph.digest: [[10, 20, 30]]}))
    with BACKEND.open(tiny_graph, Device("d", "replay").with_options(samples=str(path))) as timer:
        assert timer(1) == [10]
        assert timer(3, each=False) == [60]


def test_each_process_plays_its_own_samples(tiny_graph, tmp_path, monkeypatch):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({tiny_graph.digest: [[10], [20], [30]]}))
    assert played(tiny_graph, path, 1, process=1) == [20]
    assert played(tiny_graph, path, 1, process=5) == [30]
    monkeypatch.setenv("HWPROF_PROCESS", "2")
    assert played(tiny_graph, path, 1) == [30]


def test_lines_of_one_graph_add_processes(tiny_graph, tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text(f'{{"{tiny_graph.digest}": [[10]]}}\n\n{{"{tiny_graph.digest}": [[20]]}}\n')
    assert played(tiny_graph, path, 1, process=1) == [20]


def test_a_measurement_record_is_played_back_without_its_rejected_blocks(tiny_graph, tmp_path):
    process = make_process(0, [10, 20, 30])
    rejected = {"rejected": "steal"}
    record = make_measurement([process], digest=tiny_graph.digest).to_record()
    record["processes"][0]["blocks"][1].update(rejected)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(record))
    assert played(tiny_graph, path, 2) == [10, 30]


def test_a_graph_without_samples_is_refused_by_name(tiny_graph, tmp_path):
    path = tmp_path / "s.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=rf"no samples of 'tiny' \(digest {tiny_graph.digest}\)"):
        played(tiny_graph, path)


@pytest.mark.parametrize("text", ["{", '{"d": 3}', '{"d": [[0]]}', '{"d": [["fast"]]}', '{"d": [[NaN]]}'])
def test_a_file_of_something_else_is_refused(tiny_graph, tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(InputError, match="samples file"):
        played(tiny_graph, path)


def test_a_missing_file_is_refused(tiny_graph, tmp_path):
    with pytest.raises(InputError, match="No such file"):
        played(tiny_graph, tmp_path / "nope.json")
