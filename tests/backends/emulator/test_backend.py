from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwprof.backends import onnxruntime
from hwprof.backends.emulator.backend import BACKEND, EmulatorBackend
from hwprof.builder import GraphBuilder
from hwprof.device import Device, available
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, InputError
from hwprof.graph import Graph
from hwprof.measurement import Evidence
from hwprof.testing import check_counting_backend, reference_graphs
from hwprof.variants.quantize import quantize


def convolution(channels: int = 16) -> Graph:
    b = GraphBuilder(f"convolution-{channels}")
    return b.build(b.relu(b.conv(b.input((1, channels, 16, 16)), channels, 3)))


def counted(graph: Graph, device: Device, backend: EmulatorBackend = BACKEND) -> dict[str, int]:
    """The instructions of the second inference."""
    with backend.open_counter(graph, device) as counter:
        return dict(counter.count(2)[1])


def test_what_it_gives_is_emulated():
    assert BACKEND.evidence is Evidence.EMULATED


def test_where_a_latency_is_wanted_it_refuses(tiny_graph, a72):
    with pytest.raises(InputError, match="is emulated: it counts instructions and cannot measure a latency of 'tiny'"):
        BACKEND.open(tiny_graph, a72)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"core": "cortex-a710"}, "core must be one of cortex-a53, cortex-a72, cortex-a76, neoverse-n1"),
        ({"graph_optimization_level": "most"}, "graph_optimization_level must be one of disabled"),
        ({"no_such_option": 1}, "no option 'no_such_option'"),
    ],
)
def test_a_wrong_option_is_one_line(tiny_graph, a72, changes, text):
    with pytest.raises(InputError, match=text), BACKEND.open_counter(tiny_graph, a72.with_options(**changes)):
        pass


def test_several_threads_are_refused(tiny_graph, a72):
    with (
        pytest.raises(InputError, match="counted in one thread; threads must be 1, not 4"),
        BACKEND.open_counter(tiny_graph, replace(a72, threads=4)),
    ):
        pass


def test_an_emulator_that_was_not_built_says_how_to_build_it(tiny_graph, a72, tmp_path, monkeypatch):
    monkeypatch.setenv("HWPROF_CACHE", str(tmp_path))
    text = "run `hwprof emulator build`"
    with pytest.raises(EnvironmentUnfitError, match=text), BACKEND.open_counter(tiny_graph, a72):
        pass
    with pytest.raises(EnvironmentUnfitError, match=text):
        BACKEND.versions()


@pytest.mark.parametrize("name", [n for n in available() if n.startswith("emulated-")])
def test_a_shipped_device_names_its_core(name):
    device = Device.load(name)
    assert (device.backend, device.threads) == ("emulator", 1)
    assert device.option["core"] == name.removeprefix("emulated-")


# -- with the emulator ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("built")
def test_it_keeps_the_contract(a72):
    check_counting_backend(BACKEND, a72)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("graph", reference_graphs(), ids=lambda g: g.name)
def test_the_emulated_runtime_computes_what_the_real_one_does(graph, a72):
    with BACKEND.open_counter(graph, a72) as counter:
        emulated = counter.outputs()
    with onnxruntime.BACKEND.open(graph, Device("here", "onnxruntime")) as timer:
        for name, values in timer.outputs().items():
            np.testing.assert_allclose(emulated[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("built")
def test_a_convolution_takes_as_many_multiply_adds_as_it_has(a72):
    counts = counted(convolution(), a72)
    macs = 16 * 16 * 16 * 16 * 9
    lanes = 4
    assert 0.9 * macs / lanes < counts["fma"] < 1.2 * macs / lanes
    assert counts["dot"] == 0


@pytest.mark.usefixtures("built")
def test_two_processes_count_the_same(a72):
    graph = convolution()
    assert counted(graph, a72, EmulatorBackend()) == counted(graph, a72)


@pytest.mark.usefixtures("built")
def test_only_a_core_with_dot_products_uses_them(a72):
    graph = quantize(convolution(64))
    a76 = a72.with_options(core="cortex-a76")
    assert counted(graph, a72)["dot"] == 0
    assert counted(graph, a76)["dot"] > 0
    assert sum(counted(graph, a76).values()) < sum(counted(graph, a72).values())


@pytest.mark.usefixtures("built")
def test_a_guest_that_is_killed_is_a_lost_device_and_the_next_one_starts(a72, tiny_graph):
    backend = EmulatorBackend()
    with backend.open_counter(tiny_graph, a72) as counter:
        for process in emulators(os.getpid()):
            os.kill(process, signal.SIGKILL)
        with pytest.raises(DeviceLostError, match="'tiny' on cortex-a72"):
            counter.count(1)
    assert counted(tiny_graph, a72, backend)["fma"] > 0


def emulators(process: int) -> list[int]:
    """Those below a process."""
    children = [
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    below = [p for child in children for p in [child, *emulators(child)]]
    return [p for p in below if "qemu-aarch64" in Path(f"/proc/{p}/cmdline").read_text()]
