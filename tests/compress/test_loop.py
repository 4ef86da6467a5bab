import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.compress import method as methods
from hwprof.compress.choices import chosen_graph
from hwprof.compress.dnq import Dnq
from hwprof.compress.layer_table import LayerTable
from hwprof.compress.loop import OutOfReachError, compress, prepare
from hwprof.compress.magnitude import Magnitude
from hwprof.compress.networks import open_network
from hwprof.data.result import Met
from hwprof.data.store import Store
from hwprof.errors import InputError, NotConvergedError
from hwprof.graph import Graph
from hwprof.measure.recording import Options
from hwprof.measurement import FAST, Status
from hwprof.training import TrainSettings
from hwprof.variants.weights import load_weights
from tests.compress.board import DEVICE, SHORT, Board, job, latency_ns, network, task

WHOLE_MS = latency_ns(network(16)) / 1e6
FIRST = TrainSettings(epochs=4, batch_size=16, rate=0.05)


class Disturbed(Board):
    """Something else runs during all blocks, and each time is another one."""

    def measure(self, request):
        for answer in super().measure(request):
            rng = np.random.default_rng(len(self.requests))
            blocks = [
                block
                | {
                    "rejected": "disturbed",
                    "samples_ns": [int(ns * 10 ** rng.uniform(0, 2)) for ns in block["samples_ns"]],
                }
                for block in answer["process"]["blocks"]
            ]
            yield {**answer, "process": answer["process"] | {"blocks": blocks}}


class Uneven(Board):
    """Each process that measures a pair has another speed."""

    def measure(self, request):
        self.paired = (1.0, 1.9, 1.3, 1.6)[request["round"] % 4]
        yield from super().measure(request)


def told(made_by):
    return made_by.tell.__self__


def test_a_pruned_network_meets_its_target_by_the_paired_measurement(tmp_path):
    started = job(tmp_path, first=FIRST)
    made = compress(started, "magnitude", 0.5 * WHOLE_MS)
    result, graph = made.result, onnx_io.load(made.path)
    assert made.met is Met.YES
    assert result.latency("board").median == latency_ns(graph) / 1e6 <= 0.5 * WHOLE_MS
    assert result.measured["board"].a.digest == started.baseline.digest
    assert result.table_ms == pytest.approx(latency_ns(graph) / 1e6, rel=0.01)
    assert result.digest == graph.digest
    assert result.size_bytes == made.path.stat().st_size < (tmp_path / "small-baseline.onnx").stat().st_size
    assert all(set(choice) == {"kept"} for choice in result.choices.values())
    assert started.store.results() == [result]


def test_the_file_computes_what_was_evaluated(tmp_path):
    made = compress(job(tmp_path, first=FIRST), "magnitude", 0.5 * WHOLE_MS)
    session = ReferenceEvaluator(onnx.load(made.path))
    (batch,) = task().examples("test").batches(32)
    name = onnx_io.load(made.path).inputs[0].name
    scores = [session.run(None, {name: image[None].numpy()})[0][0] for image in batch.inputs]
    right = np.argmax(scores, 1) == batch.targets.numpy()
    assert made.result.metric == pytest.approx(100 * right.mean())


def test_a_target_that_is_missed_by_the_device_is_tightened(tmp_path):
    started = job(tmp_path, Board(paired=1.3))
    made = compress(started, "magnitude", 0.6 * WHOLE_MS)
    assert made.met is Met.YES
    assert made.result.table_ms < 0.6 * WHOLE_MS / 1.2
    assert any("round 2: " in line for line in told(started))


def test_a_network_that_is_faster_than_wanted_gives_way_to_a_larger_one(tmp_path):
    started = job(tmp_path, Board(paired=0.5))
    made = compress(started, "magnitude", 0.4 * WHOLE_MS)
    assert made.met is Met.YES
    assert 0.4 * WHOLE_MS < made.result.table_ms <= 0.8 * WHOLE_MS
    assert sum("is faster than wanted; tries a larger network" in line for line in told(started)) == 1


class Jumping(Board):
    """Only networks without half of their operations are fast in pairs."""

    def measure(self, request):
        slow = any(latency_ns(Graph.from_json(text)) > 0.45e6 * WHOLE_MS for text in request["graphs"][1:])
        self.paired = 1.0 if slow else 0.5
        yield from super().measure(request)


def test_a_larger_network_that_misses_the_target_is_not_taken(tmp_path):
    started = job(tmp_path, Jumping())
    made = compress(started, "magnitude", 0.44 * WHOLE_MS)
    assert made.met is Met.YES
    assert made.result.table_ms <= 0.45 * WHOLE_MS


def erring(**members):
    """The task of the board by the share of wrong answers."""
    made = task()
    made.metric_name = "error, %"
    made.metric = lambda output, targets: 100 * float((output.argmax(-1) != targets).double().mean())
    for name, value in members.items():
        setattr(made, name, value)
    return made


def test_a_result_by_an_error_knows_that_smaller_is_better(tmp_path):
    started = replace(job(tmp_path, first=FIRST), task=erring(higher_is_better=False))
    made, other = compress(started, "magnitude", 0.5 * WHOLE_MS), compress(job(tmp_path), "magnitude", 0.5 * WHOLE_MS)
    assert made.result.higher_is_better is False
    assert made.result.metric_loss == made.result.metric - made.result.baseline_metric
    assert made.result.key != other.result.key


def test_the_best_epoch_of_a_tuning_has_the_smallest_error(tmp_path):
    tuning = replace(SHORT, epochs=4, keep="best")
    made = [
        compress(replace(job(tmp_path / name, tuning=tuning), task=judged), "magnitude", 0.5 * WHOLE_MS).path
        for name, judged in (("right", task()), ("wrong", erring(higher_is_better=False)))
    ]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_metric_that_sounds_like_an_error_and_says_nothing_is_warned_of(tmp_path):
    warned: list[str] = []
    opened = open_network(network(16), erring(), DEVICE, tmp_path)
    prepare(
        opened, erring(), DEVICE, Store(tmp_path / "s.db"), tmp_path,
        options=Options(FAST, transport=Board(), on_warning=warned.append),
    )  # fmt: skip
    assert "task 'quarters': larger figures of the metric 'error, %' count as better" in warned[0]


def test_a_loss_that_does_not_fit_is_told_before_a_table_is_measured(tmp_path):
    broken = task()
    broken.loss = lambda output, targets: torch.nn.functional.cross_entropy(output, targets.float())
    started, board = replace(job(tmp_path), task=broken), Board()
    started = replace(started, options=replace(started.options, transport=board))
    with pytest.raises(InputError, match=r"the loss or metric of task 'quarters' fails on an output of shape \(2, 4\)"):
        compress(started, "magnitude", 0.5 * WHOLE_MS)
    assert not board.asked("measure")
    assert compress(started, "int8", 0.5 * WHOLE_MS).result.method == "int8"  # it needs no loss


def test_a_result_says_what_changed_layer_by_layer(tmp_path):
    made = compress(job(tmp_path), "magnitude", 0.5 * WHOLE_MS)
    assert made.result.changes.keys() == made.result.choices.keys()
    for layer, change in made.result.changes.items():
        assert change == f"16 -> {made.result.choices[layer]['kept']} channels"


def test_a_latency_that_noise_hides_is_judged_by_the_ratio_of_the_pairs(tmp_path):
    started = job(tmp_path, Uneven())
    made = compress(started, "magnitude", 0.6 * WHOLE_MS)
    assert any("round 1: " in line for line in told(started))
    assert not any("round 2: " in line for line in told(started))
    assert made.met is Met.YES
    assert made.result.latency("board").high > 0.6 * WHOLE_MS >= made.result.estimate("board").high


class Interrupted(Board):
    """Pairs are slower than single networks, every fourth pair by far."""

    def measure(self, request):
        self.paired = 100.0 if request["round"] % 4 == 1 else 1.05
        yield from super().measure(request)


def test_a_wide_interval_is_no_reason_to_remove_much_more(tmp_path):
    started = job(tmp_path, Interrupted())
    made = compress(started, "magnitude", 0.6 * WHOLE_MS)
    assert any("round 2: " in line for line in told(started))
    assert made.result.latency("board").high > 10 * WHOLE_MS
    assert made.result.table_ms > 0.6 * WHOLE_MS / 1.05 / 1.25**2


def test_a_method_that_the_table_does_not_project_learns_without_one_where_it_would_mislead(tmp_path):
    started = job(tmp_path, Disturbed())
    made = compress(started, "dnq", 0.5 * WHOLE_MS)
    assert {tuple(choice) for choice in made.result.choices.values()} == {("bits",)}
    assert math.isnan(made.result.table_ms)
    assert any("learns without latencies: " in line for line in told(started))


class LateMisled(Dnq):
    """Asks for the latency of a network for which the table misleads, although its check found nothing."""

    def attach(self, network, cost):
        if isinstance(cost, LayerTable):
            raise NotConvergedError("the sums mislead for this one")
        return super().attach(network, cost)


def test_a_method_learns_without_latencies_where_the_table_misleads_only_later(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "load", lambda _name: LateMisled())
    started = job(tmp_path)
    made = compress(started, "dnq", 0.5 * WHOLE_MS)
    assert math.isnan(made.result.table_ms)
    assert any("learns without latencies: the sums mislead for this one" in line for line in told(started))


def test_no_more_rounds_than_asked_for_and_then_it_is_told_that_it_was_missed(tmp_path):
    made = compress(job(tmp_path, Board(paired=1.3), rounds=1), "magnitude", 0.6 * WHOLE_MS)
    assert made.met is Met.NO


def test_a_network_that_is_fast_enough_stays_as_it_is(tmp_path):
    made = compress(job(tmp_path), "magnitude", 2 * WHOLE_MS)
    assert made.result.choices == {}
    assert made.result.metric_loss == 0
    assert made.met is Met.YES


def test_a_target_below_every_choice_gives_the_fastest_network_and_says_the_least_that_is_reached(tmp_path):
    started = job(tmp_path)
    made = compress(started, "magnitude", 0.001)
    options = Magnitude().options(network(16))
    smallest = latency_ns(chosen_graph(network(16), {layer: some[-1] for layer, some in options.items()})) / 1e6
    assert made.met is Met.NO
    assert made.result.latency("board").median == pytest.approx(smallest)
    assert made.result.shortfall == f"target not reached: the least is {smallest:.4g} ms"
    assert told(started)[-1].endswith(made.result.shortfall)
    assert started.store.results() == [made.result]


def test_a_target_that_must_be_reached_is_refused_before_the_method_is_trained(tmp_path):
    started = job(tmp_path)
    with pytest.raises(OutOfReachError, match=r"cannot bring 'small' to 0.001 ms on board: the least .* is about 0.0"):
        compress(started, "trp", 0.001, must_reach=True)
    assert not any("epoch" in line for line in told(started))


def test_a_method_that_makes_one_network_says_that_it_is_the_least(tmp_path):
    made = compress(job(tmp_path), "int8", 0.9 * WHOLE_MS)
    assert made.result.shortfall == f"target not reached: the least is {made.result.estimate('board').median:.4g} ms"


def test_a_target_that_is_met_has_no_shortfall(tmp_path):
    assert compress(job(tmp_path), "int8", 10 * WHOLE_MS).result.shortfall == ""


def test_a_method_of_another_version_makes_its_result_and_its_tuning_anew(tmp_path, monkeypatch):
    first = compress(job(tmp_path), "magnitude", 0.5 * WHOLE_MS)
    monkeypatch.setattr(Magnitude, "version", Magnitude.version + 1)
    started = job(tmp_path)
    again = compress(started, "magnitude", 0.5 * WHOLE_MS)
    assert sum("epoch" in line for line in told(started)) == 2
    versions = [one.result.settings["method"]["version"] for one in (first, again)]
    assert versions == [Magnitude.version - 1, Magnitude.version]
    assert len(started.store.results()) == 2


def test_a_first_version_is_not_in_keys_so_that_older_stores_count(tmp_path):
    made = compress(job(tmp_path), "int8", WHOLE_MS)
    assert "version" not in made.result.settings["method"]


def test_a_network_that_a_method_learned_otherwise_is_tuned_anew(tmp_path):
    compress(job(tmp_path), "trp", 0.5 * WHOLE_MS)
    started = job(tmp_path, training=replace(SHORT, epochs=1))
    compress(started, "trp", 0.5 * WHOLE_MS)
    assert sum(": epoch 1 of 2: loss" in line for line in told(started)) == 1  # of the tuning


def test_a_network_without_anything_to_change_is_told(tmp_path):
    b = GraphBuilder("plain")
    only = b.build(b.gemm(b.flatten(b.input((1, 1, 8, 8))), 4))
    with pytest.raises(InputError, match="magnitude finds nothing to change in 'plain'"):
        compress(job(tmp_path, graph=only), "magnitude", 1.0)


def test_a_finished_result_is_not_made_again(tmp_path):
    board = Board()
    made = compress(job(tmp_path, board), "magnitude", 0.5 * WHOLE_MS)
    measured = len(board.asked("measure"))
    started = job(tmp_path, board)
    assert compress(started, "magnitude", 0.5 * WHOLE_MS) == made
    assert len(board.asked("measure")) == measured
    assert told(started)[-1].endswith("is in the store")


def test_a_run_that_was_interrupted_in_its_training_goes_on_there(tmp_path):
    board = Board()

    def interrupt(text):
        if "epoch 1 of 2" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(replace(job(tmp_path, board), tell=interrupt), "magnitude", 0.5 * WHOLE_MS)
    measured = len(board.asked("measure"))
    started = job(tmp_path, board)
    made = compress(started, "magnitude", 0.5 * WHOLE_MS)
    assert [line for line in told(started) if "epoch" in line and "epoch 2 of 2" not in line] == []
    assert len(board.asked("measure")) == measured + 4  # only the last comparison, of 4 processes
    whole = compress(job(tmp_path / "whole", Board()), "magnitude", 0.5 * WHOLE_MS)
    assert whole.result.metric == made.result.metric


def test_the_same_seed_gives_the_same_file(tmp_path):
    files = [compress(job(tmp_path / name), "magnitude", 0.5 * WHOLE_MS).path.read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_int8_keeps_its_result_even_where_it_is_slower(tmp_path):
    made = compress(job(tmp_path), "int8", 0.9 * WHOLE_MS)  # the board runs no integers faster, and more operators
    assert made.met is Met.NO
    assert made.result.measured["board"].verdict == "slower"
    assert made.result.size_bytes < (tmp_path / "small-baseline.onnx").stat().st_size


def test_low_rank_splits_only_where_the_table_says_that_it_is_faster(tmp_path):
    made = compress(job(tmp_path), "low_rank", 0.8 * WHOLE_MS)
    assert made.met is Met.YES
    (layer,) = made.result.choices  # the first convolution is too small, the product of the end costs nothing
    added = {node.label for node in onnx_io.load(made.path).nodes} - {node.label for node in network(16).nodes}
    assert added == {f"{layer}_first", f"{layer}_second"}


def test_tuning_that_is_not_finite_any_more_is_told_and_leaves_the_last_finite_state(tmp_path):
    wild = replace(SHORT, rate=1e30)
    started = job(tmp_path, tuning=wild, first=FIRST)
    made = compress(started, "magnitude", 0.5 * WHOLE_MS)
    (line,) = [line for line in told(started) if "tuning ended early: " in line]
    assert "not finite any more" in line or "the loss is" in line
    assert np.isfinite(made.result.metric)
    assert all(np.isfinite(array).all() for array in load_weights(onnx_io.load(made.path)).values())


def test_a_baseline_short_of_its_precision_is_told(tmp_path):
    started = job(tmp_path, Disturbed())
    assert started.measured.status is Status.UNSTABLE
    with pytest.raises(NotConvergedError, match=r"so they would mislead.* did not reach their precision \(unstable\)"):
        compress(started, "magnitude", 0.5 * WHOLE_MS)


def test_a_training_whose_loss_is_not_finite_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"not finite any more|the loss is (nan|inf)"):
        job(tmp_path, first=replace(SHORT, rate=1e30))


def test_what_a_method_learns_is_learned_once_for_all_targets(tmp_path):
    started = job(tmp_path, first=FIRST)
    for share in (0.7, 0.5):
        compress(started, "trp", share * WHOLE_MS)
    lines = [line for line in told(started) if line.startswith("trp, ") and "epoch 1 of 2" in line]
    assert sum(": loss " in line for line in lines) == 3  # one training, two tunings


def test_a_saved_network_is_a_copy_of_the_file(tmp_path):
    made = compress(job(tmp_path), "int8", WHOLE_MS)
    made.save(tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_bytes() == made.path.read_bytes()
