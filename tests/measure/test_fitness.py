import pytest

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.measure.fitness import Check, Fitness, accelerator_checks, check_machine, require_fit
from hwprof.measure.worker_process import LOCAL
from tests.measure.scripted import ScriptedTransport

ANY = Device("any", "roofline")


def state(**seen: object) -> dict[str, object]:
    return {"clock_mhz": None, "temperature_c": None, "power_w": None, "throttled": [], **seen}


def test_what_is_unfit_is_an_error_that_says_what_to_do():
    with pytest.raises(EnvironmentUnfitError, match="timer: coarse; buy one"):
        require_fit([Check("timer", Fitness.UNFIT, "coarse", "buy one")], allow_unfit=False)


def test_what_is_unfit_becomes_a_warning_when_allowed():
    checks = [Check("timer", Fitness.UNFIT, "coarse", "buy one"), Check("turbo", Fitness.WARNING, "on")]
    assert require_fit(checks, allow_unfit=True) == ["timer: coarse", "turbo: on"]


def test_what_cannot_be_seen_is_unknown_and_does_not_hinder():
    assert require_fit([Check("steal", Fitness.UNKNOWN, "not visible")], allow_unfit=False) == []


def test_the_checks_of_a_machine_are_those_of_its_worker_and_its_runtime():
    checks = check_machine(ScriptedTransport(), ANY)
    assert checks == [
        Check("turbo", Fitness.WARNING, "on", "turn it off to compare"),
        Check("runtime", Fitness.OK, "runtime 1.0"),
        Check("device", Fitness.OK, "opens and runs a network"),
    ]


def test_a_runtime_that_does_not_start_is_unfit():
    def refuse(request):
        if request["do"] == "hello":
            raise EnvironmentUnfitError("no such library")

    check = check_machine(ScriptedTransport(refuse), ANY)[-1]
    assert (check.name, check.fitness, check.found) == ("runtime", Fitness.UNFIT, "no such library")


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (Device("any", "integer", options=(("instruction_set", "neon-sdot"),)), "this processor has no 'neon-sdot'"),
        (
            Device("any", "onnxruntime", options=(("provider", "Nobody"),)),
            "does not have the provider 'Nobody'",
        ),
        (Device("any", "openvino", precision="int8"), "asks for precision 'int8'"),
    ],
)
def test_an_instruction_set_or_provider_or_precision_that_is_not_there_is_unfit(device: Device, reason: str):
    check = check_machine(LOCAL, device)[-1]
    assert check.fitness is Fitness.UNFIT
    assert reason in check.found


def test_an_accelerator_that_is_held_down_is_a_warning():
    (fit,) = accelerator_checks(state(clock_mhz=1500.0))
    assert (fit.fitness, fit.found) == (Fitness.OK, "1500 MHz")
    (hot,) = accelerator_checks(state(throttled=["overheated"]))
    assert (hot.fitness, hot.found) == (Fitness.WARNING, "shows nothing; held down: overheated")
    assert accelerator_checks(None) == []
