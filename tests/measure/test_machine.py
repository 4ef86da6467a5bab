import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, InputError
from hwprof.measure.machine import Machine, fingerprint, is_formula, look, require_times, saturates
from hwprof.measure.transport import MockTransport, RestartedWorker, Transport
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import Evidence
from tests.measure.scripted import HARDWARE, ScriptedTransport

ANY = Device("any", "roofline")


def seen(transport: Transport, device: Device, **options: bool) -> Machine:
    with RestartedWorker(transport, device) as worker:
        return look(worker, device, **options)


def test_a_machine_is_what_its_worker_tells():
    machine = seen(ScriptedTransport(), ANY)
    assert machine.hardware == "0123456789ab"
    assert machine.versions == {"runtime": "1.0"}
    assert machine.evidence is Evidence.MEASURED
    assert machine.overhead_ns == 50
    assert machine.warnings == ("turbo: on",)
    overhead = {"empty_ns": [70.0, 20.0], "identity_ns": None}
    assert machine.snapshot == {"hardware": HARDWARE, "cores": [3], "overhead": overhead, "accelerator": None}


def test_the_snapshot_of_this_machine_has_the_keys_that_stores_hold():
    machine = seen(LOCAL, Device.load("roofline-edge-gpu"))
    keys = "hardware system cores timer_tick_ns load_average checks overhead accelerator"
    assert list(machine.snapshot) == keys.split()
    assert machine.hardware == fingerprint(LOCAL, Device.load("roofline-edge-gpu"))


def test_a_machine_that_is_not_fit_is_refused_before_the_runtime_starts():
    def be_unfit(request):
        if request["do"] == "preflight":
            return [{"name": "timer", "fitness": "unfit", "found": "coarse", "advice": "buy one"}]
        return None

    transport = ScriptedTransport(be_unfit)
    with pytest.raises(EnvironmentUnfitError, match="timer: coarse; buy one"):
        seen(transport, ANY)
    assert not transport.asked("hello")
    assert seen(transport, ANY, allow_unfit=True).warnings == ("timer: coarse",)


def test_times_that_are_not_measured_are_a_warning():
    machine = seen(ScriptedTransport(evidence=Evidence.ANALYTIC), ANY)
    assert "analytic: the times for device 'any' are not measured on it" in machine.warnings


def test_what_disturbs_a_machine_is_neither_stored_nor_told_of_a_formula():
    machine = seen(LOCAL, Device.load("roofline-edge-gpu"))
    assert [check["name"] for check in machine.snapshot["checks"]] == ["cores"]
    assert machine.warnings == ("analytic: the times for device 'roofline-edge-gpu' are not measured on it",)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device.load("roofline-edge-gpu"), True),
        (Device("mine", "roofline"), False),  # may be one that nothing is known of: as every other device
        (Device("mislabelled", "onnxruntime", kind="analytic"), False),
        (Device("unknown", "nothing", kind="analytic"), False),
    ],
)
def test_only_a_device_and_a_backend_that_both_are_analytic_are_a_formula(device: Device, expected: bool):
    assert is_formula(device) is expected


def test_an_emulated_device_has_no_times():
    with pytest.raises(InputError, match="is emulated: it counts instructions"):
        require_times(Device.load("emulated-cortex-a72"))


@pytest.mark.parametrize("do", ["preflight", "hello", "overhead", "snapshot"])
def test_a_worker_that_is_lost_while_the_machine_is_looked_at_is_started_again(do: str):
    def lose_once(request):
        if request["do"] == do and len(transport.asked(do)) == 1:
            raise DeviceLostError("killed")

    transport = ScriptedTransport(lose_once)
    assert seen(transport, ANY) == seen(ScriptedTransport(), ANY)
    assert transport.workers == 2


@pytest.mark.parametrize(
    ("do", "answers"),
    [
        ("preflight", [{"name": "turbo"}]),
        ("preflight", [{"name": "turbo", "fitness": "splendid", "found": ""}]),
        ("hello", []),
        ("hello", [{"evidence": "measured", "state": None}]),
        ("hello", [{"evidence": "guessed", "state": None}]),
        ("overhead", []),
        ("overhead", [{"empty_ns": None}]),
        ("snapshot", []),
        ("snapshot", [7]),
    ],
)
def test_answers_that_are_not_the_protocols_are_one_line(do: str, answers: list[object]):
    transport = ScriptedTransport(lambda request: answers if request["do"] == do else None)
    with pytest.raises(DeviceLostError, match="the worker") as raised:
        seen(transport, ANY)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("backend", "features", "expected"),
    [("onnxruntime", ["avx2"], True), ("onnxruntime", ["avx2", "avx512_vnni"], False), ("openvino", ["avx2"], True),
     ("onnxruntime", ["asimd"], False), ("roofline", ["avx2"], False), ("integer", ["avx2"], True),
     ("integer", ["avx2", "avx_vnni"], False)],
)  # fmt: skip
def test_products_of_bytes_saturate_where_the_machine_of_the_worker_has_no_vnni(backend, features, expected):
    transport = MockTransport(lambda _request: [{"hardware": {"features": features}}])
    assert saturates(transport, Device("any", backend)) is expected
