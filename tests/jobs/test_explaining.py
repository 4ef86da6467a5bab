from dataclasses import replace

import pytest

from hwprof import jobs
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs import Options
from tests.measure.scripted import ScriptedTransport


def test_a_second_model_or_a_variant_is_wanted_and_not_both(tiny_graph: Graph):
    for after, variant in ((None, None), (tiny_graph, "int8")):
        with pytest.raises(InputError, match="give either a second model or --variant"):
            jobs.explain(tiny_graph, after, "cpu-1t", variant=variant)


def test_a_device_that_runs_nothing_explains_nothing(tiny_graph: Graph):
    with pytest.raises(InputError, match="'roofline-edge-gpu' is analytic"):
        jobs.explain(tiny_graph, tiny_graph, "roofline-edge-gpu")


def test_that_weights_are_random_is_told_once(tiny_graph: Graph):
    told: list[str] = []
    bare = replace(tiny_graph, warnings=("its weights are random",))
    options = Options(transport=ScriptedTransport(), on_warning=told.append)
    jobs.explain(bare, bare, Device.load("cpu-1t"), options=options)
    assert told == ["tiny: its weights are random"]


def test_both_networks_are_profiled_while_the_machine_is_held(tiny_graph: Graph):
    transport = ScriptedTransport()
    options = Options(transport=transport)
    found = jobs.explain(tiny_graph, tiny_graph, Device.load("cpu-1t"), options=options)
    assert [r["do"] for r in transport.requests] == ["hold", *["hold", "operators"] * 12, "hold", "preflight"]
    assert (found.before, found.after, found.before_ns, found.after_ns) == ("tiny", "tiny", 9e5, 9e5)


def test_times_that_were_taken_under_load_are_not_to_be_trusted(tiny_graph: Graph):
    def busy(request):
        check = {"name": "cpu pressure", "fitness": "warning", "found": "some task waited", "advice": ""}
        return [check] if request["do"] == "preflight" else None

    found = jobs.explain(
        tiny_graph, tiny_graph, Device.load("cpu-1t"), options=Options(transport=ScriptedTransport(busy))
    )
    assert found.doubts == ("these times are not to be trusted: cpu pressure: some task waited",)
