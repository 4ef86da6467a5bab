import pytest

from hwprof.backends.integer import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.interfaces import ExecutedKernel
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


def test_a_runtime_that_refuses_a_network_says_why():
    pytest.importorskip("onnxruntime")

    def refuse(request):
        raise InputError("it cannot run this")

    with (
        executed.asked(Device("any", "onnxruntime"), ScriptedTransport(refuse), pytest.fail) as execute,
        pytest.raises(InputError, match="it cannot run this"),
    ):
        execute(network())


def test_a_worker_that_failed_is_told_and_the_kernels_are_not_known():
    pytest.importorskip("onnxruntime")
    notes = []

    def fail(request):
        raise DeviceLostError("the worker was killed")

    with executed.asked(Device("any", "onnxruntime"), ScriptedTransport(fail), notes.append) as execute:
        assert execute(network()) is None
    assert notes == [
        "net: rules tell which kernels are executed, the runtime could not be asked: the worker was killed"
    ]


def telling(version="1.0"):
    """A runtime of this version that executes one kernel."""

    def tell(request):
        if request["do"] == "hello":
            return [{"versions": {"runtime": version}}]
        return [{"kernels": [["Conv", [0, 1], "", "blocked"]]}]

    return ScriptedTransport(tell)


def test_answers_are_kept_in_a_data_sets_folder_for_the_same_version_of_the_runtime(tmp_path):
    pytest.importorskip("onnxruntime")
    device = Device("any", "onnxruntime")
    for transport, is_asked in ((telling(), True), (telling(), False), (telling("2.0"), True)):
        with executed.asked(device, transport, folder=tmp_path) as execute:
            assert execute(network()) == [ExecutedKernel("Conv", (0, 1), "", "blocked")]
        assert bool(transport.asked("executed")) == is_asked
