import json
from dataclasses import replace

import pytest

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.measure import environment
from hwprof.measure.fitness import require_fit

ONE = Device("one", "onnxruntime")


def test_the_fingerprint_is_stable_and_tells_machines_apart():
    here = environment.hardware()
    assert environment.fingerprint(here) == environment.fingerprint(json.loads(json.dumps(here)))
    assert environment.fingerprint(here) != environment.fingerprint({**here, "cores": 999})


def test_nothing_that_names_the_owner_is_stored():
    import getpass
    import platform

    text = json.dumps([environment.hardware(), environment.snapshot(ONE)])
    assert platform.node() not in text or len(platform.node()) < 4
    assert getpass.getuser() not in text or getpass.getuser() == "root"


def test_a_device_with_too_many_threads_makes_the_machine_unfit():
    checks = environment.preflight(replace(ONE, threads=999))
    with pytest.raises(EnvironmentUnfitError, match="asks for 999 threads"):
        require_fit(checks, allow_unfit=False)


def test_every_check_has_a_name_and_a_finding():
    checks = environment.preflight(ONE)
    assert len({c.name for c in checks}) == len(checks) == 9
    assert all(c.found for c in checks)


def test_available_memory_is_plausible():
    assert 2**26 < environment.available_memory_bytes() < 2**45


def test_the_clock_and_load_of_a_remote_device_are_not_seen():
    remote = Device("board", "tvm", threads=4096, remote="127.0.0.1:9190")
    seen = environment.snapshot(remote)
    assert [c["name"] for c in seen["checks"]] == ["machine", "memory"]
