from __future__ import annotations

from dataclasses import replace

import pytest

from hwprof.backends.tvm import target
from hwprof.device import Device, available
from hwprof.errors import InputError

LOCAL = Device("d", "tvm")


def test_without_options_it_is_this_processor_with_the_threads_of_the_device():
    built_for = target.of(replace(LOCAL, threads=3))
    assert str(built_for.attrs["mcpu"]) == str(target.tvm.target.codegen.llvm_get_system_cpu())
    assert int(built_for.attrs["num-cores"]) == 3


@pytest.mark.parametrize(
    ("name", "core", "has_dot_product"),
    [
        ("raspberry-pi-3-tvm", "cortex-a53", False),
        ("raspberry-pi-4-tvm", "cortex-a72", False),
        ("raspberry-pi-5-tvm", "cortex-a76", True),
        ("neoverse-n1-tvm", "neoverse-n1", True),
    ],
)
def test_the_shipped_boards_are_built_for_by_their_core(name: str, core: str, has_dot_product: bool):
    assert name in available()
    built_for = target.of(Device.load(name))
    assert str(built_for.attrs["mcpu"]) == core
    assert str(built_for.attrs["mtriple"]) == "aarch64-linux-gnu"
    assert bool(built_for.attrs["feature.has_dotprod"]) == has_dot_product


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mcpu": "pentium9"}, "device 'd': tvm cannot build for the processor 'pentium9'; it knows alderlake, "),
        ({"mcpu": "cortex-a72"}, "device 'd': tvm cannot build for the processor 'cortex-a72'; it knows alderlake, "),
        (
            {"mcpu": "cortex-b1", "mtriple": "aarch64-linux-gnu"},
            "cannot build for the processor 'cortex-b1' of 'aarch64-linux-gnu'; it knows ",
        ),
        ({"mtriple": "foo-linux"}, "cannot build for the triple 'foo-linux'; its architecture must be one of arm, "),
        ({"key": "board"}, "device 'd' has a `key`, but no tracker; add remote = \"HOST:PORT\""),
        ({"keys": "board"}, "backend 'tvm' has no option 'keys'; known: answer_s, compiler, key, mattr, "),
        ({"answer_s": 0.0}, "device 'd': `answer_s` must be more than 0 s, not 0"),
    ],
)
def test_what_cannot_be_built_for_is_refused_in_a_line(changes: dict[str, str], reason: str):
    with pytest.raises(InputError) as refused:
        target.of(LOCAL.with_options(**changes))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_remote_device_needs_a_key_a_processor_and_a_number_of_threads():
    remote = replace(LOCAL, remote="127.0.0.1:9190")
    with pytest.raises(InputError, match="is remote: it needs the options `key`, its name at the tracker, and `mcpu`"):
        target.of(remote.with_options(key="board"))
    with pytest.raises(InputError, match="set `threads`: 0 means the cores of this machine"):
        target.of(replace(remote, threads=0).with_options(key="board", mcpu="generic"))
