from dataclasses import asdict, replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, InputError, TimeLimitError
from hwprof.graph import Graph, Node
from hwprof.measure.rounds import Cohort, Rounds
from hwprof.measure.transport import STARTS, Transport
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import FAST, CpuTime, Process
from tests.measure.scripted import ScriptedTransport
from tests.samples import make_process, noisy_device

QUICK = replace(FAST, pilot_blocks=3, min_blocks=3, max_blocks=6)
ANY = Device("any", "roofline")


def rounds(seen: list, transport: Transport, device: Device = ANY, most: int = QUICK.max_processes) -> Rounds:
    """Rounds, at most so many, that append (name, process) to `seen`."""
    settings = replace(QUICK, max_processes=most)
    return Rounds(device, settings, lambda c, place, p: seen.append((c.graphs[place].name, p)), transport=transport)


def other(graph: Graph, name: str) -> Graph:
    relu = Node("Relu", graph.outputs, (f"{name}_out",))
    return replace(graph, nodes=(*graph.nodes, relu), outputs=relu.outputs, name=name,
                   values=(*graph.values, replace(graph.type_of(graph.outputs[0]), name=f"{name}_out")))  # fmt: skip


def test_a_precise_device_converges_in_the_fewest_processes(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    (cohort,) = rounds(seen, ScriptedTransport()).run([Cohort((tiny_graph,))])
    assert cohort.error is None
    assert cohort.rounds == QUICK.min_processes == len(seen)
    assert [p.round for _, p in seen] == [0, 1, 2]


def test_processes_that_differ_cost_more_rounds_up_to_the_limit(tiny_graph: Graph):
    def differ(request):
        if request["do"] == "measure":
            process = make_process(request["round"], [1e6 * (1 + request["round"])] * request["blocks"])
            return [{"index": 0, "process": asdict(process)}]
        return None

    (cohort,) = rounds([], ScriptedTransport(differ)).run([Cohort((tiny_graph,))])
    assert cohort.rounds == QUICK.max_processes


def test_a_worker_whose_clock_stands_still_is_measured_to_the_end(tiny_graph: Graph):
    def still(request):
        if request["do"] == "measure":
            process = make_process(request["round"], [1e6 * (1 + request["round"])] * request["blocks"])
            still_process = replace(process, blocks=tuple(replace(b, start_ns=0) for b in process.blocks))
            return [{"index": 0, "process": asdict(still_process)}]
        return None

    (cohort,) = rounds([], ScriptedTransport(still)).run([Cohort((tiny_graph,))])
    assert cohort.error is None
    assert cohort.rounds == QUICK.max_processes


def test_each_round_visits_the_graphs_in_the_reverse_order_of_the_one_before(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    graphs = [tiny_graph, other(tiny_graph, "second"), other(other(tiny_graph, "x"), "third")]
    list(rounds(seen, ScriptedTransport()).run([Cohort((g,)) for g in graphs]))
    order = [[name for name, p in seen if p.round == r] for r in range(2)]
    assert sorted(order[0]) == ["second", "third", "tiny"]
    assert order[1] == order[0][::-1]


def test_a_round_is_one_worker_for_all_graphs(tiny_graph: Graph):
    transport = ScriptedTransport()
    list(rounds([], transport).run([Cohort((tiny_graph,)), Cohort((other(tiny_graph, "b"),))]))
    assert transport.workers == QUICK.min_processes
    assert len(transport.asked("measure")) == 2 * QUICK.min_processes


def test_stored_processes_are_taken_into_account(tiny_graph: Graph):
    again: list[tuple[str, Process]] = []
    stored = [make_process(number, [1e6] * 3) for number in range(2)]
    (ended,) = rounds(again, ScriptedTransport()).run([Cohort((tiny_graph,), [stored])])
    assert [p.round for _, p in again] == [2]
    assert ended.rounds == 3


def test_a_graph_that_the_runtime_refuses_ends_with_its_error_and_the_others_go_on(tiny_graph: Graph):
    strange = replace(tiny_graph, name="strange")

    def refuse(request):
        if request["do"] == "measure" and '"strange"' in request["graphs"][0]:
            raise InputError("no such operator")

    cohorts = [Cohort((strange,)), Cohort((tiny_graph,))]
    list(rounds([], ScriptedTransport(refuse)).run(cohorts))
    assert isinstance(cohorts[0].error, InputError)
    assert cohorts[1].error is None
    assert cohorts[1].rounds == QUICK.min_processes


def test_a_lost_worker_is_started_again_once_and_nothing_measured_is_lost(tiny_graph: Graph):
    lost = []

    def lose_once(request):
        if request["do"] == "measure" and request["round"] == 1 and not lost:
            lost.append(request)
            raise DeviceLostError("killed")

    transport = ScriptedTransport(lose_once)
    seen: list[tuple[str, Process]] = []
    (cohort,) = rounds(seen, transport).run([Cohort((tiny_graph,))])
    assert lost
    assert cohort.error is None
    assert [p.round for _, p in seen] == [0, 1, 2]
    assert transport.workers == QUICK.min_processes + 1


def test_a_worker_that_is_lost_twice_ends_its_graph_as_device_lost(tiny_graph: Graph):
    def lose(request):
        if request["do"] == "measure":
            raise DeviceLostError("killed by SIGKILL")

    (cohort,) = rounds([], ScriptedTransport(lose)).run([Cohort((tiny_graph,))])
    assert isinstance(cohort.error, DeviceLostError)
    assert "killed by SIGKILL" in str(cohort.error)


def test_a_model_that_takes_too_long_ends_at_once_and_the_others_go_on(tiny_graph: Graph):
    def hang(request):
        if request["do"] == "measure" and '"endless"' in request["graphs"][0]:
            raise TimeLimitError("the worker did not answer")

    transport = ScriptedTransport(hang)
    cohorts = [Cohort((replace(tiny_graph, name="endless"),)), Cohort((tiny_graph,))]
    list(rounds([], transport).run(cohorts))
    assert isinstance(cohorts[0].error, TimeLimitError)
    assert sum('"endless"' in request["graphs"][0] for request in transport.asked("measure")) == 1
    assert cohorts[1].error is None
    assert cohorts[1].rounds == QUICK.min_processes


def answer_of(request: dict, **changes: object) -> dict[str, object]:
    return {"index": 0, "process": asdict(make_process(request["round"], [1e6])) | changes}


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda _: [],
        lambda request: [answer_of(request)] * 2,
        lambda request: [answer_of(request) | {"index": 1}],
        lambda request: [answer_of(request, round=7)],
        lambda request: [answer_of(request, warmup_ns=["fast"])],
        lambda request: [answer_of(request, blocks=[{"start_ns": 0, "samples_ns": [float("nan")]}])],
        lambda _: [{"index": 0}],
        lambda _: [{"index": 0, "process": 5}],
        lambda _: [5],
    ],
    ids=["none", "two", "another-graph", "another-round", "text", "nan", "no-process", "number", "no-object"],
)
def test_answers_that_are_not_the_protocols_end_their_graph_and_the_others_go_on(tiny_graph: Graph, spoiled):
    def spoil(request):
        return spoiled(request) if request["do"] == "measure" and '"strange"' in request["graphs"][0] else None

    cohorts = [Cohort((replace(tiny_graph, name="strange"),)), Cohort((tiny_graph,))]
    seen: list[tuple[str, Process]] = []
    list(rounds(seen, ScriptedTransport(spoil)).run(cohorts))
    assert isinstance(cohorts[0].error, DeviceLostError)
    assert "\n" not in str(cohorts[0].error)
    assert [name for name, _ in seen] == ["tiny"] * QUICK.min_processes


@pytest.mark.parametrize(("losses", "is_given_up"), [(STARTS - 1, False), (STARTS, True)])
def test_a_worker_that_is_lost_while_it_greets_is_started_again_a_few_times(
    tiny_graph: Graph, losses: int, is_given_up: bool
):
    def lose(request):
        if request["do"] == "hello" and len(transport.asked("hello")) <= losses:
            raise DeviceLostError("killed")

    transport, cohort = ScriptedTransport(lose), Cohort((tiny_graph,))
    if is_given_up:
        with pytest.raises(DeviceLostError, match="killed"):
            list(rounds([], transport).run([cohort]))
        assert transport.workers == STARTS
    else:
        list(rounds([], transport).run([cohort]))
        assert cohort.error is None
        assert cohort.losses == 0


def test_a_remote_device_that_does_not_greet_is_lost_and_a_machine_that_does_not_is_unfit(tiny_graph: Graph):
    def be_silent(request):
        raise EnvironmentUnfitError("no answer")

    board = replace(ANY, remote="board:9190")
    for device, error in ((board, DeviceLostError), (ANY, EnvironmentUnfitError)):
        with pytest.raises(error, match="no answer"):
            list(rounds([], ScriptedTransport(be_silent), device).run([Cohort((tiny_graph,))]))


def test_equal_graphs_of_a_cohort_are_told_apart_by_their_place(tiny_graph: Graph):
    places = []
    cohort = Cohort((tiny_graph, tiny_graph), numbers=(7, 8))
    two = Rounds(ANY, QUICK, lambda c, place, _: places.append(c.numbers[place]), transport=ScriptedTransport())
    list(two.run([cohort]))
    assert places == [7, 8] * QUICK.min_processes
    assert [len(processes) for processes in cohort.processes] == [QUICK.min_processes] * 2


def test_compared_graphs_alternate_within_one_process(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    cohort = Cohort((tiny_graph, other(tiny_graph, "b")))
    list(rounds(seen, LOCAL, Device.load("cpu-1t"), most=1).run([cohort]))
    (_, a), (_, b) = [(n, p) for n, p in seen if p.round == 0]
    starts = sorted([(block.start_ns, "a") for block in a.blocks] + [(block.start_ns, "b") for block in b.blocks])
    names = [name for _, name in starts]
    assert names[:4] == ["a", "b", "b", "a"]


def test_a_real_measurement_has_anchors_warm_up_and_memory(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    list(rounds(seen, LOCAL, Device.load("cpu-1t"), most=1).run([Cohort((tiny_graph,))]))
    process = seen[0][1]
    assert set(process.blocks[0].anchors_ns) == set(process.blocks[0].anchors_cpu_ns) == {"compute", "copy-64k"}
    assert process.cpu_time is CpuTime.WORK
    assert process.blocks[0].cpu_times_ns.min() > 0
    assert process.other_cpus is not None
    assert len(process.warmup_ns) >= 10
    assert process.cold_ns > 0
    assert process.peak_memory_bytes > 0
    assert process.blocks[0].runs_per_sample > 1  # far below 50 us: averaged, not stamped one by one


def test_a_noisy_device_is_measured_by_fresh_processes(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    (cohort,) = rounds(seen, LOCAL, noisy_device(noise=0.001)).run([Cohort((tiny_graph,))])
    assert cohort.error is None
    assert [p.round for _, p in seen] == [0, 1, 2]


def test_a_store_that_fails_ends_the_rounds_and_mixes_up_no_samples(tiny_graph: Graph):
    kept: list[str] = []

    def keep(cohort: Cohort, place: int, process: Process) -> None:
        if not kept:
            kept.append("failed")
            raise EnvironmentUnfitError("the disk is full")
        kept.append(cohort.graphs[place].name)

    graphs = [tiny_graph, other(tiny_graph, "second")]
    with pytest.raises(EnvironmentUnfitError, match="the disk is full"):
        list(Rounds(ANY, QUICK, keep, transport=ScriptedTransport()).run([Cohort((g,)) for g in graphs]))
    assert kept == ["failed"]


def test_the_memory_of_a_network_does_not_depend_on_its_place_in_the_sweep(tiny_graph: Graph):
    b = GraphBuilder("large")
    large = b.build(b.matmul(b.input((1, 2048)), b.weight((2048, 2048))))  # 16 MiB of weights
    seen: list[tuple[str, Process]] = []
    list(rounds(seen, LOCAL, Device.load("cpu-1t"), most=2).run([Cohort((large,)), Cohort((tiny_graph,))]))
    peaks = {name: [p.peak_memory_bytes for n, p in seen if n == name] for name in ("large", "tiny")}
    assert min(peaks["large"]) > 16 * 2**20
    assert max(peaks["tiny"]) < 8 * 2**20


def test_a_process_may_take_its_share_of_the_budget(tiny_graph: Graph):
    """20 s for three processes that take next to no time."""
    transport = ScriptedTransport()
    made = Rounds(ANY, replace(FAST, budget_s=20.0), lambda *_: None, transport=transport)
    list(made.run([Cohort((tiny_graph,))]))
    assert [r["most_s"] for r in transport.asked("measure")] == pytest.approx([20 / 3, 10, 20], rel=0.1)


@pytest.mark.parametrize(
    ("processes", "spent_s", "is_done"),
    [(0, 99, False), (1, 29, False), (1, 30, True), (2, 29, False), (2, 30, True), (3, 8.5, False), (3, 8.6, True)],
)
def test_no_process_starts_most_of_which_would_come_after_the_budget(
    tiny_graph: Graph, processes: int, spent_s: float, is_done: bool
):
    """Of a budget of 10 s, or 30 s for the three processes that an interval needs."""
    apart = [make_process(i, [1e6 * (1 + i)] * 3) for i in range(processes)]
    cohort = Cohort((tiny_graph,), [apart], spent_s=spent_s)
    assert cohort.is_done(replace(FAST, budget_s=10.0)) is is_done


@pytest.mark.parametrize(
    ("ratios", "spent_s", "is_done"),
    [
        ((1.79, 1.28, 1.8, 1.78, 1.8), 20, False),
        ((1.79, 1.28, 1.8, 1.78, 1.8), 80, True),
        ((1.0, 1.1, 1.3, 0.9, 1.5), 20, True),
        ((1.79, 1.28, 1.8, 1.78, 1.8, 1.8, 1.78, 1.79), 40, True),
    ],
)
def test_a_comparison_that_hangs_on_one_process_may_pass_its_limits(
    tiny_graph: Graph, ratios: tuple[float, ...], spent_s: float, is_done: bool
):
    """Five processes and 10 s for each network are the limits; four times the budget is the end."""
    sides = [[make_process(i, [1e6 * (r if slow else 1)] * 3) for i, r in enumerate(ratios)] for slow in (False, True)]
    cohort = Cohort((tiny_graph, tiny_graph), sides, spent_s=spent_s, margin=0.02, limit=0.1)
    assert cohort.is_done(replace(FAST, min_processes=4)) is is_done


def test_when_the_budget_of_the_run_ends_unmeasured_networks_have_that_as_error(tiny_graph: Graph):
    made = replace(rounds([], ScriptedTransport()), total_s=0.0)
    measured = Cohort((tiny_graph,), [[make_process(0, [1e6] * 3)]])
    ended = list(made.run([measured, Cohort((other(tiny_graph, "second"),))]))
    assert [str(c.error) if c.error else "" for c in ended] == [
        "", "not measured: the budget of the whole run ended first",
    ]  # fmt: skip
    assert all(c.ended for c in ended)
