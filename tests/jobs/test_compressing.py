from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import hwprof as hp
from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.compress.compressed import Compressed
from hwprof.compress.loop import Settings
from hwprof.data.result import Met
from hwprof.errors import InputError
from hwprof.jobs import compressing
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from tests.compress.board import DEVICE, SHORT, Board, latency_ns, network, task
from tests.results import compared, make_result

WHOLE_MS = latency_ns(network(16)) / 1e6
# Two short processes: whether the loop closes does not depend on how well its latencies are known.
HASTY = replace(
    FAST, min_processes=2, max_processes=2, pilot_processes=2, budget_s=1, pilot_blocks=2, min_blocks=2, max_blocks=2,
    block_ms=2, warmup_max_s=0.2,
)  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """What every job here gets."""
    told = []
    return {
        "device": DEVICE, "folder": tmp_path, "store": tmp_path / "s.db", "settings": Settings(tuning=SHORT),
        "options": Options(FAST, transport=Board(), on_note=told.append), "told": told,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def three_methods(monkeypatch):
    monkeypatch.setattr(compressing.plugins, "names", lambda _kind: ["int8", "low_rank", "magnitude"])


def run(job, place, **changes):
    return job(network(16), task(), **{k: v for k, v in {**place, **changes}.items() if k != "told"})


def test_auto_gives_the_best_of_the_methods_that_meet_the_target(place):
    made = run(compressing.compress, place, target_ms=0.7 * WHOLE_MS)
    assert made.met is Met.YES
    assert made.result.method in ("magnitude", "low_rank")


def test_of_an_error_the_best_network_has_the_smallest():
    met = {"measured": {"d": compared(5.0)}, "higher_is_better": False}
    small, large = (Compressed(make_result(metric=metric, **met), Path("net.onnx")) for metric in (0.1, 0.3))
    assert compressing.best([large, small]) is small


def test_that_the_weights_are_random_is_told(place):
    warned: list[str] = []
    options = replace(place["options"], on_warning=warned.append)
    graph = replace(network(16), warnings=("its weights are random",))
    with pytest.raises(InputError):
        compressing.compress(
            graph, task(), target_ms=-1.0, method="magnitude", device=DEVICE, folder=place["folder"], options=options
        )
    assert warned == [f"{graph.name}: its weights are random"]


def test_two_lines_of_python_give_a_file(place):
    made = run(hp.compress, place, target_ms=0.7 * WHOLE_MS, method="magnitude")
    made.save(place["folder"] / "small.onnx")
    assert (place["folder"] / "small.onnx").stat().st_size == made.result.size_bytes
    assert onnx_io.load(place["folder"] / "small.onnx").digest == made.result.digest


def test_several_targets_give_a_front_and_what_is_out_of_reach_is_left_out(place):
    made = run(compressing.compress_all, place, targets_ms=[0.7 * WHOLE_MS, 0.01 * WHOLE_MS])
    rows = [(one.result.method, round(one.result.target.ms / WHOLE_MS, 2)) for one in made]
    assert rows == [("low_rank", 0.7), ("magnitude", 0.7)]
    assert sum("left out: " in line and "the least that its choices reach" in line for line in place["told"]) == 2


def test_auto_leaves_a_method_out_whose_smallest_network_is_not_faster_before_any_training(place):
    made = run(compressing.compress_all, place, targets_ms=[0.7 * WHOLE_MS])
    assert {one.result.method for one in made} == {"low_rank", "magnitude"}
    slower = [
        i for i, line in enumerate(place["told"]) if line.startswith("int8: left out: its smallest network is not")
    ]
    assert slower < [i for i, line in enumerate(place["told"]) if "epoch" in line]


def test_auto_says_so_where_no_method_can_make_the_network_faster(place, monkeypatch):
    monkeypatch.setattr(compressing.plugins, "names", lambda _kind: ["int8"])
    with pytest.raises(InputError, match="no method can make 'small' faster on board; name one to run it nevertheless"):
        run(compressing.compress_all, place, targets_ms=[0.7 * WHOLE_MS])


def test_a_named_method_runs_where_it_is_slower(place):
    made = run(compressing.compress, place, target_ms=0.7 * WHOLE_MS, method="int8")
    assert made.result.measured["board"].verdict == "slower"


def test_a_named_method_that_cannot_reach_the_target_gives_its_fastest_network(place):
    made = run(compressing.compress, place, target_ms=0.01 * WHOLE_MS, method="magnitude")
    assert made.met is Met.NO
    assert made.result.shortfall.startswith("target not reached: the least is 0.0")


def test_auto_says_the_least_that_any_method_reaches(place):
    reached_ms = [
        run(compressing.compress, place, target_ms=0.01 * WHOLE_MS, method=name).result.estimate("board").median
        for name in ("low_rank", "magnitude")
    ]
    with pytest.raises(InputError, match="the least that its choices reach") as raised:
        run(compressing.compress, place, target_ms=0.01 * WHOLE_MS)
    assert f"is about {min(reached_ms):.3g} ms" in str(raised.value)


def test_a_named_method_raises_its_error(place):
    b = GraphBuilder("plain")
    only = b.build(b.gemm(b.flatten(b.input((1, 1, 8, 8))), 4))
    given = {k: v for k, v in place.items() if k != "told"}
    with pytest.raises(InputError, match="magnitude finds nothing to change in 'plain'"):
        compressing.compress(only, task(), **given, target_ms=0.01, method="magnitude")


def test_an_unknown_method_is_told_before_anything_is_measured(place):
    with pytest.raises(InputError, match="no method is named 'nope'"):
        run(compressing.compress, place, target_ms=1.0, method="nope")
    assert place["options"].transport.requests == []


def test_without_a_target_nothing_is_compressed(place):
    with pytest.raises(InputError, match="needs a target"):
        run(compressing.compress_all, place, targets_ms=[])


def one(ms, met, metric=0.0):
    return SimpleNamespace(met=met, result=SimpleNamespace(target=SimpleNamespace(ms=ms), metric=metric))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(1, Met.NO), (1, Met.YES)], Met.YES),
        ([(1, Met.NO), (1, Met.CANNOT_TELL)], Met.CANNOT_TELL),
        ([(1, Met.YES), (2, Met.NO)], Met.NO),
        ([(1, Met.CANNOT_TELL), (2, Met.NO)], Met.NO),
    ],
)
def test_targets_are_reached_when_some_network_meets_each(found, expected):
    assert compressing.reached([one(*pair) for pair in found]) is expected


def test_a_module_is_trained_quantized_and_measured_here(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
    settings = Settings(first=replace(SHORT, epochs=4, batch_size=64, rate=0.05))
    made = compressing.compress(
        net, "digits", target_ms=1000, device="cpu-1t", method="int8", folder=tmp_path, store=tmp_path / "s.db",
        settings=settings, options=Options(HASTY, allow_unfit=True),
    )  # fmt: skip
    assert made.met is not Met.NO  # where the machine is too busy, it cannot be told
    assert made.result.measured["cpu-1t"].b.digest == made.result.digest
    assert made.result.metric > 50
    assert made.result.metric_loss < 5
    assert made.result.size_bytes == made.path.stat().st_size
    assert "QuantizeLinear" in {node.op for node in onnx_io.load(made.path).nodes}
