import pytest

from hwprof.backends.integer import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.measure import executed
from hwprof.measure.worker_process import LOCAL
from tests.integer.programs import small_network
from tests.measure.scripted import ScriptedTransport


def network():
    b = GraphBuilder("net")
    return b.build(b.relu(b.conv(b.input((1, 16, 8, 8)), 16, 3)))


def test_the_runtime_tells_which_operators_are_one_kernel():
    pytest.importorskip("onnxruntime")
    with executed.asked(Device.load("cpu-1t"), LOCAL) as execute:
        assert [kernel.nodes for kernel in execute(network()) if kernel.nodes] == [(0, 1)]


def test_a_runtime_tells_the_work_of_its_loops():
    graph = small_network()
    with executed.asked(Device.load("integer-numpy"), LOCAL) as execute:
        assert execute is None
    with executed.asked(Device("any", "integer"), LOCAL) as execute:
        assert execute(graph) == list(BACKEND.executed(graph, Device("any", "integer")))


def test_a_runtime_that_does_not_tell_is_not_asked():
    transport = ScriptedTransport()
    with executed.asked(Device("any", "roofline"), transport) as execute:
        assert execute is None
    assert transport.workers == 0


def test_the_kernels_of_a_network_that_the_runtime_refuses_are_not_known():
    pytest.importorskip("onnxruntime")

    def refuse(request):
        raise InputError("it cannot run this")

    with executed.asked(Device("any", "onnxruntime"), ScriptedTransport(refuse)) as execute:
        assert execute(network()) is None
