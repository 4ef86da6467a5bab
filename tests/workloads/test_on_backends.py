"""The networks of the tasks that learn here run in every runtime that is installed."""

import pytest

from hwprof import plugins
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.variants.spec import parse
from hwprof.workloads.keypoint import keypoint_network
from hwprof.workloads.separation import separation_network
from hwprof.workloads.super_resolution import super_resolution

NETWORKS = {
    "keypoint": keypoint_network(32, 32),
    "separation": separation_network(frames=4, hidden=8),
    "super-resolution": super_resolution(side=8),
}
DEVICES = ("cpu-1t", "openvino-1t", "torch-cpu-1t")


def run_once(device_name, graph):
    device = Device.load(device_name)
    with plugins.load("backend", device.backend).open(graph, device) as timer:
        return timer(1)[0], timer.outputs()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_in_each_runtime(name, device):
    ns, outputs = run_once(device, NETWORKS[name])
    assert ns > 0
    assert set(outputs) == set(NETWORKS[name].outputs)


@pytest.mark.parametrize("name", ["super-resolution", pytest.param("keypoint", marks=pytest.mark.slow)])
def test_a_convolutional_network_runs_in_tvm_untuned(name):
    assert run_once("tvm-1t", NETWORKS[name])[0] > 0


def test_tvm_says_that_it_has_no_recurrent_layer():
    with pytest.raises(InputError, match="tvm cannot run 'separation_network': its importer has no operator LSTM"):
        run_once("tvm-1t", NETWORKS["separation"])


@pytest.mark.parametrize("name", ["keypoint", "separation"])  # there is no integer rule for depth to space
def test_a_network_runs_in_integers(name):
    assert run_once("integer-scalar", parse("integer").change(NETWORKS[name]))[0] > 0
