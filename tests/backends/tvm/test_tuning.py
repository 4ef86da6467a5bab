from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hwprof.backends.tvm import database
from hwprof.backends.tvm.backend import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError

DEVICE = Device("d", "tvm")


def records(path) -> list[str]:
    return (path / "database_tuning_record.json").read_text().splitlines()


def test_a_search_is_kept_goes_on_and_is_used(product, monkeypatch):
    path = database.folder(product, DEVICE, 0)
    first = list(BACKEND.tune(product, DEVICE, trials=2, budget_s=2000.0, build=0))
    assert [p.trials for p in first] == [0, 2]
    assert (first[-1].kernels, first[-1].tuned, first[-1].best_ms) == (2, 1, None)
    kept = records(path)
    assert len(kept) == 2
    identity = BACKEND.tuning(product, DEVICE)
    assert len(identity) == 12

    with (path / "database_tuning_record.json").open("a") as torn:
        torn.write(kept[0][: len(kept[0]) // 2])  # as a search leaves it that was killed
    *_, last = BACKEND.tune(product, DEVICE, trials=4, budget_s=2000.0, build=0)
    assert (last.trials, last.tuned) == (4, 2)
    assert last.best_ms > 0
    assert last.seconds > first[-1].seconds
    assert records(path)[:2] == kept
    assert all(json.loads(line) for line in records(path))
    assert BACKEND.tuning(product, DEVICE) != identity

    again = list(BACKEND.tune(product, DEVICE, trials=4, budget_s=2000.0, build=0))
    assert [p.trials for p in again] == [4]  # nothing is left to do

    with BACKEND.open(product, DEVICE) as timer:
        (warning,) = timer.warnings
        assert warning.startswith("only one tuned build")
        assert timer.build.startswith(f"tuned build 0: 4 trials, {last.seconds:.0f} s, database ")

    # A second search: the processes of a measurement run both in turn.
    list(BACKEND.tune(product, DEVICE, trials=2, budget_s=2000.0, build=1))
    assert len(BACKEND.tuning(product, DEVICE).split()) == 2
    builds = []
    for process in ("0", "1", "2"):
        monkeypatch.setenv("HWPROF_PROCESS", process)
        builds.append(database.record(product, DEVICE, database.of_process(product, DEVICE)[0])[:13])
    assert builds == ["tuned build 0", "tuned build 1", "tuned build 0"]


def test_the_clock_ends_a_search(product):
    assert [p.trials for p in BACKEND.tune(product, DEVICE, trials=100, budget_s=0.0, build=0)] == [0]


def test_findings_are_kept_for_each_device_and_graph(product):
    b = GraphBuilder("other")
    other = b.build(b.relu(b.input((1, 4))))
    of_options = DEVICE.with_options(mcpu="x86-64-v3")
    places = {
        database.folder(graph, device, build)
        for graph in (product, other) for device in (DEVICE, replace(DEVICE, threads=2), of_options) for build in (0, 1)
    }  # fmt: skip
    assert len(places) == 2 * 3 * 2


def test_a_network_without_a_kernel_cannot_be_tuned():
    b = GraphBuilder("nothing")
    graph = b.build(b.unary("Identity", b.input((1,))))
    with pytest.raises(InputError, match="'nothing' has no kernel that tvm can tune"):
        list(BACKEND.tune(graph, DEVICE, trials=1, budget_s=1.0, build=0))
