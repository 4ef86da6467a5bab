from dataclasses import asdict, replace
from pathlib import Path
from time import sleep

import pytest

from hwprof import onnx_io
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.graph import Graph, Node
from hwprof.measure.operator_pass import PASSES
from hwprof.measure.recording import Options, Outcome, at_one_baseline, recording
from hwprof.measurement import FAST, Evidence, OperatorTime, Status
from hwprof.variants.quantize import quantize
from tests.measure.scripted import ScriptedTransport
from tests.samples import make_measurement, make_process

ANY = Device("any", "roofline")


def profiled(graphs: list[Graph], store: Store, transport: ScriptedTransport, device: Device = ANY, **changes: object):
    """The outcomes of one sweep."""
    options = replace(Options(FAST, transport=transport), **changes)
    with recording(device, store, options) as recorder:
        return list(recorder.profile_many(graphs))


@pytest.fixture
def store():
    with Store() as opened:
        yield opened


def test_a_measurement_holds_its_processes_and_what_the_machine_told(tiny_graph: Graph, store: Store):
    (outcome,) = profiled([tiny_graph], store, ScriptedTransport())
    m = outcome.required()
    assert m.status is Status.CONVERGED
    assert m.latency_ms == 1.0
    assert (m.hardware, m.versions, m.overhead_ns) == ("0123456789ab", {"runtime": "1.0"}, 50)
    assert m.warnings[0] == "turbo: on"
    assert m.operators == (OperatorTime("conv", "Conv", 9e5, ("conv",)),)
    assert m.operators_total_ns == 1.1e6
    assert store.measurements() == [m]


def test_one_worker_looks_at_the_machine_and_times_the_operators_of_all_networks(tiny_graph: Graph, store: Store):
    transport = ScriptedTransport()
    profiled(
        [tiny_graph, replace(tiny_graph, nodes=tiny_graph.nodes[:1], outputs=tiny_graph.nodes[0].outputs)],
        store,
        transport,
    )
    assert len(transport.asked("operators")) == 2
    assert transport.workers == 2 + FAST.min_processes  # the holder, this worker, and one for each round


def test_operators_that_would_come_after_the_end_of_the_run_are_not_timed(tiny_graph: Graph, store: Store):
    def be_slow(request):
        if request["do"] == "measure":
            sleep(0.06)

    transport = ScriptedTransport(be_slow)
    (outcome,) = profiled([tiny_graph], store, transport, total_s=0.05)
    assert len(outcome.required().processes) == 1
    assert "the operators were not timed: the budget of the whole run ended first" in outcome.required().warnings
    assert not transport.asked("operators")


def test_the_outcomes_of_a_job_are_against_the_fastest_anchors_that_any_of_them_has_seen(tiny_graph: Graph):
    early, late = (
        Outcome(tiny_graph, make_measurement([make_process(0, [1e6])], anchor_baseline_ns={"compute": ns}))
        for ns in (120.0, 100.0)
    )
    failed = Outcome(tiny_graph, None, InputError("refused"))
    found = at_one_baseline([early, failed, late])
    assert [o.measurement and o.measurement.anchor_baseline_ns["compute"] for o in found] == [100.0, None, 100.0]


def test_what_converged_is_not_measured_twice_unless_asked(tiny_graph: Graph, store: Store):
    transport = ScriptedTransport()
    profiled([tiny_graph], store, transport)
    measured = len(transport.asked("measure"))
    (again,) = profiled([tiny_graph], store, transport)
    assert again.stored is not None
    assert len(transport.asked("measure")) == measured
    (fresh,) = profiled([tiny_graph], store, transport, fresh=True)
    assert fresh.stored is None
    assert len(transport.asked("measure")) == 2 * measured


def test_a_job_that_lost_its_device_goes_on_after_the_stored_processes(tiny_graph: Graph, store: Store):
    def lose_third(request):
        if request["do"] == "measure" and request["round"] == 2:
            raise RuntimeError("the parent died here")

    with pytest.raises(RuntimeError):
        profiled([tiny_graph], store, ScriptedTransport(lose_third))
    notes: list[str] = []
    transport = ScriptedTransport()
    (outcome,) = profiled([tiny_graph], store, transport, on_note=notes.append)
    assert notes == ["tiny: continues after 2 stored processes"]
    assert [request["round"] for request in transport.asked("measure")] == [2]
    assert len(outcome.required().processes) == 3


def test_a_sweep_measures_each_network_once_and_keeps_the_others_when_one_fails(tiny_graph: Graph, store: Store):
    def refuse(request):
        if request["do"] == "measure" and "strange" in request["graphs"][0]:
            raise InputError("no such operator")

    relu = Node("Relu", tiny_graph.outputs, ("y",))
    strange = replace(tiny_graph, nodes=(*tiny_graph.nodes, relu), outputs=("y",), name="strange")
    outcomes = profiled([tiny_graph, strange, tiny_graph], store, ScriptedTransport(refuse))
    assert sorted(o.graph.name for o in outcomes) == ["strange", "tiny"]
    failed = next(o for o in outcomes if o.graph.name == "strange")
    with pytest.raises(InputError, match="no such operator"):
        failed.required()


def test_what_was_measured_before_the_device_was_lost_counts(tiny_graph: Graph, store: Store):
    def lose_later(request):
        if request["do"] == "measure" and request["round"] > 0:
            raise DeviceLostError("killed")

    (outcome,) = profiled([tiny_graph], store, ScriptedTransport(lose_later))
    assert isinstance(outcome.error, DeviceLostError)
    assert len(outcome.required().processes) == 1


def test_another_protocol_device_or_weights_is_another_measurement(tiny_graph: Graph, store: Store, tmp_path: Path):
    onnx_io.save(tiny_graph, tmp_path / "tiny.onnx")
    from_file = onnx_io.load(tmp_path / "tiny.onnx")
    assert from_file.digest == tiny_graph.digest
    profiled([tiny_graph], store, ScriptedTransport())
    others = [
        (tiny_graph, ANY, {"settings": replace(FAST, target=0.02)}),
        (tiny_graph, ANY.with_options(launch_ns=1000), {}),
        (from_file, ANY, {}),
    ]
    for graph, device, changes in others:
        (outcome,) = profiled([graph], store, ScriptedTransport(), device, **changes)
        assert outcome.stored is None


def test_a_renamed_device_is_the_same_measurement_under_its_name(tiny_graph: Graph, store: Store):
    profiled([tiny_graph], store, ScriptedTransport())
    (outcome,) = profiled([replace(tiny_graph, name="other")], store, ScriptedTransport(), replace(ANY, name="x"))
    assert outcome.stored is not None
    assert outcome.required().model == "other"


def test_the_operators_that_cannot_be_timed_are_a_warning(tiny_graph: Graph, store: Store):
    def refuse(request):
        if request["do"] == "operators":
            raise InputError("no profiler")

    (outcome,) = profiled([tiny_graph], store, ScriptedTransport(refuse))
    assert "the operators were not timed: no profiler" in outcome.required().warnings


def test_latencies_come_in_the_order_of_the_graphs(tiny_graph: Graph, store: Store):
    def slower(request):
        if request["do"] != "measure" or "slow" not in request["graphs"][0]:
            return None
        process = make_process(request["round"], [3e6] * request["blocks"])
        return [{"index": 0, "process": asdict(process)}]

    relu = Node("Relu", tiny_graph.outputs, ("y",))
    slow = replace(tiny_graph, nodes=(*tiny_graph.nodes, relu), outputs=("y",), name="slow")
    transport = ScriptedTransport(slower)
    with recording(ANY, store, Options(FAST, transport=transport)) as recorder:
        assert recorder.latency_ms([slow, tiny_graph, slow]).tolist() == [3.0, 1.0, 3.0]


def test_a_network_is_as_fast_as_itself(tiny_graph: Graph, store: Store):
    with recording(ANY, store, Options(FAST, transport=ScriptedTransport())) as recorder:
        (row,) = recorder.compare([tiny_graph, tiny_graph])
    assert (row.verdict, row.ratio) == ("same", 1.0)
    found, margin = store.last_comparison()
    assert [m.digest for m in found] == [tiny_graph.digest] * 2
    assert margin == 0.02
    assert store.measurements() == []  # a side of a comparison is not a profile


def test_a_float_network_and_its_quantized_form_have_their_kernels_in_passes_in_turns(tiny_graph: Graph, store: Store):
    transport, quantized = ScriptedTransport(), quantize(tiny_graph)
    with recording(ANY, store, Options(FAST, transport=transport)) as recorder:
        (row,) = recorder.compare([tiny_graph, quantized])
    assert row.a.operator_passes == row.b.operator_passes == (row.a.operators,) * PASSES
    asked = [Graph.from_json(request["graph"]).digest for request in transport.asked("operators")]
    assert asked == [tiny_graph.digest, quantized.digest] * (1 + PASSES)
    assert store.last_comparison()[0] == [row.a, row.b]


@pytest.mark.parametrize("changes", [{"with_operators": False}, {"evidence": Evidence.ANALYTIC}])
def test_passes_in_turns_are_for_measured_times_of_operators(tiny_graph: Graph, store: Store, changes: dict):
    transport = ScriptedTransport(evidence=changes.pop("evidence", Evidence.MEASURED))
    with recording(ANY, store, Options(FAST, transport=transport, **changes)) as recorder:
        (row,) = recorder.compare([tiny_graph, quantize(tiny_graph)])
        (alike,) = recorder.compare([tiny_graph, tiny_graph])
    assert (row.b.operator_passes, alike.b.operator_passes) == ((), ())


def test_passes_that_fail_are_a_warning(tiny_graph: Graph, store: Store):
    def refuse(request):
        if request["do"] == "operators" and request["runs"] == 20:
            raise InputError("no profiler")

    with recording(ANY, store, Options(FAST, transport=ScriptedTransport(refuse))) as recorder:
        (row,) = recorder.compare([tiny_graph, quantize(tiny_graph)])
    assert "the causes were not timed: no profiler" in row.a.warnings
    assert row.verdict == "same"


def test_an_interrupted_comparison_of_equal_networks_goes_on(tiny_graph: Graph, store: Store):
    def die_at_third(request):
        if request["do"] == "measure" and request["round"] == 2:
            raise RuntimeError("the parent died here")

    def compared(transport):
        with recording(ANY, store, Options(FAST, transport=transport, on_note=notes.append)) as recorder:
            return recorder.compare([tiny_graph, tiny_graph])

    notes: list[str] = []
    with pytest.raises(RuntimeError):
        compared(ScriptedTransport(die_at_third))
    transport = ScriptedTransport()
    (row,) = compared(transport)
    assert notes == ["tiny: continues after 2 stored processes"]
    assert [request["round"] for request in transport.asked("measure")] == [2, 3]
    assert row.verdict == "same"


def test_one_network_cannot_be_compared(tiny_graph: Graph, store: Store):
    with (
        recording(ANY, store, Options(FAST, transport=ScriptedTransport())) as recorder,
        pytest.raises(InputError, match="compare needs at least two networks"),
    ):
        recorder.compare([tiny_graph])


def test_a_measurement_without_operators_is_no_answer_to_one_with_them(tiny_graph: Graph, store: Store):
    transport = ScriptedTransport()
    (alone,) = profiled([tiny_graph], store, transport, with_operators=False)
    assert alone.required().operators == ()
    (outcome,) = profiled([tiny_graph], store, transport)
    assert outcome.stored is None
    assert outcome.required().operators


def test_a_measurement_with_operators_answers_one_without_them(tiny_graph: Graph, store: Store):
    transport = ScriptedTransport()
    profiled([tiny_graph], store, transport)
    measured = len(transport.asked("measure"))
    (outcome,) = profiled([tiny_graph], store, transport, with_operators=False)
    assert outcome.stored is not None
    assert len(transport.asked("measure")) == measured


def test_the_machine_is_held_from_the_first_look_to_the_last_round(tiny_graph: Graph, store: Store):
    transport = ScriptedTransport()
    profiled([tiny_graph], store, transport)
    assert transport.requests[0]["do"] == "hold"
    opened = transport.workers - 1  # all but the holder, which makes sure before each of them
    assert len(transport.asked("hold")) == opened + 1


def test_a_recorder_keeps_the_key_of_stores_written_before(tiny_graph: Graph, store: Store):
    with recording(ANY, store, Options(transport=ScriptedTransport())) as recorder:
        assert recorder.key(tiny_graph) == "0404c0e2dc4142f241b5504f8332828c"


def test_a_finished_comparison_is_taken_from_the_store_where_that_is_enough(tiny_graph: Graph, store: Store):
    transport = ScriptedTransport()
    pair = [tiny_graph, tiny_graph]
    with recording(ANY, store, Options(FAST, transport=transport)) as recorder:
        (first,) = recorder.compare(pair, again=False)
        measured = len(transport.asked("measure"))
        (kept,) = recorder.compare(pair, again=False)
        assert (kept, len(transport.asked("measure"))) == (first, measured)
        recorder.compare(pair)
        assert len(transport.asked("measure")) == 2 * measured


def differ(request):
    """Processes that differ by half: no interval becomes narrow enough."""
    if request["do"] == "measure":
        process = make_process(request["round"], [1e6 * (1 + request["round"] % 2 / 2)] * request["blocks"])
        return [{"index": 0, "process": asdict(process)}]
    return None


def test_a_worker_has_ten_budgets_or_what_is_asked_for(tiny_graph: Graph, store: Store):
    for limit_s, expected in ((None, 300 + 10 * FAST.budget_s), (7.0, 7.0)):
        transport = ScriptedTransport()
        profiled([tiny_graph], store, transport, limit_s=limit_s, fresh=True)
        assert set(transport.limits_s) == {expected}


def test_two_runs_on_one_store_each_measure_their_own_and_both_finish(tiny_graph: Graph, tmp_path: Path):
    others = []

    def run_another(request):
        if request["do"] == "measure" and request["round"] == 1 and not others:
            with Store(tmp_path / "s.db") as second:
                others.extend(profiled([tiny_graph], second, ScriptedTransport(lambda r: None)))

    with Store(tmp_path / "s.db") as first:
        (one,) = profiled([tiny_graph], first, ScriptedTransport(run_another))
    (another,) = others
    for outcome in (one, another):
        assert [p.round for p in outcome.required().processes] == [0, 1, 2]
    with Store(tmp_path / "s.db") as store:
        assert [len(store.processes(number)) for number in (1, 2)] == [3, 3]


def test_after_an_interruption_what_ended_short_of_its_target_is_not_measured_again(tiny_graph: Graph, tmp_path: Path):
    relu = Node("Relu", tiny_graph.outputs, ("y",))
    second = replace(tiny_graph, nodes=(*tiny_graph.nodes, relu), outputs=("y",), name="second")

    def die_at_second(request):
        if request["do"] == "measure" and '"second"' in request["graphs"][0]:
            raise RuntimeError("the command was killed here")
        return differ(request)

    def profile(*graphs: Graph, spoil=differ) -> dict[str, bool]:
        """Whether each came from the store."""
        with Store(tmp_path / "s.db") as store, recording(ANY, store, options(spoil)) as recorder:
            return {o.graph.name: o.stored is not None for graph in graphs for o in recorder.profile_many([graph])}

    def options(spoil) -> Options:
        return Options(FAST, transport=ScriptedTransport(spoil))

    with pytest.raises(RuntimeError):
        profile(tiny_graph, second, spoil=die_at_second)
    assert profile(tiny_graph, second) == {"tiny": True, "second": False}
    assert profile(tiny_graph, second) == {"tiny": False, "second": False}  # another command


def test_a_comparison_that_was_killed_between_two_of_its_networks_loses_no_sample(tiny_graph: Graph, tmp_path: Path):
    def compared(transport):
        with Store(tmp_path / "s.db") as store, recording(ANY, store, Options(FAST, transport=transport)) as recorder:
            return recorder.compare([tiny_graph, tiny_graph])

    def die_at_second_pass(request):
        if request["do"] == "operators" and len(transport.asked("operators")) == 2:
            raise RuntimeError("the command was killed here")

    transport = ScriptedTransport(die_at_second_pass)
    with pytest.raises(RuntimeError):
        compared(transport)
    again = ScriptedTransport()
    (row,) = compared(again)
    assert row.verdict == "same"
    assert not again.asked("measure")
    with Store(tmp_path / "s.db") as store:
        assert [len(m.processes) for m in store.last_comparison()[0]] == [len(row.a.processes)] * 2


def test_half_a_round_of_a_comparison_is_measured_anew(tiny_graph: Graph, tmp_path: Path):
    with Store(tmp_path / "s.db") as store:
        with recording(ANY, store, Options(FAST, transport=ScriptedTransport())) as recorder:
            context = ",".join([recorder.key(tiny_graph)] * 2)
            keys = [recorder.key(tiny_graph, f"{context} {place}") for place in range(2)]
        numbers = [store.begin(key, "tiny", tiny_graph.digest, "any", "hw", is_compared=True) for key in keys]
        store.add_process(numbers[0], make_process(0, [9e6]))  # killed before the other's
    transport = ScriptedTransport()
    with Store(tmp_path / "s.db") as store:
        with recording(ANY, store, Options(FAST, transport=transport)) as recorder:
            (row,) = recorder.compare([tiny_graph, tiny_graph])
        assert [request["round"] for request in transport.asked("measure")] == [0, 1, 2, 3]
    assert row.a.latency_ms == row.b.latency_ms == 1.0
