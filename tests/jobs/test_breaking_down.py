import pytest

from hwprof import jobs
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs import Options
from hwprof.measurement import FAST, Evidence
from tests.measure.scripted import ScriptedTransport


def test_the_operators_of_a_network_share_its_latency(tiny_graph: Graph):
    found = jobs.operators(tiny_graph, "roofline-edge-gpu", options=Options(FAST))
    assert [k.op for k in found.kernels] == ["Conv", "Relu", "Conv", "Relu"]
    assert sum(k.ms for k in found.kinds) == pytest.approx(found.measurement.latency_ms, rel=1e-3)
    assert all(k.roof_share for k in found.kernels)


def test_a_runtime_that_times_no_operators_is_refused(tiny_graph: Graph):
    def time_none(request):
        if request["do"] == "operators":
            return [{"operators": [], "profiled_ns": None, "machine": "x86_64"}]
        return [{"latency_ns": 1e6}] if request["do"] == "peaks" else None

    options = Options(FAST, transport=ScriptedTransport(time_none, Evidence.ANALYTIC))
    with pytest.raises(InputError, match="its runtime cannot time operators"):
        jobs.operators(tiny_graph, Device("any", "roofline"), options=options)


def test_an_emulated_device_has_no_times(tiny_graph: Graph):
    with pytest.raises(InputError, match="is emulated"):
        jobs.operators(tiny_graph, "emulated-cortex-a72")
