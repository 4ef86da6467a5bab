import itertools
from dataclasses import asdict, replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from hwprof.compress.choice import Choice
from hwprof.compress.choices import chosen_graph, kept_options
from hwprof.compress.layer_table import LayerTable
from hwprof.compress.method import SoftChoice
from hwprof.data.result import Estimate
from hwprof.data.store import Store
from hwprof.errors import NotConvergedError
from hwprof.graph import Graph
from hwprof.measure.recording import Options, recording
from hwprof.measurement import FAST, Status
from tests.compress.board import DEVICE, Board, latency_ns, network
from tests.samples import make_process

OPTIONS = kept_options(network())
FIRST, SECOND = OPTIONS


class Random(Board):
    """Times have nothing to do with the networks."""

    def measure(self, request):
        ns = 10 ** np.random.default_rng(int(sha256(request["graphs"][0].encode()).hexdigest()[:8], 16)).uniform(3, 7)
        yield {"index": 0, "process": asdict(make_process(request["round"], [ns] * request["blocks"]))}


class RandomAlone(Random):
    """Only times of single operators have nothing to do with them."""

    def measure(self, request):
        whole = len(Graph.from_json(request["graphs"][0]).nodes) > 1
        yield from Board.measure(self, request) if whole else super().measure(request)


def table(board, options=OPTIONS):
    store = Store()

    def measure(graphs, _unit):
        with recording(DEVICE, store, Options(FAST, transport=board)) as recorder:
            return recorder.measure(graphs)

    return LayerTable(network(), measure, options)


def test_the_sum_of_its_rows_is_the_latency_of_the_network():
    choices = {FIRST: Choice(kept=8), SECOND: Choice(kept=16)}
    expected = latency_ns(chosen_graph(network(), choices)) / 1e6
    assert float(table(Board())(choices)) == pytest.approx(expected, rel=1e-4)


def test_a_soft_choice_is_between_the_measured_options_and_has_a_gradient():
    made, kept = table(Board()), torch.tensor(13.7, requires_grad=True)
    found = made({FIRST: SoftChoice(kept=kept), SECOND: Choice(kept=16)})
    fewer, more = made.latency_ms([{FIRST: Choice(kept=n), SECOND: Choice(kept=16)} for n in (8, 16)])
    assert found.item() == pytest.approx(fewer + 5.7 / 8 * (more - fewer))
    assert float(torch.autograd.grad(found, kept)[0]) == pytest.approx((more - fewer) / 8)


def test_a_row_is_measured_once_and_only_when_it_is_needed():
    board = Board()
    made = table(board)
    made.latency_ms([{}])
    first = len(board.asked("measure"))
    made.latency_ms([{}, {}])
    assert len(board.asked("measure")) == first > 0
    made.latency_ms([{SECOND: Choice(kept=8)}])
    assert len(board.asked("measure")) > first


def test_its_error_is_told_on_whole_networks():
    assert table(Board()).check(seed=0) == "sums of the table are 0.0 % from 6 measured networks"


FEW = {FIRST: OPTIONS[FIRST][:3], SECOND: OPTIONS[SECOND][:2]}


def test_where_there_are_few_networks_all_are_measured_whole():
    made = table(RandomAlone(), FEW)
    every = [dict(zip(FEW, pair, strict=True)) for pair in itertools.product(*FEW.values())]
    assert made.check(seed=0) == "all 6 networks that the choices make are measured"
    expected = [latency_ns(chosen_graph(network(), choices)) / 1e6 for choices in every]
    assert made.latency_ms(every) == pytest.approx(expected, rel=1e-3)


class Unsteady(Board):
    """The speed of the machine is another one in each process that measures a single network."""

    def measure(self, request):
        alone = 10 ** np.random.default_rng(len(self.requests)).uniform(0, 2)
        for answer in super().measure(request):
            blocks = [
                block | {"samples_ns": [int(ns * alone) for ns in block["samples_ns"]]}
                for block in answer["process"]["blocks"]
            ]
            yield {**answer, "process": answer["process"] | {"blocks": blocks}}


def test_where_single_latencies_of_few_networks_are_not_known_those_in_pairs_are_taken():
    store, graph = Store(), network()

    def measure(graphs, _unit):
        with recording(DEVICE, store, Options(FAST, transport=Unsteady(), keep_unconverged=True)) as recorder:
            return recorder.measure(graphs)

    def paired(other):
        ms = latency_ns(other) / 1e6
        return Estimate(ms, 0.99 * ms, 1.01 * ms)

    made = LayerTable(graph, measure, FEW, paired=paired)
    made.check(seed=0)
    choices = {FIRST: Choice(kept=8), SECOND: Choice(kept=24)}
    assert made.latency_ms([choices]) == pytest.approx([latency_ns(chosen_graph(graph, choices)) / 1e6])
    with pytest.raises(NotConvergedError, match=r"latencies of the 6 networks .* are known to \d+ % "):
        LayerTable(graph, measure, FEW).check(seed=0)


def test_a_table_that_would_mislead_is_refused():
    with pytest.raises(NotConvergedError, match=r"from 6 measured .* from 16 .* \(at most 25 % is allowed\)"):
        table(Random()).check(seed=0)


def test_where_rows_mislead_latencies_are_learned_from_whole_networks():
    made = table(RandomAlone())
    told = made.check(seed=0)
    assert "so it would mislead: latencies are learned from 16 measured networks, " in told
    choices = {FIRST: Choice(kept=24), SECOND: Choice(kept=8)}
    assert made(choices).item() == pytest.approx(latency_ns(chosen_graph(network(), choices)) / 1e6, rel=0.1)


def test_a_network_for_which_the_correction_has_no_latency_is_learned_from_whole_networks():
    made = table(Board())
    made.check(seed=0)
    made._table = made._table.with_correction(replace(made._table.correction, a_ms=-1.0))
    choices = {FIRST: Choice(kept=8), SECOND: Choice(kept=8)}
    expected = latency_ns(chosen_graph(network(), choices)) / 1e6
    assert made.latency_ms([choices]) == pytest.approx([expected], rel=0.1)


def with_status(board, status, options=OPTIONS):
    """A table whose measurements end so."""

    def measure(graphs, _unit):
        with recording(DEVICE, Store(), Options(FAST, transport=board)) as recorder:
            return [replace(m, status=status) for m in recorder.measure(graphs)]

    return LayerTable(network(), measure, options)


def test_a_refusal_tells_the_state_of_the_machine():
    unstable = r"so it would mislead.*; 6 of 6 measurements did not reach their precision \(unstable\); measure on"
    with pytest.raises(NotConvergedError, match=unstable):
        with_status(Random(), Status.UNSTABLE).check(seed=0)


def test_a_measurement_without_a_valid_latency_is_refused():
    with pytest.raises(NotConvergedError, match=r"7 of 7 rows of the layer table have no valid latency \('Conv' is"):
        with_status(Board(), Status.INVALID).latency_ms([{}])
