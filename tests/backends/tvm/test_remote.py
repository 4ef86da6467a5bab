"""Over a real tracker and server; both lie on this machine."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from time import sleep

import numpy as np
import pytest

from hwprof.backends.tvm import compiling, reference, remote, target
from hwprof.backends.tvm.backend import BACKEND, TvmBackend
from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, InputError


def test_a_network_is_timed_and_tuned_where_it_lies_until_that_dies(nodes, product):
    assert BACKEND.remote_hardware(nodes.device)["cpu"] == nodes.device.option["mcpu"]
    *_, reached = BACKEND.tune(product, nodes.device, trials=1, budget_s=2000.0, build=0)
    assert (reached.trials, reached.tuned) == (1, 1)
    with BACKEND.open(product, nodes.device) as timer:
        assert len(timer(3)) == 3
        assert timer(3, each=False)[0] > 0
        assert timer.operators(3) == ()
        for name, value in reference.outputs(product).items():
            np.testing.assert_allclose(timer.outputs()[name], value, rtol=1e-4, atol=1e-6)

        nodes.kill_last()
        with pytest.raises(DeviceLostError, match=r"^device 'there' was lost: "):
            timer(1)
        impatient = nodes.device.with_options(wait_s=0.0)
        with pytest.raises(EnvironmentUnfitError, match=r"has no server with the key 'board'; no server is registered"):
            BACKEND.open(product, impatient)

        nodes.start_server()
        with BACKEND.open(product, nodes.device) as again:
            assert len(again(2)) == 2
            # A second server of this process' only device would wait for itself: the session is shared.
            with BACKEND.open(product, impatient) as third:
                assert len(third(2)) == 2


def test_a_device_that_falls_silent_is_not_waited_for_without_end(nodes, product):
    device = nodes.device.with_options(answer_s=3.0)
    nodes.kill_last()  # another test's session lies there
    nodes.start_server()
    with TvmBackend().open(product, device) as timer:
        assert len(timer(3)) == 3
        nodes.stop_last()
        with pytest.raises(DeviceLostError, match=r"was lost: no answer within 3 s \(its option `answer_s`\)$"):
            timer(1)


def wait_until_registered(device):
    while remote._missing(device, "board"):
        sleep(0.05)


def test_a_device_that_is_silent_from_the_start_is_not_there(nodes):
    device = nodes.device.with_options(answer_s=10.0, wait_s=0.0)
    nodes.kill_last()
    nodes.start_server()
    wait_until_registered(device)
    nodes.stop_last()  # its kernel still takes connections
    with pytest.raises(EnvironmentUnfitError, match=r"^device 'there': .*\(waited 0 s\)$"):
        TvmBackend().remote_hardware(device)
    nodes.kill_last()
    nodes.start_server()


def test_a_wrong_key_is_told_with_those_that_the_tracker_knows(nodes, product):
    wrong = nodes.device.with_options(key="bord", wait_s=0.0)
    wait_until_registered(nodes.device)
    with pytest.raises(
        EnvironmentUnfitError, match=r"has no server with the key 'bord'; it knows board \(waited 0 s\)$"
    ):
        BACKEND.remote_hardware(wrong)


def test_a_tracker_that_does_not_answer_is_told_with_its_address():
    device = replace(Device("d", "tvm").with_options(key="k", mcpu="generic", wait_s=0.0), remote="127.0.0.1:1")
    with pytest.raises(EnvironmentUnfitError, match=r"no TVM tracker answers at 127\.0\.0\.1:1: Connection refused"):
        BACKEND.remote_hardware(device)


@pytest.mark.parametrize(
    ("changes", "options", "error", "reason"),
    [
        ({"remote": "somewhere"}, {}, InputError, "remote must be HOST:PORT of a tracker, not 'somewhere'"),
        ({"cores": "fast"}, {}, InputError, "cores must be one of auto, big, little, not 'fast'"),
        ({}, {"compiler": "no-such-c"}, EnvironmentUnfitError, "needs the compiler 'no-such-c' to link for it"),
    ],
)
def test_a_device_that_cannot_be_reached_so_is_refused_before_it_is_tried(changes, options, error, reason):
    device = Device("d", "tvm").with_options(key="k", mcpu="generic", wait_s=0.0, **options)
    with pytest.raises(error, match=reason):
        BACKEND.remote_hardware(replace(device, **{"remote": "127.0.0.1:1", **changes}))


def test_a_compiler_that_fails_is_told(product, tmp_path):
    built_for = target.of(Device("d", "tvm"))
    compiled = compiling.compile_module(product, compiling.lower(product, built_for), built_for, None)
    with pytest.raises(EnvironmentUnfitError, match=r"^'false' cannot link for the device: "):
        remote.link(compiled.executable, tmp_path / "n.so", "false")


def test_a_network_is_built_for_an_arm_core(product, tmp_path):
    built_for = target.of(Device.load("raspberry-pi-5-tvm"))
    compiled = compiling.compile_module(product, compiling.lower(product, built_for), built_for, None)
    objects = tmp_path / "network.tar"
    compiled.executable.export_library(str(objects), fcompile=target.tvm.support.tar.tar)
    subprocess.run(["tar", "xf", objects, "-C", tmp_path], check=True)
    machines = {file.read_bytes()[18] for file in tmp_path.glob("*.o") if file.read_bytes()[:4] == b"\x7fELF"}
    assert machines == {183}  # EM_AARCH64
